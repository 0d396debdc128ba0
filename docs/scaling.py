"""Makes the tables of `scaling.md` from the runs in `results/paper`: `python docs/scaling.py`."""

import re
from pathlib import Path

import pandas as pd

from vqlib.paths import SHIPPED
from vqlib.study import load_summary

PAGE = Path(__file__).with_suffix(".md")
FITTED = (16, 256)  # batch sizes; the others check the model
START = 65.0  # CPU seconds a job, beside its epochs
BUSY = 1.5  # times the fastest epoch that a run's mean epoch takes on a shared machine, at most
PLANS = ((1, 5, 2), (3, 5, 2), (10, 5, 2), (100, 5, 2))  # seeds, batch sizes, models
CORES = (2, 32, 200)


def measured(results: Path = SHIPPED) -> pd.DataFrame:
    """Each setting's first run: its steps an epoch, fastest and mean epoch, in seconds."""
    runs = load_summary(results)
    runs = runs[runs["seed"] == 0]
    histories = [pd.read_csv(results / run / "history.csv") for run in runs["run"]]
    return runs.assign(
        per_epoch=runs["steps"] / runs["epochs"],
        fastest=[history["seconds"].min() for history in histories],
        mean=runs["seconds"] / runs["epochs"],
    )


def fit(runs: pd.DataFrame) -> dict[str, tuple[float, float]]:
    """Seconds for an epoch's images and for a step, by model, from two batch sizes."""
    costs = {}
    for model, own in runs[runs["batch_size"].isin(FITTED)].groupby("model"):
        few, many = own.sort_values("per_epoch")[["per_epoch", "fastest"]].to_numpy()
        step = (many[1] - few[1]) / (many[0] - few[0])
        costs[model] = (few[1] - step * few[0], step)
    return costs


def epoch_seconds(runs: pd.DataFrame) -> pd.Series:
    """What the model of cost gives for each run's epoch."""
    images, step = (runs["model"].map({m: c[i] for m, c in fit(runs).items()}) for i in (0, 1))
    return images + step * runs["per_epoch"]


def core_hours(runs: pd.DataFrame, seeds: int) -> tuple[float, float]:
    """Of a study that repeats these runs with so many seeds: all of it, and its longest run."""
    each = (START + epoch_seconds(runs) * runs["epochs"]) / 3600
    return seeds * each.sum(), each.max()


def tables(runs: pd.DataFrame) -> str:
    """The page's tables."""
    check = [
        "| Model | Batch | Steps an epoch | Fastest epoch, s | Model of cost, s | Differs by "
        "| Mean epoch, s | Whole run, s |",
        "| :-- | --: | --: | --: | --: | --: | --: | --: |",
    ]
    for run, predicted in zip(runs.itertuples(), epoch_seconds(runs), strict=True):
        differs = "fitted"
        if run.batch_size not in FITTED:
            differs = f"{predicted / run.fastest - 1:+.0%}"
        check.append(
            f"| {run.model} | {run.batch_size} | {run.per_epoch:.0f} | {run.fastest:.1f} "
            f"| {predicted:.1f} | {differs} | {run.mean:.1f} | {run.seconds:,.0f} |"
        )
    costs = [
        f"{model}: {images:.1f} s for an epoch's images and {1000 * step:.1f} ms a step."
        for model, (images, step) in fit(runs).items()
    ]
    total, _ = core_hours(runs, 1)
    took = runs["seconds"].sum() / 3600
    costs.append(
        f"All {len(runs)} runs: {total:.1f} core-hours by the model, {took:.1f} measured on the "
        f"shared machine, {took / total:.2f} times as much."
    )
    head = " | ".join(f"{cores} cores, h" for cores in CORES)
    plan = [
        f"| Seeds × batch sizes × models | Runs | Core-hours | {head} |",
        "| :-- | --: | --: |" + " --: |" * len(CORES),
    ]
    for seeds, batches, models in PLANS:
        total, longest = core_hours(runs, seeds)
        hours = " | ".join(
            f"{max(total / cores, longest):.1f} to {BUSY * (total / cores + longest):.1f}"
            for cores in CORES
        )
        plan.append(
            f"| {seeds} × {batches} × {models} | {seeds * batches * models:,} "
            f"| {total:,.0f} | {hours} |"
        )
    return "\n\n".join(["\n".join(check), *costs, "\n".join(plan)])


if __name__ == "__main__":
    start, end = "<!-- tables: made by scaling.py -->\n", "<!-- end of tables -->"
    page = PAGE.read_text()
    made = start + tables(measured()) + "\n" + end
    PAGE.write_text(re.sub(f"{start}.*{end}", lambda _: made, page, flags=re.DOTALL))
