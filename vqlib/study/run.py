"""A study: a preset's training runs, their summary, and the command that runs them all."""

import itertools
import math
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field, fields
from numbers import Number
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from vqlib.config import TrainConfig
from vqlib.documents.notebook import parameter_names
from vqlib.errors import UserError
from vqlib.images import load_images, resolve_dataset
from vqlib.paths import ROOT, SHIPPED, shown
from vqlib.runs import (
    SUMMED,
    Run,
    collapse_warning,
    find_runs,
    has_weights,
    is_finished,
    load_run,
    read_config,
)
from vqlib.study.cluster import EXECUTORS, Job, Slurm, lost_jobs
from vqlib.study.status import watch
from vqlib.system.checkpoint import remove_state
from vqlib.system.files import sole_writer, write_atomically

GRID = {"model": "models", "batch_size": "batch_sizes", "seed": "seeds"}
VARIED = ("batch_size", "seed", "precision")  # from run to run of one model in a study
SHARED = ("dataset", "epochs", "learning_rate", "limit", "data_md5")  # by all its runs
MEASURED = (
    *("train_loss", "train_reconstruction_loss", "test_mse", "test_nmse", "test_psnr", "test_ssim"),
    *("bits", "steps", "seconds", "batch_size", "epochs", "learning_rate", "n_train", "n_test"),
)
NOTEBOOKS = {
    "vae": ROOT / "notebooks" / "01_vae_baseline.ipynb",
    "vqvae": ROOT / "notebooks" / "02_vqvae.ipynb",
}
CODES_PER_IMAGE = 8 * 8
STOPS = (signal.SIGINT, signal.SIGTERM)
PATIENCE = 10.0  # seconds for a study to stop when asked
SUMMARY_COLUMNS = (
    *("model", "batch_size", "seed", "epochs", "steps", "precision", "device", "train_loss"),
    *("train_reconstruction_loss", "test_mse", "test_nmse", "test_psnr", "test_ssim"),
    *("perplexity", "seconds", "bits", "run", "dataset", "n_train", "n_test", "learning_rate"),
)


@dataclass(frozen=True)
class Study:
    """A preset's name, the runs that it asks for, and what each of them asks of a cluster."""

    name: str
    configs: list[TrainConfig]
    job: Job = field(default_factory=Job)

    @property
    def folder(self) -> Path:
        """Where its runs, executed notebooks, logs and summary go."""
        return ROOT / "results" / self.name

    @property
    def report(self) -> Path:
        """The report PDF; that of the full study is the project's own."""
        folder = ROOT / "report" if self.name == "paper" else self.folder
        return folder / "report.pdf"

    @property
    def figures(self) -> Path:
        """The folder of its figures; those of the full study are the project's own."""
        return ROOT / "figures" if self.name == "paper" else self.folder / "figures"

    @property
    def run_names(self) -> list[str]:
        """Names of its run folders."""
        return [config.run_name for config in self.configs]

    @property
    def notebooks(self) -> list[str]:
        """Names of the runs whose notebook can show them: all that need not do without weights."""
        folders = [self.folder / name for name in self.run_names]
        return [f.name for f in folders if has_weights(f) or not is_finished(f)]

    def arguments(self, run_name: str) -> dict[str, Any]:
        """The parameters with which the run's notebook trains just this run."""
        config = next(c for c in self.configs if c.run_name == run_name).to_dict()
        names = parameter_names(NOTEBOOKS[config["model"]])
        wanted = {name: config[name] for name in names if name in config}
        return {name: v for name, v in wanted.items() if v is not None} | {
            "results": str(self.folder)
        }


def load_study(preset: str, dataset: str | None = None) -> Study:
    """Reads `presets/<preset>.yaml` and checks every value before anything runs.

    Args:
        preset: the preset's name.
        dataset: instead of the preset's own.

    Raises:
        UserError: for an unknown preset or parameter, or a value that makes no sense.
    """
    known = {p.stem: p for p in sorted((ROOT / "presets").glob("*.yaml")) if p.is_file()}
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
    configs = [_config(path, values, each) for each in [*varied, *_check_also(path, also)]]
    _check_parameters_known(path, values, {config.model for config in configs})
    for name, count in Counter(config.run_name for config in configs).items():
        if count > 1:
            raise UserError(f"{path}: {name} is asked for {count} times")
    return Study(preset, configs, job)


def summarise(runs: list[Run]) -> pd.DataFrame:
    """A row a run; train figures are the last epoch's, test figures of the stored weights.

    Raises:
        UserError: where the runs are not of one study, or a run lacks a figure or has one that is
            not finite.
    """
    _check_one_study(runs)
    rows = []
    for run in runs:
        last = run.history.iloc[-1]
        row = {
            **run.config.to_dict(),
            **run.environment,
            **run.evaluation,
            "steps": int(last["steps"]),
            "train_loss": last["loss"],
            "train_reconstruction_loss": last["reconstruction"],
            "bits": _bits(run),
            "seconds": round(run.history["seconds"].sum(), 1),
            "run": run.folder.name,
        }
        for column in SUMMARY_COLUMNS:
            value = row.get(column, math.nan)
            if isinstance(value, float) and not math.isfinite(value):
                raise UserError(f"{run.folder} is damaged: {column} is missing or not finite")
        rows.append({column: row[column] for column in SUMMARY_COLUMNS})
    return pd.DataFrame(rows, columns=list(SUMMARY_COLUMNS))


def _check_one_study(runs: list[Run]) -> None:
    """Refuses runs that no figure should mix: they differ in more than a study varies."""
    own = {field.name for field in fields(TrainConfig)} - {"model", *VARIED}
    first: dict[str, Run] = {}
    for run in runs:
        same_model = first.setdefault(run.config.model, run)
        for other, names in ((runs[0], SHARED), (same_model, sorted(own))):
            a, b = _settings(other), _settings(run)
            if differing := [
                f"{name} {a[name]} and {b[name]}" for name in names if a[name] != b[name]
            ]:
                raise UserError(
                    f"{run.folder.parent} mixes runs that cannot be compared: "
                    f"{other.folder.name} and {run.folder.name} have {', '.join(differing)}"
                )


def _settings(run: Run) -> dict[str, Any]:
    return {**run.config.to_dict(), "data_md5": run.environment.get("data_md5")}


def _bits(run: Run) -> float:
    """Bits an image: of the VQ-VAE's codes at equal length; of the VAE, its last epoch's KL."""
    if run.config.model == "vqvae":
        return CODES_PER_IMAGE * math.log2(run.config.num_embeddings)
    return run.history["kl"].iloc[-1] / math.log(2)


def load_summary(results: str | Path) -> pd.DataFrame:
    """`summary.csv` of a study's folder; for any other folder of runs, their summary made now."""
    folder = Path(results)
    if (folder / "summary.csv").is_file():
        return _read_summary(folder / "summary.csv")
    runs = find_runs(folder) if folder.is_dir() else []
    begun = {path.parent for path in folder.glob("*/config.json")} - {run.folder for run in runs}
    if runs and begun:
        print(
            f"{shown(folder)}: not finished, left out: {', '.join(sorted(p.name for p in begun))}"
        )
    if not runs:
        raise UserError(f"{folder} holds no finished runs: train some, or run `make report`")
    return summarise(runs)


def load_runs(results: str | Path, summary: pd.DataFrame) -> list[Run]:
    """The runs of a summary, in its order; says so where the summary has other figures than they.

    Raises:
        UserError: where a run is not there, or the runs are not of one study.
    """
    runs = [load_run(Path(results) / name) for name in summary["run"]]
    now = summarise(runs)
    differing = [
        f"{column} of {name} is {there} in the summary and {here} in the run"
        for column in SUMMARY_COLUMNS
        for name, there, here in zip(now["run"], summary[column], now[column], strict=True)
        if not _same(there, here)
    ]
    if differing:
        path = shown(Path(results) / "summary.csv")
        print(f"{path} does not fit its runs: {'; '.join(differing)}. Run the study again.")
    return runs


def _same(a: object, b: object) -> bool:
    """Whether two values of a summary are the same, but for how a number is written."""
    if not (isinstance(a, Number) and isinstance(b, Number)):
        return a == b
    return math.isclose(a, b, rel_tol=1e-9) or (math.isnan(a) and math.isnan(b))


def write_summary(study: Study) -> None:
    """Gathers the study's own runs into its `summary.csv`."""
    write_atomically(study.folder / "summary.csv", _summary(study))


def _summary(study: Study) -> bytes:
    runs = [load_run(study.folder / name) for name in study.run_names]
    for run, config in zip(runs, study.configs, strict=True):
        if run.config != config:
            raise UserError(
                f"{run.folder} is not the run that the preset asks for: delete it to have that "
                "one trained"
            )
    return summarise(runs).to_csv(index=False).encode()


def _read_summary(path: Path) -> pd.DataFrame:
    try:
        summary = pd.read_csv(path)
        if missing := [column for column in SUMMARY_COLUMNS if column not in summary]:
            raise UserError(
                f"{path} is damaged: {', '.join(missing)} missing. Run the study again."
            )
        whole = np.isfinite(summary[list(MEASURED)].to_numpy(float)).all()
        whole &= summary.drop(columns="perplexity").notna().all(axis=None)  # a VAE has none
        whole &= not summary["run"].duplicated().any()
    except (OSError, ValueError) as error:  # pandas' own are ValueErrors
        problem = " ".join(str(error).split())
        raise UserError(f"{path} cannot be read: {problem}. Run the study again.") from None
    if summary.empty or not whole:
        problem = "a run stands in it twice, or not all figures are numbers"
        raise UserError(f"{path} is damaged: {problem}. Run the study again.")
    return summary


def run_study(
    preset: str, keep_going: bool = False, retrain: bool = False, executor: str = "local"
) -> None:
    """Runs a preset with Snakemake, shows how far it is, and names the report.

    Args:
        preset: the preset's name.
        keep_going: whether the rest goes on where a notebook fails; on a cluster it always does.
        retrain: whether the preset's runs are deleted first.
        executor: `local`, on all cores of this machine, or `slurm`, each run a job of its own.

    Raises:
        UserError: before anything runs, where the preset or the data is wrong or there is no
            such executor; afterwards, where a notebook failed, with its name, cell and message.
    """
    if executor not in EXECUTORS:
        raise UserError(f"unknown executor {executor!r}: choose one of {', '.join(EXECUTORS)}")
    study = load_study(preset)
    cluster = Slurm() if executor == "slurm" else None
    with sole_writer(study.folder):
        _run_alone(study, keep_going, retrain, cluster)
    for run in (load_run(study.folder / name) for name in study.run_names):
        if warning := collapse_warning(run.config, run.history):
            print(warning)
    print(f"results: {study.folder / 'summary.csv'}")
    print(f"figures: {study.figures}")
    print(f"report:  {study.report}")


def _run_alone(study: Study, keep_going: bool, retrain: bool, cluster: Slurm | None) -> None:
    dataset = study.configs[0].dataset
    if not retrain:
        _take_shipped(study)
    waiting = [n for n in study.run_names if retrain or not is_finished(study.folder / n)]
    if waiting:
        load_images(dataset, limit=1)  # data that cannot be used are told before anything runs
        _check_free(study, waiting)
    if retrain:
        for name in study.run_names:
            _remove_run(study.folder / name)
    if not waiting and not _is_current(study):
        _remove_results(study)
    _prepare(study, waiting)
    print(
        f"study {study.name}: {len(study.configs)} runs on {dataset}, "
        f"{len(study.configs) - len(waiting)} of them finished already"
    )
    if study.folder == SHIPPED and len(waiting) < len(study.configs):
        print("they are used as shipped, or as trained here since; RETRAIN=1 trains them anew")
    log = study.folder / "logs" / "snakemake.log"
    with open(log, "w") as output:
        process = subprocess.Popen(
            _snakemake(study, keep_going, bool(waiting), cluster.options() if cluster else []),
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
            start_new_session=True,
        )
    try:
        watch(process, study.folder, waiting)
    finally:  # an interrupted study leaves no training behind
        _stop(process)
        if cluster:
            cluster.cancel()
    if process.returncode:
        raise UserError(_failures(study, log))
    missing = [name for name in study.run_names if not is_finished(study.folder / name)]
    if missing:
        raise UserError(f"study {study.name}: not trained: {', '.join(missing)} ({log} says more)")


def _stop(process: subprocess.Popen) -> None:
    """Ends a running process and its group: they are asked, told, and what is left is killed."""
    if process.poll() is not None:
        return
    # A second signal to this process would leave the stopping half done.
    before = {number: signal.signal(number, signal.SIG_IGN) for number in STOPS}
    for number in (*STOPS, signal.SIGKILL):
        with suppress(ProcessLookupError, subprocess.TimeoutExpired):
            os.killpg(process.pid, number)
            process.wait(PATIENCE)
    for number, handler in before.items():
        signal.signal(number, handler)


def _check_free(study: Study, waiting: list[str]) -> None:
    """No run that is to be trained may be in another process's hands."""
    for folder in (study.folder / name for name in waiting):
        if folder.is_dir():
            with sole_writer(folder):
                pass


def _snakemake(study: Study, keep_going: bool, anew: bool, where: list[str]) -> list[str]:
    """The command; the study's folder is locked already, so that a killed one locks nobody out.

    Args:
        study: which.
        keep_going: whether the rest goes on where a notebook fails.
        anew: whether there is something to train, and so summary, figures and report to be made
            again; Snakemake would be content with old ones.
        where: options that send the runs elsewhere.
    """
    return [
        *(sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--quiet"),
        *("--cores", "all", "--nolock", "--rerun-incomplete"),
        *(["--keep-going"] if keep_going else []),
        *(["--forcerun", "summary"] if anew else []),
        *where,
        *("--config", f"preset={study.name}", f"dataset={study.configs[0].dataset}"),
    ]


def _take_shipped(study: Study) -> None:
    """Copies the runs that are shipped with the project and that this study asks for too."""
    for config in study.configs:
        shipped, own = SHIPPED / config.run_name, study.folder / config.run_name
        wanted = own != shipped and is_finished(shipped) and not is_finished(own)
        if wanted and read_config(shipped) == config:
            print(f"{config.run_name}: finished, copied from {shown(shipped)}")
            with sole_writer(own):
                for name in (*SUMMED, "config.json", "environment.json"):  # the last makes it whole
                    if (shipped / name).is_file():  # not every run is shipped with its weights
                        write_atomically(own / name, (shipped / name).read_bytes())
                remove_state(own / "resume.pt")


def _remove_run(folder: Path) -> None:
    """Removes a run that no process is writing."""
    with sole_writer(folder):
        try:
            shutil.rmtree(folder)
        except OSError as error:
            raise UserError(f"{folder} cannot be removed: {error.strerror}") from None


def _remove_results(study: Study) -> None:
    """Removes what was made of the runs as they were."""
    for path in (study.folder / "summary.csv", study.report):
        path.unlink(missing_ok=True)


def _is_current(study: Study) -> bool:
    """Whether the summary is there and says what the runs say now."""
    path = study.folder / "summary.csv"
    return path.is_file() and path.read_bytes() == _summary(study)


def _prepare(study: Study, waiting: list[str]) -> None:
    """Makes the folders, and removes what stands for runs that are still to be trained."""
    try:
        shutil.rmtree(study.folder / "logs", ignore_errors=True)
        (study.folder / "logs").mkdir(parents=True)
        study.figures.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{study.folder} cannot be written: {error.strerror}") from None
    if not os.access(study.folder, os.W_OK):
        raise UserError(f"{study.folder} cannot be written")
    for name in waiting:
        (study.folder / "notebooks" / f"{name}.ipynb").unlink(missing_ok=True)
    if waiting:
        _remove_results(study)


def _failures(study: Study, log: Path) -> str:
    """What the failed notebooks said, a line each, and what the cluster did to the others."""
    lost = {
        name: what
        for name, what in lost_jobs(log.read_text(errors="replace")).items()
        if not is_finished(study.folder / name)
    }
    said = [
        line.removeprefix("vqlib: ")
        for path in sorted((study.folder / "logs").glob("*.log"))
        if path.stem not in lost
        for line in path.read_text(errors="replace").splitlines()
        if line.startswith("vqlib: ")
    ]
    said += [
        f"{name}: {what}" for name, what in lost.items() if not is_finished(study.folder / name)
    ]
    again = "Once that is mended, the same command goes on where it stopped."
    if not said:  # not a notebook but Snakemake itself
        said = [*log.read_text(errors="replace").split("\n\n")[-1].splitlines(), f"(see {log})"]
    return "\n       ".join([f"study {study.name} failed:", *said, again])


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


def _config(path: Path, values: dict[str, Any], varied: dict[str, Any]) -> TrainConfig:
    """The config of one run, from the values that its model's notebook has a parameter for."""
    try:
        config = TrainConfig(**varied)
        names = parameter_names(NOTEBOOKS[config.model])
        own = {name: value for name, value in values.items() if name in names}
        return TrainConfig.from_dict({**config.to_dict(), **own})
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def _check_parameters_known(path: Path, values: dict[str, Any], models: set[str]) -> None:
    known = {name for model in models for name in parameter_names(NOTEBOOKS[model])}
    known &= {field.name for field in fields(TrainConfig)}
    for name in values:
        if name not in known:
            raise UserError(
                f"{path}: unknown parameter {name!r}; the notebooks have {', '.join(sorted(known))}"
            )
