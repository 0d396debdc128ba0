"""The summary of a study: a row a run, checked against the runs themselves."""

import math
from dataclasses import fields
from numbers import Number
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from vqlib.config import TrainConfig
from vqlib.errors import UserError
from vqlib.paths import shown
from vqlib.runs import Run, find_runs, load_run
from vqlib.study.presets import Study
from vqlib.system.files import write_atomically

VARIED = ("batch_size", "seed", "precision")  # from run to run of one model in a study
SHARED = ("dataset", "epochs", "learning_rate", "limit", "data_md5")  # by all its runs
MEASURED = (
    *("train_loss", "train_reconstruction_loss", "test_mse", "test_nmse", "test_psnr", "test_ssim"),
    *("bits", "steps", "seconds", "batch_size", "epochs", "learning_rate", "n_train", "n_test"),
)
CODES_PER_IMAGE = 8 * 8
SUMMARY_COLUMNS = (
    *("model", "batch_size", "seed", "epochs", "steps", "precision", "device", "train_loss"),
    *("train_reconstruction_loss", "test_mse", "test_nmse", "test_psnr", "test_ssim"),
    *("perplexity", "seconds", "bits", "run", "dataset", "n_train", "n_test", "learning_rate"),
)


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


def is_current(study: Study) -> bool:
    """Whether the summary is there and says what the runs say now."""
    path = study.folder / "summary.csv"
    return path.is_file() and path.read_bytes() == _summary(study)


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
