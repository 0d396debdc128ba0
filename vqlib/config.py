"""What defines a training run: two runs with equal configs are the same experiment."""

import contextlib
import hashlib
import math
import os
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from types import UnionType
from typing import TYPE_CHECKING, Any, ClassVar, Self, get_args, get_origin

from vqlib.errors import UserError
from vqlib.system.torchvision_sets import is_torchvision

if TYPE_CHECKING:
    import pandas as pd  # slow to import

MAX_SEED = 10**12  # an epoch's seed, about a million times as large, must be below 2^63


def setting(
    default: Any,
    help: str,
    *,
    title: str = "",
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
        title: its name in figures and tables; without one, its name in code with spaces.
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
    metadata = {"help": help, "title": title, "bounds": given, "choices": choices}
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Config:
    """Settings that define a run: fields made by `setting`, converted and checked.

    Attributes:
        always_named: settings whose values are in every run's name.

    Raises:
        UserError: if a value makes no sense.
    """

    always_named: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        for each in fields(self):
            value = typed(each.name, getattr(self, each.name), each.type)
            _check(each.name, value, each.metadata["bounds"], each.metadata["choices"])
            object.__setattr__(self, each.name, value)

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

    def _changed(self) -> str:
        """Return the settings that differ from their defaults, such as `-limit5000-decay0.0`."""
        changed = ""
        for each in fields(self):
            value = getattr(self, each.name)
            if each.name not in self.always_named and value != each.default:
                text = "x".join(map(str, value)) if isinstance(value, tuple) else value
                changed += f"-{each.name}{text}"
        return changed


@dataclass(frozen=True)
class TrainConfig(Config):
    """One training run. `TrainConfig(model="vqvae", batch_size=256)` is a run of the report.

    A model uses the settings that its constructor names; the first nine are used by all.

    Raises:
        UserError: if a value makes no sense.
    """

    always_named = ("model", "dataset", "batch_size", "epochs", "seed")

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
    latent_dim: int = setting(128, "length of the latent", title="latent dimension", above=0)
    beta: float = setting(1.0, "weight of the KL term", at_least=0)
    observation: str = setting(
        "fixed",
        "variance of the decoder: fixed by beta, or calibrated to the error of each batch",
        choices=("fixed", "calibrated"),
    )
    latent_channels: int = setting(16, "Gaussian numbers at each place of the grid", above=0)
    num_hiddens: int = setting(
        128, "channels of encoder and decoder", title="hidden channels", at_least=2
    )
    num_residual_hiddens: int = setting(
        32, "channels inside a residual block", title="residual channels", above=0
    )
    num_residual_layers: int = setting(
        2, "residual blocks in encoder and in decoder", title="residual blocks", at_least=0
    )
    grid: int = setting(8, "places of the latent along each 32 pixels", choices=(4, 8, 16))
    num_embeddings: int = setting(512, "codes in the codebook", title="codebook size", above=0)
    embedding_dim: int = setting(64, "length of a code", title="code dimension", above=0)
    commitment_cost: float = setting(0.25, "weight of the commitment term", at_least=0)
    decay: float = setting(
        0.99, "decay of the EMA codebook; 0 learns it by gradient", at_least=0, below=1
    )
    codebook_init: str = setting(
        "uniform",
        "start of the codebook: uniform, or normal as in pytorch-vq-vae",
        title="initial codebook",
        choices=("uniform", "normal"),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_model(self.model)
        object.__setattr__(self, "dataset", normal_dataset(self.dataset))
        if not self.dataset:
            raise UserError("dataset is empty: give cifar10, photos or a folder of pictures")

    @property
    def run_name(self) -> str:
        """The run folder's name, such as `vqvae-cifar10-b256-e40-s0`.

        Settings that differ from their defaults follow: `...-s0-limit5000-decay0.0`.
        """
        name = f"{self.model}-{dataset_slug(self.dataset)}"
        name += f"-b{self.batch_size}-e{self.epochs}-s{self.seed}"
        return name + self._changed()


NAMED = ("cifar10", "photos", "auto")  # data sets that are neither torchvision's nor folders
DATA = ("dataset", "limit", "image_size")  # runs that differ in them cannot be compared


def settings_of(model: str) -> list[str]:
    """Return the names of all settings of a model: its own, and those that every model has."""
    from vqlib.models import MODELS, settings  # imports torch, which takes seconds

    of_others = {name for other in MODELS for name in settings(other)} - set(settings(model))
    return [each.name for each in fields(TrainConfig) if each.name not in {"model", *of_others}]


def varied(summary: "pd.DataFrame") -> list[str]:
    """Return the settings in which runs differ; seeds do not count.

    If they differ in no setting, it returns `batch_size`, so that tables and figures have one.

    Args:
        summary: one row per run; the settings among its columns. A setting that the model does
            not have is NaN.
    """
    names = [each.name for each in fields(TrainConfig) if each.name not in ("model", "seed", *DATA)]
    differing = [name for name in names if name in summary and summary[name].nunique() > 1]
    return differing or ["batch_size"]


def swept(summary: "pd.DataFrame") -> list[str]:
    """Return the settings to draw figures by: for each model, the one with most values.

    If two have as many, a number is preferred to a text, then a setting of the model to one that
    every model has.

    Args:
        summary: see `varied`.
    """
    names, chosen = varied(summary), set()
    for _, rows in summary.groupby("model"):
        values = {name: rows[name].dropna() for name in names}
        best = max(
            names, key=lambda n: (values[n].nunique(), not has_text(values[n]), names.index(n))
        )
        chosen |= {best} if values[best].nunique() > 1 else set()
    return [name for name in names if name in chosen] or names[:1]


def has_text(values: "pd.Series") -> bool:
    """Return whether some values of a setting are text, such as `uniform`, and not numbers."""
    return any(isinstance(value, str) for value in values)


def title_of(name: str) -> str:
    """Return a setting's name in figures and tables, such as `batch size`."""
    titles = {each.name: each.metadata["title"] for each in fields(TrainConfig)}
    return titles[name] or name.replace("_", " ")


def written(value: Any) -> str:
    """Return a setting's value as figures and tables show it; one that is missing is a dash."""
    if value is None or value != value:
        return "–"
    if isinstance(value, (str, tuple)):
        return "x".join(map(str, value)) if isinstance(value, tuple) else value
    return str(int(value)) if value == int(value) else f"{value:g}"


def described(names: Sequence[str], values: Any) -> str:
    """Return settings with their values, such as `batch size 16, beta 0.1`.

    Args:
        names: of the settings.
        values: theirs, in the same order; of a single setting, the value alone.
    """
    each = values if len(names) > 1 else (values,)
    pairs = zip(names, each, strict=True)
    return ", ".join(f"{title_of(name)} {written(value)}" for name, value in pairs)


def dataset_slug(dataset: str) -> str:
    """Return a data set's short name for run names: a folder's name and a hash of its path."""
    if dataset in NAMED:
        return dataset
    if is_torchvision(dataset):
        return dataset.lower()
    path = Path(dataset)
    digest = hashlib.sha256(os.fsencode(path)).hexdigest()[:6]
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
