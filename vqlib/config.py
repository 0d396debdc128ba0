"""What defines a training run: two runs with equal configs are the same experiment."""

import contextlib
import hashlib
import math
import re
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from types import UnionType
from typing import Any, Self, get_args, get_origin

from vqlib.errors import UserError
from vqlib.system.torchvision_sets import is_torchvision

MAX_SEED = 10**12  # an epoch's seed, about a million times as large, must be below 2^63


def setting(
    default: Any,
    help: str,
    *,
    above: float | None = None,
    at_least: float | None = None,
    below: float | None = None,
    at_most: float | None = None,
    multiple_of: int | None = None,
    choices: tuple[Any, ...] = (),
) -> Any:
    """Declare a field of a config: its default, its help text and the values that it accepts.

    Args:
        default: used if no value is given.
        help: what the setting is, for `vqlib train --help`.
        above, at_least, below, at_most, multiple_of: bounds of a number, or of each number of a
            list.
        choices: the only values that make sense.
    """
    bounds = {
        "above": above,
        "at least": at_least,
        "below": below,
        "at most": at_most,
        "a multiple of": multiple_of,
    }
    given = {words: bound for words, bound in bounds.items() if bound is not None}
    return field(default=default, metadata={"help": help, "bounds": given, "choices": choices})


@dataclass(frozen=True)
class TrainConfig:
    """One training run. `TrainConfig(model="vqvae", batch_size=256)` is a run of the report.

    A model uses the settings that its constructor names; the first nine are used by all.

    Raises:
        UserError: if a value makes no sense.
    """

    model: str = setting("vqvae", "name of the model")
    dataset: str = setting("cifar10", "cifar10, photos, a data set of torchvision, or a folder")
    batch_size: int = setting(64, "images per step", above=0)
    epochs: int = setting(40, "passes over the training images", above=0)
    learning_rate: float = setting(5e-4, "learning rate of Adam", above=0)
    seed: int = setting(
        0, "seed of initial weights, order of images and noise", at_least=0, at_most=MAX_SEED
    )
    limit: int | None = setting(None, "use at most this many images of each split", above=0)
    precision: str = setting(
        "auto",
        "float32, bfloat16, or auto: bfloat16 if the processor is fast at it",
        choices=("auto", "float32", "bfloat16"),
    )
    image_size: int = setting(
        32, "side of the images in pixels, which they are resized to", at_least=16, multiple_of=16
    )
    latent_dim: int = setting(128, "length of the latent", above=0)
    beta: float = setting(1.0, "weight of the KL term", at_least=0)
    observation: str = setting(
        "fixed",
        "variance of the decoder: fixed by beta, or calibrated to the error of each batch",
        choices=("fixed", "calibrated"),
    )
    latent_channels: int = setting(16, "Gaussian numbers at each place of the grid", above=0)
    num_hiddens: int = setting(128, "channels of encoder and decoder", at_least=2)
    num_residual_hiddens: int = setting(32, "channels inside a residual block", above=0)
    num_residual_layers: int = setting(2, "residual blocks in encoder and in decoder", at_least=0)
    grid: int = setting(8, "places of the latent along each 32 pixels", choices=(4, 8, 16))
    num_embeddings: int = setting(512, "codes in the codebook", above=0)
    embedding_dim: int = setting(64, "length of a code", above=0)
    commitment_cost: float = setting(0.25, "weight of the commitment term", at_least=0)
    decay: float = setting(
        0.99, "decay of the EMA codebook; 0 learns it by gradient", at_least=0, below=1
    )
    codebook_init: str = setting(
        "uniform",
        "start of the codebook: uniform, or normal as in pytorch-vq-vae",
        choices=("uniform", "normal"),
    )

    def __post_init__(self) -> None:
        for each in fields(self):
            value = typed(each.name, getattr(self, each.name), each.type)
            _check(each.name, value, each.metadata["bounds"], each.metadata["choices"])
            object.__setattr__(self, each.name, value)
        _check_model(self.model)
        object.__setattr__(self, "dataset", normal_dataset(self.dataset))
        if not self.dataset:
            raise UserError("dataset is empty: give cifar10, photos or a folder of pictures")

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Build a config from names and values; an unknown name is a `UserError`."""
        known = [each.name for each in fields(cls)]
        for name in values:
            if name not in known:
                raise UserError(f"unknown parameter {name!r}: choose from {', '.join(known)}")
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """Return the values by name, as config.json holds them."""
        return asdict(self)

    @property
    def run_name(self) -> str:
        """The run folder's name, such as `vqvae-cifar10-b256-e40-s0`.

        Settings that differ from their defaults follow: `...-s0-limit5000-decay0.0`.
        """
        name = f"{self.model}-{dataset_slug(self.dataset)}"
        name += f"-b{self.batch_size}-e{self.epochs}-s{self.seed}"
        for each in fields(self):
            value = getattr(self, each.name)
            if each.name not in ALWAYS_NAMED and value != each.default:
                text = "x".join(map(str, value)) if isinstance(value, tuple) else value
                name += f"-{each.name}{text}"
        return name


NAMED = ("cifar10", "photos", "auto")  # data sets that are neither torchvision's nor folders
ALWAYS_NAMED = ("model", "dataset", "batch_size", "epochs", "seed")


def dataset_slug(dataset: str) -> str:
    """Return a data set's short name for run names: a folder's name and a hash of its path."""
    if dataset in NAMED:
        return dataset
    if is_torchvision(dataset):
        return dataset.lower()
    path = Path(dataset)
    digest = hashlib.sha256(str(path).encode()).hexdigest()[:6]
    return re.sub(r"[^A-Za-z0-9]+", "_", path.name).strip("_").lower() + "_" + digest


def normal_dataset(dataset: str) -> str:
    """Return a folder's or a file's absolute path, so that its run has one name from anywhere.

    Names of data sets come back as they are, but torchvision's CIFAR10 is `cifar10`.
    """
    if dataset in ("", *NAMED):
        return dataset
    if is_torchvision(dataset):
        return "cifar10" if dataset == "CIFAR10" else dataset
    with contextlib.suppress(OSError, RuntimeError, ValueError):
        path = Path(dataset).expanduser()
        if path.exists():
            return str(path.resolve())
    return dataset


KINDS = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}


def typed(name: str, value: Any, kind: Any) -> Any:
    """Convert the value of parameter `name` to `kind`; it may be text, as papermill passes some.

    Args:
        name: used in the message.
        value: of that kind, or text that stands for one; a list may be text such as `8,5,5`.
        kind: int, float, str or bool, a tuple of one of them such as `tuple[int, ...]`, or one of
            these `| None`.

    Raises:
        UserError: if the value is of another kind; nothing is rounded.
    """
    kinds = get_args(kind) if isinstance(kind, UnionType) else (kind,)
    if type(None) in kinds and value in (None, "", "None", "none", "null"):
        return None
    kind = kinds[0]
    if get_origin(kind) is tuple:
        return _typed_list(name, value, get_args(kind)[0])
    try:
        if kind is bool:
            return {"true": True, "false": False}[str(value).lower()]
        if isinstance(value, bool):
            raise ValueError
        number = kind(float(value)) if kind is int else kind(value)
        if kind is int and (number != float(value) or abs(number) > 2**53):
            raise ValueError
        if kind is float and not math.isfinite(number):
            raise ValueError
        if kind is str and not isinstance(value, (str, Path)):
            raise ValueError
    except (KeyError, TypeError, ValueError, OverflowError):
        raise UserError(f"{name} must be {KINDS[kind]}, got {value!r}") from None
    return number


def _typed_list(name: str, value: Any, kind: type) -> tuple[Any, ...]:
    items = value.strip("[]() ").split(",") if isinstance(value, str) else value
    if not isinstance(items, (list, tuple)) or not items:
        raise UserError(f"{name} must be a list such as [8, 5], got {value!r}")
    return tuple(typed(name, item, kind) for item in items)


def _check(name: str, value: Any, bounds: dict[str, float], choices: tuple[Any, ...]) -> None:
    if choices and value not in choices:
        raise UserError(f"unknown {name} {value!r}: choose one of {', '.join(map(str, choices))}")
    for number in value if isinstance(value, tuple) else (value,):
        if number is not None and not all(_holds(number, *bound) for bound in bounds.items()):
            wanted = " and ".join(f"{words} {bound:g}" for words, bound in bounds.items())
            raise UserError(f"{name} must be {wanted}, got {number}")


def _holds(number: float, words: str, bound: float) -> bool:
    if words == "a multiple of":
        return number % bound == 0
    return {
        "above": number > bound,
        "at least": number >= bound,
        "below": number < bound,
        "at most": number <= bound,
    }[words]


def _check_model(name: str) -> None:
    from vqlib.models import MODELS  # imports torch, which takes seconds

    if name not in MODELS:
        raise UserError(f"unknown model {name!r}: choose one of {', '.join(MODELS)}")
