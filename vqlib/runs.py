"""Run folders: everything that a training run leaves on disk, written atomically.

config.json            what defines the run
environment.json       what it ran on: versions, device, threads, data, git commit
history.csv            one row per epoch
weights.safetensors    the trained model, in float16
evaluation.json        figures over the test images, of the weights as stored
reconstructions.png    test images above their reconstructions, pixel by pixel
resume.pt, progress.json, .lock, .holder   only while the run is under way
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np
import pandas as pd
import torch
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor, nn

from vqlib.config import Config, TrainConfig, settings_of, varied
from vqlib.errors import UserError
from vqlib.evaluation import evaluate
from vqlib.images import Images, load_images
from vqlib.models import ImageModel, build_model, without_weights
from vqlib.paths import FINISHED, SHIPPED, SHIPPED_RATES, expanded, is_finished
from vqlib.quantizer import COLLAPSED
from vqlib.system.checkpoint import check_format, check_weights
from vqlib.system.files import read_bytes, read_json, sole_writer, write_json
from vqlib.system.storage import SUMMED as SUMMED
from vqlib.system.storage import WEIGHTS, checksum, seal, write_environment
from vqlib.system.storage import store as store
from vqlib.system.storage import stored_weights as stored_weights
from vqlib.system.storage import write_history as write_history
from vqlib.system.storage import write_png as write_png
from vqlib.system.storage import write_sheet as write_sheet

ANEW = "Delete the run's folder to train it again."

M = TypeVar("M", bound=nn.Module)
R = TypeVar("R", bound="StoredRun")
C = TypeVar("C", bound=Config)


@dataclass(frozen=True)
class StoredRun:
    """What every finished run has, whatever it trained; files are read when asked for.

    Attributes:
        folder: the run folder.
        config: what defines the run.
        columns: those of the history that must hold numbers.
        command: trains such a run.
    """

    folder: Path
    config: Any
    columns: ClassVar[tuple[str, ...]] = ("epoch", "steps", "seconds", "loss")
    command: ClassVar[str] = "vqlib train"

    @cached_property
    def history(self) -> pd.DataFrame:
        """One row per epoch: epoch, steps, seconds, loss terms, the model's test figures."""
        path = self.folder / "history.csv"
        content = self._content(path.name)
        try:
            history = pd.read_csv(BytesIO(content))
            numbers = history[list(self.columns)].to_numpy(float)
        except (KeyError, ValueError) as error:  # pandas' own are ValueErrors
            raise UserError(f"{path} cannot be read: {_one_line(error)}") from None
        if list(history["epoch"]) != list(range(1, self.config.epochs + 1)):
            raise UserError(f"{path} is damaged: its epochs are not 1 to {self.config.epochs}")
        if not np.isfinite(numbers).all():
            raise UserError(f"{path} is damaged: some of its losses are not numbers")
        return history

    @cached_property
    def evaluation(self) -> dict[str, Any]:
        """Figures over the test data, of the weights as stored."""
        self._content("evaluation.json")  # compares the checksum
        return read_json(self.folder / "evaluation.json")

    @cached_property
    def environment(self) -> dict[str, Any]:
        """Versions, device, threads, precision, data and git commit of the run."""
        path = self.folder / "environment.json"
        said = read_json(path)
        check_format(path, said)
        if said.pop("seal", None) != seal(said):
            raise UserError(f"{path} is damaged: its content does not match its checksum. {ANEW}")
        return said

    def with_weights(self, model: M) -> M:
        """Return a fresh model with the stored weights, in evaluation mode.

        The project ships some runs twice, once without weights: they are those of the other one.
        """
        places = [self.folder, *(place / self.folder.name for place in (SHIPPED, SHIPPED_RATES))]
        folder = next(filter(has_weights, places), None)
        if folder is None:
            raise UserError(
                f"{self.folder / WEIGHTS} is missing: run `{self.command}` with the settings of "
                "the run to make it"
            )
        path = folder / WEIGHTS
        try:
            weights = load(self._checked(path))
        except (RuntimeError, SafetensorError) as error:
            raise UserError(f"{path} cannot be read: {_one_line(error)}") from None
        check_weights(path, model, weights)
        model.load_state_dict(weights)
        return model.eval()

    def _content(self, name: str) -> bytes:
        """Return a file of the folder; refuse it if its checksum is not the run's."""
        return self._checked(self.folder / name)

    def _checked(self, path: Path) -> bytes:
        content = read_bytes(path)
        if self.environment["sha256"][path.name] != checksum(content):
            raise UserError(f"{path} is damaged: its content does not match its checksum. {ANEW}")
        return content


@dataclass(frozen=True)
class Run(StoredRun):
    """A finished run of a model of images."""

    config: TrainConfig
    columns = (*StoredRun.columns, "test_nmse")

    @cached_property
    def model(self) -> ImageModel:
        """The trained model in evaluation mode, float32 on the CPU."""
        return self.with_weights(build_model(self.config, self.data_variance))

    @property
    def bits(self) -> float:
        """Bits that the model's latent takes for an image; see the model's `bits`."""
        return self._untrained.bits(self.history.iloc[-1].to_dict())

    @property
    def rate_label(self) -> str:
        """The settings that its rate depends on; see the model's `rate_label`."""
        return self._untrained.rate_label

    @property
    def num_codes(self) -> int:
        """How many codes the model's codebook has; 0 if its latent is continuous."""
        return self._untrained.num_codes

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that the run's model uses; its precision is the one that `auto` gave."""
        values = self.config.to_dict() | {"precision": self.environment.get("precision")}
        return {name: values[name] for name in settings_of(self.config.model)}

    @property
    def terms(self) -> list[str]:
        """Names of the loss terms in the history, `loss` first."""
        names = [str(name) for name in self.history if name not in ("epoch", "steps", "seconds")]
        return names[: next(i for i, name in enumerate(names) if name.startswith("test_"))]

    @property
    def data_variance(self) -> float:
        """Variance of the training pixels."""
        value = self.environment.get("data_variance")
        if not isinstance(value, float) or not 0 < value < 1:
            path = self.folder / "environment.json"
            raise UserError(f"{path} is damaged: data_variance is {value!r}, not between 0 and 1")
        return value

    @cached_property
    def reconstructions(self) -> tuple[Tensor, Tensor]:
        """The sheet's originals and reconstructions, each uint8 (N, 3, 32, 32)."""
        path = self.folder / "reconstructions.png"
        content = self._content(path.name)
        try:
            sheet = np.array(Image.open(BytesIO(content)))  # (64, 32·N, 3)
            side = self.config.image_size
            tiles = torch.from_numpy(sheet).unflatten(0, (2, side)).unflatten(2, (-1, side))
        except Exception as error:  # Pillow raises almost anything for a damaged picture
            raise UserError(f"{path} cannot be read: {_one_line(error)}") from None
        originals, reconstructions = tiles.permute(0, 2, 4, 1, 3)
        return originals, reconstructions

    @property
    def _untrained(self) -> ImageModel:
        """A model of the run's sizes, without weights."""
        return without_weights(self.config, self.data_variance)


def load_run(path: str | Path) -> Run:
    """Return the finished run in a folder; `model`, `history` and `evaluation` are attributes.

    Raises:
        UserError: if the folder does not hold a finished run.
    """
    if is_prior(expanded(path)):
        raise UserError(f"{path} is a prior over codes: give the run of a model of images")
    return open_run(path, Run, TrainConfig)


def open_run(path: str | Path, kind: type[R], config: type[Config]) -> R:
    """Return the finished run in a folder as a run of a kind, which has a kind of config."""
    folder = expanded(path)
    missing = [name for name in FINISHED if not (folder / name).is_file()]
    if missing:
        raise UserError(f"{folder} is not a finished run: {', '.join(missing)} missing")
    run = kind(folder, read_config(folder, config))
    run._content("config.json")  # compares the checksum
    return run


def find_runs(folder: str | Path) -> list[Run]:
    """Return the finished runs in a folder of run folders, by model, batch size, then seed."""
    finished = [path for path in sorted(expanded(folder).glob("*")) if is_finished(path)]
    runs = [load_run(path) for path in finished if not is_prior(path)]
    return sorted(runs, key=lambda r: (r.config.model, r.config.batch_size, r.config.seed))


def by_setting(runs: Iterable[Run], model: str) -> dict[Any, list[Run]]:
    """Return a model's runs by the setting in which they differ; the seeds of one are together.

    Returns:
        The keys are the setting's values in rising order. If the runs differ in several settings,
        they are tuples of values, in the order of `varied`.

    Raises:
        UserError: if there is no run of the model.
    """
    runs = list(runs)
    own = [run for run in runs if run.config.model == model]
    if not own:
        models = ", ".join(sorted({run.config.model for run in runs}))
        raise UserError(f"there is no run of the model {model!r}: choose one of {models}")
    names = varied(pd.DataFrame([run.settings for run in own]))
    found: dict[Any, list[Run]] = {}
    for run in own:
        key = tuple(run.settings[name] for name in names)
        found.setdefault(key if len(names) > 1 else key[0], []).append(run)
    return dict(sorted(found.items(), key=lambda item: item[0]))


def is_prior(folder: Path) -> bool:
    """Return whether a run folder is that of a prior over codes, which names its VQ-VAE."""
    path = folder / "config.json"
    return path.is_file() and "vqvae" in read_json(path)


def has_weights(folder: Path) -> bool:
    """Return whether a run folder has its weights: the project ships them for few seeds."""
    return (folder / WEIGHTS).is_file()


def read_config(folder: Path, kind: type[C]) -> C:
    """Return the config of a run folder, which must be of a kind."""
    path = folder / "config.json"
    values = read_json(path)
    if missing := [name for name in kind.always_named if name not in values]:
        raise UserError(f"{path} is damaged: {', '.join(missing)} missing")
    try:
        return kind.from_dict(values)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def collapse_warning(config: TrainConfig, history: pd.DataFrame) -> str | None:
    """Return a line that names the epochs in which the codebook collapsed, or None."""
    if "collapsed" not in history:  # the first runs did not record it
        return None
    epochs = history["epoch"][history["collapsed"].eq(True)]
    if epochs.empty:
        return None
    return (
        f"WARNING: {config.run_name}: the codebook collapsed, perplexity was below {COLLAPSED} on "
        f"the test images in epoch {', '.join(map(str, epochs))}: try more epochs, another seed "
        "or a lower learning rate"
    )


def evaluate_run(path: str | Path, write: bool = False) -> dict[str, Any]:
    """Evaluate a run's stored weights again, on the test images of its data set.

    Args:
        path: the run's folder.
        write: store the figures there, for a run that was made before there were all metrics.
    """
    run = load_run(path)
    model = run.model  # refuse a damaged run before its images are loaded
    figures = evaluate(model, load_run_images(run), run.data_variance)
    if write:
        with sole_writer(run.folder):
            write_json(run.folder / "evaluation.json", figures)
            write_environment(run.folder, run.environment)
    return figures


def load_run_images(run: Run) -> Tensor:
    """Load a run's test images, uint8 (N, 3, 32, 32); a `UserError` says if they have changed."""
    return images_of(run).test


def images_of(run: Run) -> Images:
    """Load the images that a run was trained on; a `UserError` says if they have changed."""
    skip = bool(run.environment.get("n_unreadable"))
    images = load_images_of(run.config, skip, tell=lambda _: None)  # the training printed it
    check_same_images(run, images)
    return images


def load_images_of(
    config: TrainConfig,
    skip_unreadable: bool | None = None,
    tell: Callable[[str], None] = print,
) -> Images:
    """Load the images that a config asks for; see `load_images`."""
    return load_images(config.dataset, config.limit, config.image_size, skip_unreadable, tell)


def check_same_images(run: Run, images: Images) -> None:
    """Refuse images other than those that a run was trained on."""
    if images.digest != run.environment["data_md5"]:
        raise UserError(
            f"{run.folder.name} was trained on other images than {images.name} holds now: restore "
            "those, or delete the run's folder to train it again"
        )


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
