"""The summary of a study: a table with a row for each run, and whether it fits the runs."""

import math
import sys
from collections.abc import Mapping, Sequence
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from vqlib.config import DATA, TrainConfig, varied, written
from vqlib.errors import UserError
from vqlib.evaluation import METRICS
from vqlib.paths import HOME, expanded, is_finished, shown
from vqlib.runs import Run, find_runs, is_prior, load_run
from vqlib.study.presets import Study, load_study
from vqlib.system.checkpoint import difference
from vqlib.system.files import read_json, write_atomically

SUMMARY_COLUMNS = (
    *("model", "batch_size", "seed", "epochs", "steps", "precision", "device", "train_loss"),
    *("train_reconstruction_loss", "test_mse", "test_nmse", "test_psnr", "test_ssim"),
    *("perplexity", "seconds", "bits", "run", "dataset", "n_train", "n_test", "learning_rate"),
)
TEXTS = ("model", "precision", "device", "run", "dataset")


def summarise(runs: list[Run]) -> pd.DataFrame:
    """Return a table with a row for each run.

    Training losses are those of the last epoch, test figures those of the stored weights. The
    columns are `SUMMARY_COLUMNS`, then any other setting in which runs differ, then any other
    metric that has a heading. A setting that is a list is text such as `8x5x5`. A metric, a
    further setting or a reconstruction loss is NaN if the run does not have it.

    Raises:
        UserError: if the runs are not of the same images, or a run lacks anything but a metric or
            has a value that is not finite.
    """
    _check_same_data(runs)
    known = [*SUMMARY_COLUMNS, *_further_metrics()]
    settings = pd.DataFrame([run.settings for run in runs])
    further = [name for name in varied(settings) if name not in known]
    rows = []
    for run in runs:
        values = _values(run)
        rows.append({column: _value(run, column, values) for column in known})
    table = pd.DataFrame(rows, columns=known)
    after = len(SUMMARY_COLUMNS)
    own = settings[further].map(lambda value: written(value) if isinstance(value, tuple) else value)
    return pd.concat([table.iloc[:, :after], own, table.iloc[:, after:]], axis=1)


def list_runs(folders: Sequence[Path] = ()) -> tuple[pd.DataFrame, list[str]]:
    """Return a table of finished runs with their figures, and what is wrong with others.

    Args:
        folders: runs, and folders of them; none stands for all in `results/`.
    """
    places = folders or [*(HOME / "results").glob("*/")]
    found = [path for place in places for path in (place, *sorted(place.glob("*/")))]
    if missing := [place for place in places if not place.is_dir()]:
        raise UserError(f"{missing[0]} is not a folder: give a run, or a folder of runs")
    rows, problems = [], []
    for path in dict.fromkeys(found):
        if is_finished(path):
            try:
                rows.append({"run": shown(path), **_figures(path)})
            except UserError as error:
                problems.append(str(error))
    return pd.DataFrame(rows).fillna("–"), problems


def _figures(folder: Path) -> dict[str, str]:
    """Return the figures of a run, as text by heading."""
    if is_prior(folder):
        evaluation = read_json(folder / "evaluation.json")
        return {"bits": f"{evaluation['bits_per_image']:.1f}"}
    run = load_run(folder)
    values = {m.heading: (run.evaluation.get(name), m.decimals) for name, m in METRICS.items()}
    figures = {heading: each for heading, each in values.items() if heading and each[0] is not None}
    return {"bits": f"{run.bits:.1f}"} | {
        heading: f"{value:.{decimals}f}" for heading, (value, decimals) in figures.items()
    }


def load_summary(results: str | Path) -> pd.DataFrame:
    """Return the summary of a study's folder, or of any other folder with finished runs in it.

    Raises:
        UserError: if there are no finished runs, or `summary.csv` is damaged.
    """
    folder = expanded(results)
    if (folder / "summary.csv").is_file():
        return _read_summary(folder / "summary.csv")
    runs = find_runs(folder) if folder.is_dir() else []
    begun = {path.parent for path in folder.glob("*/config.json")} - {run.folder for run in runs}
    if runs and begun:
        names = ", ".join(sorted(path.name for path in begun))
        print(f"{shown(folder)}: left out, because they are not finished: {names}")
    if not runs:
        raise UserError(f"{folder} holds no finished runs: train some, or run `make report`")
    return summarise(runs)


def load_runs(results: str | Path, summary: pd.DataFrame) -> list[Run]:
    """Return the runs of a summary, in its order; say so if its figures are not theirs.

    Args:
        results: the folder of the runs.
        summary: as `load_summary` returns it.

    Raises:
        UserError: if a run is missing, or the runs are not of the same images.
    """
    runs = [load_run(expanded(results) / name) for name in summary["run"]]
    now = summarise(runs)
    summary = summary.reindex(columns=now.columns)
    differing = [
        f"{column} of {name} is {there} in the summary and {here} in the run"
        for column in now.columns
        for name, there, here in zip(now["run"], summary[column], now[column], strict=True)
        if not _same(there, here)
    ]
    if differing:
        path = shown(Path(results) / "summary.csv")
        print(f"{path} does not match its runs: {'; '.join(differing)}. Run the study again.")
    return runs


def main(preset: str, dataset: str, root: str) -> None:
    """Write the summary of a study, as its rule does; a `UserError` ends as one line."""
    try:
        write_summary(load_study(preset, dataset, Path(root)))
    except UserError as error:
        sys.exit(f"vqlib: {error}")


def write_summary(study: Study) -> None:
    """Write the study's `summary.csv` from its runs."""
    write_atomically(study.summary, _content(study))


def check_config(run: Run, config: TrainConfig) -> None:
    """Refuse a run of another config than the study asks for."""
    if differing := difference(run.config.to_dict(), config.to_dict()):
        raise UserError(
            f"{run.folder} is not the run that the preset asks for: {differing}. Delete the folder "
            "to train that run."
        )


def is_current(study: Study) -> bool:
    """Return whether the study has a summary that agrees with its runs."""
    return study.summary.is_file() and study.summary.read_bytes() == _content(study)


def _content(study: Study) -> bytes:
    """Return what `summary.csv` should hold; a newer metric that no run has is left out."""
    runs = [load_run(folder) for folder in study.run_folders]
    for run, config in zip(runs, study.configs, strict=True):
        check_config(run, config)
    table = summarise(runs)
    unused = [name for name in _further_metrics() if table[name].isna().all()]
    for name in varied(table):  # whole numbers stay whole if a model does not have the setting
        if table[name].isna().any():
            table[name] = table[name].convert_dtypes()
    return table.drop(columns=unused).to_csv(index=False).encode()


def _further_metrics() -> list[str]:
    """Return the metrics in tables that `SUMMARY_COLUMNS` does not have."""
    return [name for name, m in METRICS.items() if m.heading and name not in SUMMARY_COLUMNS]


def _values(run: Run) -> dict[str, Any]:
    """Return everything that a run says of itself, by column."""
    last = run.history.iloc[-1]
    return {
        **run.config.to_dict(),
        **run.environment,
        **run.evaluation,
        "steps": int(last["steps"]),
        "train_loss": last["loss"],
        "train_reconstruction_loss": last.get("reconstruction"),
        "bits": run.bits,
        "seconds": round(run.history["seconds"].sum(), 1),
        "run": run.folder.name,
    }


def _value(run: Run, column: str, values: Mapping[str, Any]) -> Any:
    """Return a run's value; one that it need not have is NaN."""
    value = values.get(column)
    if value is None and _may_lack(column):
        return math.nan
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        raise UserError(f"{run.folder} is damaged: {column} is missing or not finite")
    return value


def _may_lack(column: str) -> bool:
    """Return whether runs need not have a value: metrics, and a loss without such a term."""
    return column in METRICS or column == "train_reconstruction_loss"


def _check_same_data(runs: list[Run]) -> None:
    """Refuse runs that no table should mix: those of other images than the first one's."""
    first, *others = [
        {name: getattr(run.config, name) for name in DATA}
        | {"data_md5": run.environment.get("data_md5")}
        for run in runs
    ]
    for run, values in zip(runs[1:], others, strict=True):
        if differing := [
            f"{name} {first[name]} and {value}"
            for name, value in values.items()
            if value != first[name]
        ]:
            raise UserError(
                f"{run.folder.parent} mixes runs that cannot be compared: {runs[0].folder.name} "
                f"and {run.folder.name} differ in {', '.join(differing)}"
            )


def _same(a: object, b: object) -> bool:
    """Return whether two values of a summary are equal, however a number is written."""
    if not (isinstance(a, Real) and isinstance(b, Real)):
        return a == b
    return math.isclose(a, b, rel_tol=1e-9) or (math.isnan(a) and math.isnan(b))


def _read_summary(path: Path) -> pd.DataFrame:
    try:
        summary = pd.read_csv(path)
        if missing := [column for column in SUMMARY_COLUMNS if column not in summary]:
            raise UserError(
                f"{path} is damaged: {', '.join(missing)} missing. Run the study again."
            )
        for name in _further_metrics():
            if name not in summary:  # written before there was this metric
                summary[name] = math.nan
        whole = _is_whole(summary)
    except (OSError, ValueError) as error:  # pandas' own errors are ValueErrors
        problem = " ".join(str(error).split())
        raise UserError(f"{path} cannot be read: {problem}. Run the study again.") from None
    if not whole:
        problem = "a run appears twice, or some values are not numbers"
        raise UserError(f"{path} is damaged: {problem}. Run the study again.")
    return summary


def _is_whole(summary: pd.DataFrame) -> bool:
    """Return whether each run has one row, with every value that it must have."""
    optional = [name for name in summary if _may_lack(name)]
    numbers = [name for name in SUMMARY_COLUMNS if name not in (*TEXTS, *optional)]
    return bool(
        not summary.empty
        and not summary["run"].duplicated().any()
        and summary[list(TEXTS)].notna().all(axis=None)
        and np.isfinite(summary[numbers].to_numpy(float)).all()
        and not np.isinf(summary[optional].to_numpy(float)).any()
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
