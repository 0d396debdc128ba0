"""What defines a training run: two runs with equal configs are the same experiment."""

import contextlib
import hashlib
import math
import re
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from types import UnionType
from typing import Any, Self, get_args

from vqlib.errors import UserError

MODELS = ("vae", "vqvae")
MAX_SEED = 10**12  # an epoch's seed, about a million times as large, must be below 2^63
PRECISIONS = ("auto", "float32", "bfloat16")
CODEBOOK_INITS = ("uniform", "normal")


@dataclass(frozen=True)
class TrainConfig:
    """One training run. `TrainConfig(model="vqvae", batch_size=256)` is a run of the report.

    Raises `UserError` where a value makes no sense.
    """

    model: str = "vqvae"  # vae or vqvae
    dataset: str = "cifar10"  # cifar10, photos, or a folder of images
    batch_size: int = 64  # images a step
    epochs: int = 40  # passes over the training images
    learning_rate: float = 5e-4  # of Adam
    seed: int = 0  # of initial weights, order of images and latent noise
    limit: int | None = None  # use only the first so many images of each split
    precision: str = "auto"  # float32, bfloat16, or auto: bfloat16 where it is fast
    latent_dim: int = 128  # VAE: length of the latent
    beta: float = 1.0  # VAE: weight of the KL term
    num_hiddens: int = 128  # VQ-VAE: channels of encoder and decoder
    num_residual_hiddens: int = 32  # VQ-VAE: channels inside a residual block
    num_residual_layers: int = 2  # VQ-VAE: residual blocks in encoder and in decoder
    num_embeddings: int = 512  # VQ-VAE: codes in the codebook
    embedding_dim: int = 64  # VQ-VAE: length of a code
    commitment_cost: float = 0.25  # VQ-VAE: weight of the commitment term
    decay: float = 0.99  # VQ-VAE: of the EMA codebook; 0 learns it by gradient
    codebook_init: str = "uniform"  # VQ-VAE: uniform, or normal as in pytorch-vq-vae

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            object.__setattr__(self, field.name, typed(field.name, value, field.type))
        if self.model not in MODELS:
            raise UserError(f"unknown model {self.model!r}: choose one of {', '.join(MODELS)}")
        if self.precision not in PRECISIONS:
            raise UserError(
                f"unknown precision {self.precision!r}: choose one of {', '.join(PRECISIONS)}"
            )
        if self.codebook_init not in CODEBOOK_INITS:
            raise UserError(
                f"unknown codebook_init {self.codebook_init!r}: choose one of "
                f"{', '.join(CODEBOOK_INITS)}"
            )
        object.__setattr__(self, "dataset", normal_dataset(self.dataset))
        if not self.dataset:
            raise UserError("dataset is empty: give cifar10, photos or a folder of images")
        for name in _POSITIVE:
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise UserError(f"{name} must be above 0, got {value}")
        for name in ("seed", "beta", "commitment_cost", "num_residual_layers"):
            if getattr(self, name) < 0:
                raise UserError(f"{name} must not be negative, got {getattr(self, name)}")
        if self.seed > MAX_SEED:
            raise UserError(f"seed must be at most {MAX_SEED}, got {self.seed}")
        if self.num_hiddens < 2:
            raise UserError(f"num_hiddens must be at least 2, got {self.num_hiddens}")
        if not 0 <= self.decay < 1:
            raise UserError(f"decay must be at least 0 and below 1, got {self.decay}")

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Builds a config from names and values; an unknown name is an error."""
        known = [field.name for field in fields(cls)]
        for name in values:
            if name not in known:
                raise UserError(f"unknown parameter {name!r}: choose from {', '.join(known)}")
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """The values by name, as config.json holds them."""
        return asdict(self)

    @property
    def run_name(self) -> str:
        """The run folder's name, such as `vqvae-cifar10-b256-e40-s0`.

        What differs from the defaults beyond that follows: `...-s0-limit5000-decay0.0`.
        """
        name = f"{self.model}-{dataset_slug(self.dataset)}"
        name += f"-b{self.batch_size}-e{self.epochs}-s{self.seed}"
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name not in ALWAYS_NAMED and value != field.default:
                name += f"-{field.name}{value}"
        return name


ALWAYS_NAMED = ("model", "dataset", "batch_size", "epochs", "seed")
_POSITIVE = (
    *("batch_size", "epochs", "learning_rate", "limit", "latent_dim", "num_hiddens"),
    *("num_residual_hiddens", "num_embeddings", "embedding_dim"),
)


def dataset_slug(dataset: str) -> str:
    """A data set's short name for run names: a folder's own name and a hash of its path."""
    if dataset in ("cifar10", "photos"):
        return dataset
    path = Path(dataset)
    digest = hashlib.sha256(str(path).encode()).hexdigest()[:6]
    return re.sub(r"[^A-Za-z0-9]+", "_", path.name).strip("_").lower() + "_" + digest


def normal_dataset(dataset: str) -> str:
    """A folder's path from the root: the same run wherever it is started from; others as is."""
    with contextlib.suppress(OSError, RuntimeError, ValueError):
        path = Path(dataset).expanduser()
        if dataset not in ("", "cifar10", "photos") and path.is_dir():
            return str(path.resolve())
    return dataset


def typed(name: str, value: Any, kind: Any) -> Any:
    """The value of parameter `name` as `kind`; it may come as text, as papermill passes some.

    Args:
        name: for the message.
        value: of that kind, or text that stands for one.
        kind: int, float, str or bool, or one of them `| None`.

    Raises:
        UserError: where the value is of another kind; nothing is rounded.
    """
    kinds = get_args(kind) if isinstance(kind, UnionType) else (kind,)
    if type(None) in kinds and value in (None, "", "None", "none", "null"):
        return None
    kind = kinds[0]
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
        words = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}
        raise UserError(f"{name} must be {words[kind]}, got {value!r}") from None
    return number
