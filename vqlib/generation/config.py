"""What defines the training of a prior: two with equal configs are the same experiment."""

import inspect
from dataclasses import dataclass
from typing import Any

import torch

from vqlib.config import MAX_SEED, Config, setting
from vqlib.errors import UserError
from vqlib.generation.pixelcnn import PixelCNN
from vqlib.generation.prior import CodePrior
from vqlib.generation.transformer import HEAD, Transformer

PRIORS: dict[str, type[CodePrior]] = {"transformer": Transformer, "pixelcnn": PixelCNN}


@dataclass(frozen=True)
class PriorConfig(Config):
    """One training of a prior over the codes of a VQ-VAE; see `prior_config`.

    A prior uses the settings that its constructor names.

    Raises:
        UserError: if a value makes no sense.
    """

    always_named = ("model", "vqvae", "weights", "batch_size", "epochs", "seed")

    model: str = setting("transformer", "transformer or pixelcnn", choices=tuple(PRIORS))
    vqvae: str = setting("", "name of the VQ-VAE's run")
    weights: str = setting("", "SHA-256 of the VQ-VAE's weights")
    batch_size: int = setting(128, "images per step", above=0)
    epochs: int = setting(15, "passes over the training images and their mirror images", above=0)
    learning_rate: float = setting(2e-3, "learning rate of AdamW at its highest", above=0)
    seed: int = setting(
        0, "seed of initial weights, order of images and dropout", at_least=0, at_most=MAX_SEED
    )
    limit: int | None = setting(None, "use at most this many images of each split", above=0)
    precision: str = setting(
        "auto",
        "float32, bfloat16, or auto: bfloat16 if the processor is fast at it",
        choices=("auto", "float32", "bfloat16"),
    )
    dropout: float = setting(0.1, "share of numbers dropped in training", at_least=0, below=1)
    width: int = setting(128, "numbers at each place", above=0, multiple_of=HEAD)
    layers: int = setting(4, "blocks of attention", above=0)
    channels: int = setting(64, "channels of each stack", above=0)
    blocks: int = setting(10, "gated layers", above=0)

    @property
    def run_name(self) -> str:
        """The run folder's name, such as `pixelcnn-b128-e15-s0-of-vqvae-cifar10-b256-e40-s0`.

        Settings that differ from their defaults come before `of`.
        """
        own = f"{self.model}-b{self.batch_size}-e{self.epochs}-s{self.seed}{self._changed()}"
        return f"{own}-of-{self.vqvae}"


def settings_of_prior(model: str) -> tuple[str, ...]:
    """Return the names of the config's settings that only some priors take, and this one does."""
    names = inspect.signature(PRIORS[model]).parameters
    return tuple(name for name in names if name not in ("num_codes", "grid", "num_classes"))


def build_prior(config: PriorConfig, num_codes: int, grid: int, num_classes: int) -> CodePrior:
    """Build a fresh prior with the config's settings; torch's random state is left as it was.

    See `CodePrior` for the sizes.
    """
    own: dict[str, Any] = {name: getattr(config, name) for name in settings_of_prior(config.model)}
    with torch.random.fork_rng([]):
        return PRIORS[config.model](num_codes, grid, num_classes, **own)


def check_own(config: PriorConfig) -> None:
    """Refuse a changed setting of other priors: it would give the same run a second name."""
    of_others = {name for other in PRIORS for name in settings_of_prior(other)}
    for name in of_others - set(settings_of_prior(config.model)):
        if getattr(config, name) != PriorConfig.__dataclass_fields__[name].default:
            raise UserError(f"{name} is not a setting of the {PRIORS[config.model].title}")
