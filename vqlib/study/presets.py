"""What a preset asks for: its training runs, and what each asks of a cluster."""

import itertools
from collections import Counter
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml

from vqlib.config import TrainConfig
from vqlib.documents.notebook import parameter_names
from vqlib.errors import UserError
from vqlib.images import resolve_dataset
from vqlib.paths import ROOT
from vqlib.runs import has_weights, is_finished
from vqlib.study.cluster import Job

GRID = {"model": "models", "batch_size": "batch_sizes", "seed": "seeds"}
FULL = "paper"  # the study whose results, figures and report are the project's own
NOTEBOOKS = {"vae": "01_vae_baseline.ipynb", "vqvae": "02_vqvae.ipynb"}


@dataclass(frozen=True)
class Study:
    """The training runs that a preset asks for, and the folders that they go to.

    Attributes:
        name: the preset's name.
        configs: what each run is.
        job: what each run asks of a cluster.
        root: the project's folder, with presets, notebooks and results.
    """

    name: str
    configs: list[TrainConfig]
    job: Job = field(default_factory=Job)
    root: Path = ROOT

    @property
    def folder(self) -> Path:
        """The folder of its runs, executed notebooks, logs and summary."""
        return self.root / "results" / self.name

    @property
    def shipped(self) -> Path:
        """The folder of the runs that the project ships: those of the full study."""
        return self.root / "results" / FULL

    @property
    def report(self) -> Path:
        """The report PDF; that of the full study is the project's own."""
        folder = self.root / "report" if self.name == FULL else self.folder
        return folder / "report.pdf"

    @property
    def figures(self) -> Path:
        """The folder of its figures; those of the full study are the project's own."""
        return self.root / "figures" if self.name == FULL else self.folder / "figures"

    @property
    def run_names(self) -> list[str]:
        """Names of its run folders."""
        return [config.run_name for config in self.configs]

    @property
    def notebooks(self) -> list[str]:
        """Names of the runs whose notebook can show them: all that need not do without weights."""
        folders = [self.folder / name for name in self.run_names]
        return [f.name for f in folders if has_weights(f) or not is_finished(f)]

    def notebook(self, model: str) -> Path:
        """Return the notebook that trains and shows a model."""
        return self.root / "notebooks" / NOTEBOOKS[model]

    def arguments(self, run_name: str) -> dict[str, Any]:
        """The parameters with which the run's notebook trains just this run."""
        config = next(c for c in self.configs if c.run_name == run_name).to_dict()
        names = parameter_names(self.notebook(config["model"]))
        wanted = {name: config[name] for name in names if name in config}
        return {name: v for name, v in wanted.items() if v is not None} | {
            "results": str(self.folder)
        }


def load_study(preset: str, dataset: str | None = None, root: Path = ROOT) -> Study:
    """Read `presets/<preset>.yaml` and check every value before anything runs.

    Args:
        preset: the preset's name.
        dataset: taken in place of the preset's own.
        root: the project's folder.

    Raises:
        UserError: for an unknown preset or parameter, or a value that makes no sense.
    """
    known = {p.stem: p for p in sorted((root / "presets").glob("*.yaml")) if p.is_file()}
    if preset not in known:
        raise UserError(f"unknown preset {preset!r}: choose one of {', '.join(known)}")
    path = known[preset]
    try:
        values = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        problem = " ".join(str(error).split())
        raise UserError(f"{path} is not valid YAML: {problem}") from None
    if not isinstance(values, dict):
        raise UserError(f"{path} must hold names and values")
    also = values.pop("also", [])
    job = _job(path, values.pop("job", {}))
    lists = {name: values.pop(name, None) for name in GRID.values()}
    for name, value in lists.items():
        if not isinstance(value, list) or not value:
            raise UserError(f"{path}: {name} must be a list such as [1, 2]")
    for name, grid in GRID.items():
        if name in values:
            raise UserError(f"{path}: {name} is given by the list {grid}")
    if set(lists["models"]) < set(NOTEBOOKS):
        wanted = ", ".join(NOTEBOOKS)
        raise UserError(f"{path}: models must be [{wanted}]: the report compares them")
    values["dataset"] = resolve_dataset(dataset or values.get("dataset", "cifar10"))
    varied = [dict(zip(GRID, each, strict=True)) for each in itertools.product(*lists.values())]
    folder = root / "notebooks"
    configs = [_config(path, folder, values, each) for each in [*varied, *_check_also(path, also)]]
    _check_parameters_known(path, folder, values, {config.model for config in configs})
    for name, count in Counter(config.run_name for config in configs).items():
        if count > 1:
            raise UserError(f"{path}: {name} is asked for {count} times")
    return Study(preset, configs, job, root)


def _check_also(path: Path, also: Any) -> list[dict[str, Any]]:
    """The runs that a preset asks for beyond its lists."""
    if not isinstance(also, list) or not all(
        isinstance(r, dict) and set(r) == set(GRID) for r in also
    ):
        raise UserError(
            f"{path}: also must be a list of runs such as {{model: vae, batch_size: 16, seed: 1}}"
        )
    return also


def _job(path: Path, values: Any) -> Job:
    try:
        return Job.from_dict(values)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def _config(
    path: Path, notebooks: Path, values: dict[str, Any], varied: dict[str, Any]
) -> TrainConfig:
    """The config of one run, from the values that its model's notebook has a parameter for."""
    try:
        config = TrainConfig(**varied)
        names = parameter_names(notebooks / NOTEBOOKS[config.model])
        own = {name: value for name, value in values.items() if name in names}
        return TrainConfig.from_dict({**config.to_dict(), **own})
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def _check_parameters_known(
    path: Path, notebooks: Path, values: dict[str, Any], models: set[str]
) -> None:
    known = {name for model in models for name in parameter_names(notebooks / NOTEBOOKS[model])}
    known &= {field.name for field in fields(TrainConfig)}
    for name in values:
        if name not in known:
            raise UserError(
                f"{path}: unknown parameter {name!r}; the notebooks have {', '.join(sorted(known))}"
            )
