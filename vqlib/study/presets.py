"""Presets: the runs that a study consists of, read and checked before anything runs."""

import itertools
from collections import Counter
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, ClassVar

import yaml

from vqlib.config import TrainConfig, settings_of
from vqlib.errors import UserError
from vqlib.generation.config import PriorConfig, check_own
from vqlib.images import resolve_dataset
from vqlib.models import without_weights
from vqlib.paths import HOME, ROOT, is_finished
from vqlib.runs import has_weights
from vqlib.study.cluster import Job
from vqlib.study.parameters import keywords, parameters_of, typed_parameters
from vqlib.study.sweep import configs_of

FULL = "paper"  # the study whose results, figures and report are the project's own
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
        priors: one for each prior over the codes of its first VQ-VAE; without the weights.
        root: the project's folder, which holds presets, notebooks and results.
    """

    name: str
    configs: list[TrainConfig]
    job: Job = field(default_factory=Job)
    priors: list[PriorConfig] = field(default_factory=list)
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
    def rates(self) -> Path | None:
        """The folder of the runs whose rates are compared, if any are.

        These are its own runs if one of its models has several rates. The full study takes those
        that are shipped.
        """
        if self.name == FULL:
            return self.root / "results" / "rate"
        rates = {(each.model, without_weights(each).rate_label) for each in self.configs}
        return self.folder if len(rates) > len({each.model for each in self.configs}) else None

    @property
    def coded(self) -> TrainConfig:
        """The run whose codes its priors are over."""
        return next(each for each in self.configs if each.model == "vqvae")

    @property
    def gaussian(self) -> list[TrainConfig]:
        """The runs whose samples are compared with those of its priors: first seeds of VAEs."""
        return [each for each in self.configs if each.model == "vae" and each.seed == 0]

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
        names = parameters_of(notebook) if notebook else settings_of(config.model)
        given = {name: values[name] for name in names if name in values}
        return given | {"results": str(self.folder)}

    def prior_arguments(self, prior: PriorConfig) -> dict[str, Any]:
        """Return the values that train just this prior, for `vqlib prior`."""
        values = prior.to_dict()
        given = {name: values[name] for name in values if name not in ("vqvae", "weights")}
        return {**given, "results": str(self.folder)}


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
    if not (root / "presets").is_dir():
        raise UserError(
            f"a study needs the project's presets, notebooks and rules, and "
            f"{HOME if root == ROOT else root} has none: run it in a checkout of the project, or "
            "set VQLIB_HOME to one"
        )
    known = {p.stem: p for p in sorted((root / "presets").glob("*.yaml")) if p.is_file()}
    if preset not in known:
        raise UserError(f"unknown preset {preset!r}: choose one of {', '.join(known)}")
    path = known[preset]
    if set("{}") & set(preset):
        raise UserError(f"{path} has a name with braces, which Snakemake takes for wildcards")
    values = _read(path)
    if dataset:
        values["dataset"] = dataset
    try:
        job = Job.from_dict(values.pop("job", {}))
        wanted = values.pop("prior", None)
        configs = configs_of(values)
        found = {name: resolve_dataset(name) for name in {each.dataset for each in configs}}
        configs = [replace(each, dataset=found[each.dataset]) for each in configs]
        for config in configs:
            _check_encoding(config.dataset)
        study = Study(preset, configs, job, _priors(wanted, configs), root)
        for name, count in Counter(study.run_names).items():
            if count > 1:
                raise UserError(f"{name} is listed {count} times")
        for config in configs:
            _check_notebook(study, config)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    return study


class _Loader(yaml.SafeLoader):
    """Reads scalars as the text that stands there, and refuses a name that is given twice.

    YAML would read `007` as 7, `010` as 8, `1:30` as 90 and `2025-11-25` as a date. What a setting
    means is up to its type.
    """

    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {  # type: ignore[misc]
        first: [each for each in resolvers if each[0].endswith((":null", ":merge"))]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Return the names and values of a mapping."""
        names = [each.value for each, _ in node.value if isinstance(each, yaml.ScalarNode)]
        for name, count in Counter(names).items():
            if count > 1:
                raise yaml.YAMLError(f"{name} is given {count} times")
        return super().construct_mapping(node, deep)


def _read(path: Path) -> dict[str, Any]:
    try:
        values = yaml.load(path.read_bytes(), _Loader)
    except (OSError, RecursionError, ValueError, yaml.YAMLError) as error:
        problem = " ".join(str(error).split())
        raise UserError(f"{path} is not valid YAML: {problem}") from None
    if not isinstance(values, dict):
        raise UserError(f"{path} must hold settings such as `epochs: 40`")
    return values


def _check_encoding(dataset: str) -> None:
    """Refuse a name that no notebook can hold; `vqlib train` can use it."""
    try:
        dataset.encode()
    except UnicodeEncodeError:
        raise UserError(
            f"dataset {dataset!r} has a name that is not UTF-8: give a link to it, or rename it"
        ) from None


def _priors(values: Any, configs: list[TrainConfig]) -> list[PriorConfig]:
    """Return the priors that a preset asks for: one for each combination of values."""
    if values is None:
        return []
    if not isinstance(values, dict):
        raise UserError(f"prior: give settings such as {{epochs: 15}}, got {values!r}")
    if not (vqvae := [each.run_name for each in configs if each.model == "vqvae"]):
        raise UserError("prior: there is no VQ-VAE whose codes it could learn")
    lists = [value if isinstance(value, list) else [value] for value in values.values()]
    try:
        priors = [
            PriorConfig.from_dict({**dict(zip(values, each, strict=True)), "vqvae": vqvae[0]})
            for each in itertools.product(*lists)
        ]
        for prior in priors:
            check_own(prior)
    except UserError as error:
        raise UserError(f"prior: {error}") from None
    return priors


def _check_notebook(study: Study, config: TrainConfig) -> None:
    """Refuse a run whose notebook cannot train it."""
    notebook = study.notebook(config)
    if notebook is None:
        return
    names, passed = parameters_of(notebook), keywords(notebook, "TrainConfig")
    for f in fields(TrainConfig):
        value, problem = getattr(config, f.name), ""
        if f.name not in ("model", *names) and value != f.default:
            problem = "has no such parameter: add it to the notebook's parameters cell"
        elif f.name in names and passed and f.name not in passed:
            problem = "does not pass it on: add it to the call of TrainConfig"
        if problem:
            raise UserError(f"{f.name} is {value}, but {notebook.name} {problem}")
    try:
        typed_parameters(notebook, study.arguments(config))
    except UserError as error:
        raise UserError(f"{error}: correct the notebook's parameters cell") from None
