"""Named numbers from a study's results, without words: what report and notebooks put into text."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from vqlib.paths import SHIPPED
from vqlib.report.claims import claims, fits_claims, protocol_scores
from vqlib.runs import Run
from vqlib.study import load_runs, load_summary

EARLY = 5  # epochs in which the original report sees most of the fall


@dataclass(frozen=True)
class Findings:
    """The numbers of a study, each computed when asked for.

    `by model` is a dict from a model's name to numbers by batch size, means over seeds.

    Attributes:
        summary: one row per run, as `load_summary` gives it.
        runs: the runs of the summary.
    """

    summary: pd.DataFrame
    runs: list[Run]

    @cached_property
    def ssim(self) -> dict[str, pd.Series]:
        """Test SSIM of Wang et al., by model."""
        return self._by_model("test_ssim")

    @cached_property
    def nmse(self) -> dict[str, pd.Series]:
        """Test NMSE, by model."""
        return self._by_model("test_nmse")

    @cached_property
    def bits(self) -> dict[str, pd.Series]:
        """Bits an image, by model."""
        return self._by_model("bits")

    @property
    def error_ratio(self) -> pd.Series:
        """Test NMSE of the VQ-VAE divided by that of the VAE, by batch size."""
        return (self.nmse["vqvae"] / self.nmse["vae"]).dropna()

    @cached_property
    def seed_sd(self) -> dict[str, pd.Series]:
        """Standard deviation of test SSIM over seeds, by model, for settings with several."""
        deviations = self.summary.groupby(["model", "batch_size"])["test_ssim"].std().dropna()
        return {str(model): each.droplevel("model") for model, each in deviations.groupby("model")}

    @cached_property
    def batch_range(self) -> dict[str, float]:
        """The largest difference between the mean SSIM at two batch sizes, by model."""
        return {model: means.max() - means.min() for model, means in self.ssim.items()}

    @cached_property
    def histories(self) -> dict[int, pd.DataFrame]:
        """The VQ-VAE's histories by batch size, means over seeds."""
        return mean_histories(self.runs)

    @cached_property
    def loss(self) -> pd.DataFrame:
        """The VQ-VAE's `train_loss`, `train_reconstruction_loss` and `steps` by batch size."""
        columns = ["train_loss", "train_reconstruction_loss", "steps"]
        return self._vqvae.groupby("batch_size")[columns].mean()

    @cached_property
    def early_fall(self) -> pd.Series:
        """Share of the drop in total loss that happens in the first five epochs, by batch size.

        Only runs of at least ten epochs count.
        """
        return pd.Series(
            {
                size: (h["loss"].iloc[0] - h["loss"].iloc[EARLY - 1])
                / (h["loss"].iloc[0] - h["loss"].iloc[-1])
                for size, h in self.histories.items()
                if len(h) >= 2 * EARLY
            },
            dtype=float,
        )

    @cached_property
    def test_gap(self) -> pd.Series:
        """How far the VQ-VAE's test NMSE is above its last training error, as a share."""
        means = self._vqvae.groupby("batch_size")[["test_nmse", "train_reconstruction_loss"]].mean()
        return means["test_nmse"] / means["train_reconstruction_loss"] - 1

    @cached_property
    def codebook(self) -> pd.DataFrame:
        """`codes_used` and `perplexity` of the VQ-VAE on test images, by batch size."""
        ends = [
            {"batch_size": run.config.batch_size} | run.evaluation
            for run in self.runs
            if run.config.model == "vqvae"
        ]
        return pd.DataFrame(ends).groupby("batch_size")[["codes_used", "perplexity"]].mean()

    @cached_property
    def equal_steps(self) -> pd.DataFrame:
        """The VQ-VAE's test NMSE after equally many steps; see `equal_steps_table`.

        At the end of a run it is that of the stored weights, as everywhere else.
        """
        table = equal_steps_table(self.histories)
        table["final_nmse"] = self.nmse["vqvae"]
        at_end = table["steps"] == table["final_steps"]
        table["test_nmse"] = table["test_nmse"].mask(at_end, table["final_nmse"])
        return table

    @cached_property
    def protocols(self) -> pd.DataFrame:
        """SSIM by protocol, each model's mean and lowest over batch sizes."""
        return protocol_scores(self.runs)

    @cached_property
    def fitting(self) -> list[str]:
        """The protocols by which both SSIM values of the original report would hold."""
        return fits_claims(self.protocols)

    @cached_property
    def claims(self) -> pd.DataFrame:
        """The original report's numbers with ours; see `claims.claims`."""
        return claims(self.summary)

    @property
    def _vqvae(self) -> pd.DataFrame:
        return self.summary[self.summary["model"] == "vqvae"]

    def _by_model(self, column: str) -> dict[str, pd.Series]:
        means = self.summary.groupby(["model", "batch_size"])[column].mean()
        return {str(model): each.droplevel("model") for model, each in means.groupby("model")}


def load_findings(results: Path = SHIPPED) -> Findings:
    """Return the findings of a folder of runs."""
    summary = load_summary(results)
    return Findings(summary, load_runs(results, summary))


def seed_histories(runs: list[Run], model: str = "vqvae") -> dict[int, list[pd.DataFrame]]:
    """Return a model's histories by batch size, one of each seed."""
    histories: dict[int, list[pd.DataFrame]] = {}
    for run in runs:
        if run.config.model == model:
            histories.setdefault(run.config.batch_size, []).append(run.history)
    return histories


def mean_histories(runs: list[Run], model: str = "vqvae") -> dict[int, pd.DataFrame]:
    """Return a model's histories by batch size; the mean of each epoch if there are seeds."""
    return {
        batch_size: pd.concat(histories).groupby("epoch", as_index=False).mean()
        for batch_size, histories in seed_histories(runs, model).items()
    }


def equal_steps_table(histories: Mapping[int, pd.DataFrame]) -> pd.DataFrame:
    """Return the test NMSE of each batch size after as many steps as the shortest run takes.

    Between two epochs it is interpolated; within the first epoch there is none.

    Returns:
        Index `batch_size`; columns `steps`, `epochs` (passes over the data by then), `test_nmse`,
        and `final_steps`, `final_nmse` at the end of the run.
    """
    steps = int(min(history["steps"].iloc[-1] for history in histories.values()))
    rows = {
        batch_size: {
            "steps": steps,
            "epochs": steps / history["steps"].iloc[0],
            "test_nmse": np.interp(steps, history["steps"], history["test_nmse"], left=np.nan),
            "final_steps": int(history["steps"].iloc[-1]),
            "final_nmse": history["test_nmse"].iloc[-1],
        }
        for batch_size, history in sorted(histories.items())
    }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("batch_size")


class Longer(NamedTuple):
    """A longer run of one batch size, between two runs of the study with the same seed.

    Attributes:
        before: the study's run of the same batch size.
        after: the longer run.
        level: the study's run that took about as many steps as the longer one.
    """

    before: pd.Series
    after: pd.Series
    level: pd.Series

    def closed(self, column: str) -> float:
        """Return the share of the difference from `level` that the longer training closes."""
        before, after, level = (run[column] for run in self)
        return (before - after) / (before - level)


def longer_run(summary: pd.DataFrame, longer: pd.DataFrame) -> Longer:
    """Return a longer run with the study's runs to compare it with.

    Args:
        summary: of a study.
        longer: of one run of the study's batch size and seed, for as many steps as another batch
            size took.
    """
    after = longer.iloc[0]
    same = summary[(summary["model"] == "vqvae") & (summary["seed"] == after["seed"])]
    before = same[same["batch_size"] == after["batch_size"]].iloc[0]
    level = same.loc[(same["steps"] - after["steps"]).abs().idxmin()]
    return Longer(before, after, level)


class Precision(NamedTuple):
    """What arithmetic does to a figure of the runs.

    Attributes:
        means: of the figure over seeds, by precision.
        seeds: how many seeds each precision has, at least.
        sd: the larger of the two standard deviations over seeds.
    """

    means: pd.Series
    seeds: int
    sd: float

    @property
    def difference(self) -> float:
        """bfloat16 minus float32."""
        return self.means["bfloat16"] - self.means["float32"]


def precision_effect(summary: pd.DataFrame, column: str = "test_nmse") -> Precision:
    """Return what bfloat16 changes, from runs of both precisions with the same seeds.

    Args:
        summary: one row per run.
        column: of the summary.
    """
    groups = summary.groupby("precision")[column]
    return Precision(groups.mean(), int(groups.count().min()), float(groups.std().max()))
