"""Presets: the runs that a study consists of, read and checked before anything runs."""

import itertools
from collections import Counter
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml

from vqlib.config import TrainConfig
from vqlib.errors import UserError
from vqlib.images import resolve_dataset
from vqlib.models import MODELS, settings
from vqlib.paths import ROOT
from vqlib.runs import has_weights, is_finished
from vqlib.study.cluster import Job
from vqlib.study.notebook import parameter_names, typed_parameters

FULL = "paper"  # the study whose results, figures and report are the project's own
GRID = {"model": "models", "batch_size": "batch_sizes", "seed": "seeds"}
NOTEBOOKS = {  # a model without a notebook of its own is trained by `vqlib train`
    "vae": "01_vae_baseline.ipynb",
    "vqvae": "02_vqvae.ipynb",
}


@dataclass(frozen=True)
class Study:
    """The training runs that a preset asks for, and where their results go.

    Attributes:
        name: the preset's name.
        configs: one for each run.
        job: what each run asks of a cluster.
        root: the project's folder, which holds presets, notebooks and results.
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
    def summary(self) -> Path:
        """The table of its runs."""
        return self.folder / "summary.csv"

    @property
    def report(self) -> Path:
        """The report PDF; the full study's is the project's own."""
        folder = self.root / "report" if self.name == FULL else self.folder
        return folder / "report.pdf"

    @property
    def report_notebook(self) -> Path:
        """The notebook of the report: the paper is about the full study only."""
        name = "report.ipynb" if self.name == FULL else "summary.ipynb"
        return self.root / "report" / name

    @property
    def figures(self) -> Path:
        """The folder of its figures; the full study's are the project's own."""
        return self.root / "figures" if self.name == FULL else self.folder / "figures"

    @property
    def loss_model(self) -> str:
        """The model whose training loss is shown: the VQ-VAE if there is one."""
        models = [config.model for config in self.configs]
        return "vqvae" if "vqvae" in models else models[0]

    @property
    def run_names(self) -> list[str]:
        """The names of its run folders."""
        return [config.run_name for config in self.configs]

    @property
    def run_folders(self) -> list[Path]:
        """Its run folders."""
        return [self.folder / name for name in self.run_names]

    @property
    def products(self) -> list[str]:
        """The files that training its runs makes; see `product`.

        A finished run that is shipped without its weights has none: no notebook can show it.
        """
        return [
            self.product(config)
            for config, folder in zip(self.configs, self.run_folders, strict=True)
            if has_weights(folder) or not is_finished(folder)
        ]

    def product(self, config: TrainConfig) -> str:
        """Return the file that training a run makes, relative to the study's folder.

        It is the executed notebook, or what `vqlib train` printed.
        """
        kind = "ipynb" if self.notebook(config) else "txt"
        return f"notebooks/{config.run_name}.{kind}"

    def notebook(self, config: TrainConfig) -> Path | None:
        """Return the notebook that trains and shows a run; None if its model has none."""
        name = NOTEBOOKS.get(config.model)
        return self.root / "notebooks" / name if name else None

    def arguments(self, config: TrainConfig) -> dict[str, Any]:
        """Return the values that train just this run, for its notebook or for `vqlib train`.

        No value is left to a default: a notebook may have been saved with another one.
        """
        notebook, values = self.notebook(config), config.to_dict()
        names = parameter_names(notebook) if notebook else _settings_of(config.model)
        given = {name: values[name] for name in names if name in values}
        return given | {"results": str(self.folder)}


def load_study(preset: str, dataset: str | None = None, root: Path = ROOT) -> Study:
    """Read `presets/<preset>.yaml` and check every value before anything runs.

    Args:
        preset: the preset's name.
        dataset: replaces the preset's own.
        root: the project's folder.

    Raises:
        UserError: if the preset or a parameter is unknown, a value makes no sense, or the notebook
            of a model cannot train what the preset asks for.
    """
    known = {p.stem: p for p in sorted((root / "presets").glob("*.yaml")) if p.is_file()}
    if preset not in known:
        raise UserError(f"unknown preset {preset!r}: choose one of {', '.join(known)}")
    path = known[preset]
    values = _read(path)
    job = _job(path, values.pop("job", {}))
    configs = [_config(path, each) for each in _varied(path, values)]
    _check_names(path, values, {config.model for config in configs})
    values["dataset"] = resolve_dataset(dataset or values.get("dataset", "cifar10"))
    study = Study(preset, [_with_settings(path, each, values) for each in configs], job, root)
    for name, count in Counter(study.run_names).items():
        if count > 1:
            raise UserError(f"{path}: {name} is listed {count} times")
    for config in study.configs:
        _check_notebook(path, study, config)
    return study


def _read(path: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        problem = " ".join(str(error).split())
        raise UserError(f"{path} is not valid YAML: {problem}") from None
    if not isinstance(values, dict):
        raise UserError(f"{path} must hold settings such as `epochs: 40`")
    return values


def _varied(path: Path, values: dict[str, Any]) -> list[dict[str, Any]]:
    """Take the lists out of a preset; return model, batch size and seed of each run."""
    also = values.pop("also", [])
    lists = {name: values.pop(name, None) for name in GRID.values()}
    for name, value in lists.items():
        if not isinstance(value, list) or not value:
            raise UserError(f"{path}: {name} must be a list such as [1, 2]")
    if not isinstance(also, list) or not all(
        isinstance(run, dict) and set(run) == set(GRID) for run in also
    ):
        raise UserError(
            f"{path}: also must be a list of runs such as {{model: vae, batch_size: 16, seed: 1}}"
        )
    grid = [dict(zip(GRID, each, strict=True)) for each in itertools.product(*lists.values())]
    return [*grid, *also]


def _job(path: Path, values: Any) -> Job:
    try:
        return Job.from_dict(values)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def _config(path: Path, values: dict[str, Any]) -> TrainConfig:
    try:
        return TrainConfig.from_dict(values)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def _with_settings(path: Path, config: TrainConfig, values: dict[str, Any]) -> TrainConfig:
    """Return the config with those of the preset's values that its model has."""
    own = {name: values[name] for name in _settings_of(config.model) if name in values}
    return _config(path, {**config.to_dict(), **own})


def _settings_of(model: str) -> list[str]:
    """Return the names of all settings of a model: its own, and those that every model has."""
    of_others = {name for other in MODELS for name in settings(other)} - set(settings(model))
    return [f.name for f in fields(TrainConfig) if f.name not in {"model", *of_others}]


def _check_names(path: Path, values: dict[str, Any], models: set[str]) -> None:
    """Refuse a name that none of the preset's models has, or that a list gives."""
    for name, grid in GRID.items():
        if name in values:
            raise UserError(f"{path}: use the list {grid} instead of {name}")
    known = {name for model in models for name in _settings_of(model)} - set(GRID)
    for name in values:
        if name not in known:
            raise UserError(
                f"{path}: unknown parameter {name!r}: choose from {', '.join(sorted(known))}"
            )


def _check_notebook(path: Path, study: Study, config: TrainConfig) -> None:
    """Refuse a run whose notebook cannot train it."""
    notebook = study.notebook(config)
    if notebook is None:
        return
    names = parameter_names(notebook)
    for f in fields(TrainConfig):
        value = getattr(config, f.name)
        if f.name not in ("model", *names) and value != f.default:
            raise UserError(
                f"{path}: {f.name} is {value}, but {notebook.name} has no such parameter: "
                "add it to the notebook's parameters cell"
            )
    try:
        typed_parameters(notebook, study.arguments(config))
    except UserError as error:
        raise UserError(f"{path}: {error}: correct the notebook's parameters cell") from None
