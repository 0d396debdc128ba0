"""What a larger study costs, from the times of the shipped runs: the tables of docs/scaling.md.

The model of cost: an epoch takes a fixed time for its images and a fixed time for each step.
"""

from pathlib import Path

import pandas as pd

from vqlib.paths import SHIPPED
from vqlib.study import load_summary

FITTED = (16, 256)  # batch sizes; the others check the model
START = 30  # CPU seconds a job takes in addition to its epochs
PLANS = ((1, 5, 2), (3, 5, 2), (10, 5, 2), (100, 5, 2))  # seeds, batch sizes, models
CORES = (2, 32, 200)


def load_times(results: Path = SHIPPED) -> pd.DataFrame:
    """Return the runs of seed 0 with their steps per epoch, fastest and mean epoch in seconds."""
    runs = load_summary(results)
    runs = runs[runs["seed"] == 0]
    histories = [pd.read_csv(results / run / "history.csv") for run in runs["run"]]
    return runs.assign(
        per_epoch=runs["steps"] / runs["epochs"],
        fastest=[history["seconds"].min() for history in histories],
        mean=runs["seconds"] / runs["epochs"],
    )


def fit_costs(runs: pd.DataFrame) -> dict[str, tuple[float, float]]:
    """Return each model's seconds for an epoch's images, and for a step."""
    costs = {}
    for model, own in runs[runs["batch_size"].isin(FITTED)].groupby("model"):
        few, many = own.sort_values("per_epoch")[["per_epoch", "fastest"]].to_numpy()
        step = (many[1] - few[1]) / (many[0] - few[0])
        costs[str(model)] = (few[1] - step * few[0], step)
    return costs


def epoch_seconds(runs: pd.DataFrame) -> pd.Series:
    """Return the seconds of an epoch of each run by the model of cost."""
    costs = fit_costs(runs)
    images, step = (runs["model"].map({m: c[i] for m, c in costs.items()}) for i in (0, 1))
    return images + step * runs["per_epoch"]


def core_hours(runs: pd.DataFrame, seeds: int) -> tuple[float, float]:
    """Return the core-hours of a study that repeats these runs, and those of its longest run."""
    each = (START + epoch_seconds(runs) * runs["epochs"]) / 3600
    return seeds * each.sum(), each.max()


def delay(runs: pd.DataFrame) -> float:
    """Return how many times its fastest epoch a run's mean epoch took, at most."""
    return round((runs["mean"] / runs["fastest"]).max(), 1)


def fit_table(runs: pd.DataFrame) -> str:
    """Return the table of measured and predicted epochs, in Markdown."""
    lines = [
        "| Model | Batch | Steps per epoch | Fastest epoch, s | Model of cost, s | Difference "
        "| Mean epoch, s | Whole run, s |",
        "| :-- | --: | --: | --: | --: | --: | --: | --: |",
    ]
    for run, predicted in zip(runs.to_dict("records"), epoch_seconds(runs), strict=True):
        difference = "fitted"
        if run["batch_size"] not in FITTED:
            difference = f"{predicted / run['fastest'] - 1:+.0%}"
        lines.append(
            f"| {run['model']} | {run['batch_size']} | {run['per_epoch']:.0f} "
            f"| {run['fastest']:.1f} | {predicted:.1f} | {difference} | {run['mean']:.1f} "
            f"| {run['seconds']:,.0f} |"
        )
    return "\n".join(lines)


def cost_summary(runs: pd.DataFrame) -> str:
    """Return the fitted costs and the total of all runs, in Markdown."""
    lines = [
        f"- {model}: {images:.1f} s for an epoch's images, and {1000 * step:.1f} ms for each step."
        for model, (images, step) in fit_costs(runs).items()
    ]
    total, _ = core_hours(runs, 1)
    took = runs["seconds"].sum() / 3600
    return (
        "The fitted costs:\n\n" + "\n".join(lines) + f"\n\nBy this model, all {len(runs)} runs "
        f"together take {total:.1f} core-hours. On the shared machine they took {took:.1f}, "
        f"{took / total:.2f} times as many."
    )


def plan_table(runs: pd.DataFrame) -> str:
    """Return the table of larger studies, in Markdown: core-hours, and hours on so many cores."""
    head = " | ".join(f"{cores} cores, h" for cores in CORES)
    lines = [
        f"| Seeds × batch sizes × models | Runs | Core-hours | {head} |",
        "| :-- | --: | --: |" + " --: |" * len(CORES),
    ]
    for seeds, batches, models in PLANS:
        total, longest = core_hours(runs, seeds)
        hours = " | ".join(
            f"{max(total / cores, longest):.1f} to {delay(runs) * (total / cores + longest):.1f}"
            for cores in CORES
        )
        lines.append(
            f"| {seeds} × {batches} × {models} | {seeds * batches * models:,} "
            f"| {total:,.0f} | {hours} |"
        )
    return "\n".join(lines)
