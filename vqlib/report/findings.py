"""Named numbers from a study's results, without words: what report and notebooks put into text."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from vqlib.config import varied
from vqlib.models import MODELS
from vqlib.paths import SHIPPED
from vqlib.report.claims import claims, fits_claims, protocol_scores
from vqlib.runs import Run, by_setting
from vqlib.study import load_runs, load_summary

EARLY = 5  # epochs in which the original report sees most of the fall


@dataclass(frozen=True)
class Findings:
    """The numbers of a study, each computed when asked for.

    `by model` is a dict from a model's name to numbers by setting, means over seeds. The setting
    is that in which the model's runs differ, such as the batch size; see `varied`.

    Attributes:
        summary: one row per run, as `load_summary` gives it.
        runs: the runs of the summary.
    """

    summary: pd.DataFrame
    runs: list[Run]

    def varied(self, model: str) -> list[str]:
        """Return the settings in which a model's runs differ."""
        return varied(self._of(model))

    @cached_property
    def largest(self) -> dict[str, Any]:
        """The largest setting of each model, as `runs.by_setting` gives it."""
        there = {run.config.model for run in self.runs}
        return {m: list(by_setting(self.runs, m))[-1] for m in MODELS if m in there}

    @cached_property
    def shown(self) -> dict[str, Run]:
        """A run of each model to look at: the first one at its largest setting."""
        return {m: by_setting(self.runs, m)[key][0] for m, key in self.largest.items()}

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
        """Test NMSE of the VQ-VAE divided by that of the VAE, by setting."""
        return (self.nmse["vqvae"] / self.nmse["vae"]).dropna()

    @cached_property
    def seed_sd(self) -> dict[str, pd.Series]:
        """Standard deviation of test SSIM over seeds, by model, for settings with several."""
        deviations = {m: each["test_ssim"].std().dropna() for m, each in self._groups.items()}
        return {model: each for model, each in deviations.items() if len(each)}

    @cached_property
    def batch_range(self) -> dict[str, float]:
        """The largest difference between the mean SSIM at two settings, by model."""
        return {model: means.max() - means.min() for model, means in self.ssim.items()}

    @cached_property
    def histories(self) -> dict[Any, pd.DataFrame]:
        """The VQ-VAE's histories by setting, means over seeds."""
        return mean_histories(self.runs)

    @cached_property
    def loss(self) -> pd.DataFrame:
        """The VQ-VAE's `train_loss`, `train_reconstruction_loss` and `steps` by setting."""
        columns = ["train_loss", "train_reconstruction_loss", "steps"]
        return self._groups["vqvae"][columns].mean()

    @cached_property
    def early_fall(self) -> pd.Series:
        """Share of the drop in total loss that happens in the first five epochs, by setting.

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
        means = self._groups["vqvae"][["test_nmse", "train_reconstruction_loss"]].mean()
        return means["test_nmse"] / means["train_reconstruction_loss"] - 1

    @cached_property
    def codebook(self) -> pd.DataFrame:
        """`codes_used` and `perplexity` of the VQ-VAE on test images, by setting."""
        means = {
            key: pd.DataFrame([run.evaluation for run in runs])[["codes_used", "perplexity"]].mean()
            for key, runs in by_setting(self.runs, "vqvae").items()
        }
        return pd.DataFrame(means).T

    @cached_property
    def equal_steps(self) -> pd.DataFrame:
        """The VQ-VAE's test NMSE after equally many steps; see `equal_steps_table`.

        At the end of a run it is that of the stored weights, as everywhere else.
        """
        table = equal_steps_table(self.histories, self.varied("vqvae"))
        table["final_nmse"] = self.nmse["vqvae"].to_numpy()
        at_end = table["steps"] == table["final_steps"]
        table["test_nmse"] = table["test_nmse"].mask(at_end, table["final_nmse"])
        return table

    @cached_property
    def protocols(self) -> pd.DataFrame:
        """SSIM by protocol, each model's mean and lowest over its settings."""
        return protocol_scores(self.runs)

    @cached_property
    def fitting(self) -> list[str]:
        """The protocols by which both SSIM values of the original report would hold."""
        return fits_claims(self.protocols)

    @cached_property
    def claims(self) -> pd.DataFrame:
        """The original report's numbers with ours; see `claims.claims`."""
        return claims(self.summary)

    def _of(self, model: str) -> pd.DataFrame:
        return self.summary[self.summary["model"] == model]

    @cached_property
    def _groups(self) -> dict[str, Any]:
        """Each model's rows of the summary, grouped by setting."""
        return {
            model: self._of(model).groupby(self.varied(model))
            for model in sorted(set(self.summary["model"]))
        }

    def _by_model(self, column: str) -> dict[str, pd.Series]:
        return {model: groups[column].mean() for model, groups in self._groups.items()}


def load_findings(results: Path = SHIPPED) -> Findings:
    """Return the findings of a folder of runs."""
    summary = load_summary(results)
    return Findings(summary, load_runs(results, summary))


def seed_histories(runs: list[Run], model: str = "vqvae") -> dict[Any, list[pd.DataFrame]]:
    """Return a model's histories by setting, one of each seed; see `runs.by_setting`."""
    groups = by_setting(runs, model)
    return {key: [run.history for run in group] for key, group in groups.items()}


def mean_histories(runs: list[Run], model: str = "vqvae") -> dict[Any, pd.DataFrame]:
    """Return a model's histories by setting; the mean of each epoch if there are seeds."""
    return {
        key: pd.concat(histories).groupby("epoch", as_index=False).mean()
        for key, histories in seed_histories(runs, model).items()
    }


def codebook_sizes(runs: list[Run], model: str = "vqvae") -> dict[Any, int]:
    """Return how many codes a model has, by setting; 0 if its latent is continuous."""
    return {key: group[0].num_codes for key, group in by_setting(runs, model).items()}


def equal_steps_table(
    histories: Mapping[Any, pd.DataFrame], by: Sequence[str] = ("batch_size",)
) -> pd.DataFrame:
    """Return the test NMSE of each history after as many steps as the shortest one takes.

    Between two epochs it is interpolated; within the first epoch there is none.

    Args:
        histories: value of the setting `by` to history.
        by: the settings in which the histories differ; if several, the keys are tuples.

    Returns:
        Index `by`; columns `steps`, `epochs` (passes over the data by then), `test_nmse`,
        and `final_steps`, `final_nmse` at the end of the run.
    """
    steps = int(min(history["steps"].iloc[-1] for history in histories.values()))
    rows = {
        key: {
            "steps": steps,
            "epochs": steps / history["steps"].iloc[0],
            "test_nmse": np.interp(steps, history["steps"], history["test_nmse"], left=np.nan),
            "final_steps": int(history["steps"].iloc[-1]),
            "final_nmse": history["test_nmse"].iloc[-1],
        }
        for key, history in sorted(histories.items(), key=lambda item: item[0])
    }
    keys = list(rows) if len(by) > 1 else [(key,) for key in rows]
    index = pd.DataFrame(keys, columns=list(by))
    return pd.DataFrame(rows.values()).set_index([index[name] for name in by])


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
