"""Tables of results as text, ready to show."""

from dataclasses import fields
from typing import Any

import pandas as pd

from vqlib.config import TrainConfig, settings_of, title_of, varied, written
from vqlib.evaluation import METRICS
from vqlib.models import MODELS
from vqlib.report import claims
from vqlib.report.words import number
from vqlib.runs import Run

LOSSES = ["train_loss", "train_reconstruction_loss"]  # of the last epoch
COLUMNS = {  # heading and decimals of what is neither a metric nor a setting
    "steps": ("Steps", 0),
    "bits": ("Bits", 1),
    "train_loss": ("Total loss", 4),
    "train_reconstruction_loss": ("Reconstruction loss", 4),
}


def comparison_table(summary: pd.DataFrame) -> pd.DataFrame:
    """Return test figures by model and by what varies; mean ± deviation if there are seeds."""
    metrics = [name for name, m in METRICS.items() if m.heading and summary[name].notna().any()]
    return _means(summary, ["model", *varied(summary)], ["bits", *metrics]).set_index("Model")


def final_losses(summary: pd.DataFrame, model: str = "vqvae") -> pd.DataFrame:
    """Return a model's last training losses and its test error by what varies."""
    own = summary[summary["model"] == model]
    return _losses(own, varied(own))


def settings_table(runs: list[Run]) -> pd.DataFrame:
    """Return each model's settings; a setting that differs between its runs lists its values."""
    titles = {run.config.model: MODELS[run.config.model].title for run in runs}
    table = {}
    for field in fields(TrainConfig):
        used = {model: field.name in settings_of(model) for model in titles}
        values = {
            title: _several(runs, model, field.name) if used[model] else "–"
            for model, title in titles.items()
        }
        if field.name not in ("model", "dataset") and any(used.values()):
            table[field.name] = values
    return pd.DataFrame.from_dict(table, orient="index").rename_axis("Setting")


def precision_table(summary: pd.DataFrame) -> pd.DataFrame:
    """Return the VQ-VAE's losses and test error by arithmetic, over the same seeds."""
    return _means(summary, ["precision"], [*LOSSES, "test_nmse"]).set_index("Precision")


def longer_table(summary: pd.DataFrame, longer: pd.DataFrame) -> pd.DataFrame:
    """Return the VQ-VAE's losses and test error by batch size and by epochs.

    Args:
        summary: of a study.
        longer: of a run like its own, but of more epochs.
    """
    return _losses(
        pd.concat([summary[summary["model"] == "vqvae"], longer]), ["batch_size", "epochs"]
    )


def claim_table(summary: pd.DataFrame) -> pd.DataFrame:
    """Return each number that the original report states, ours, the difference and a verdict."""
    stated = claims.claims(summary)
    rows = [
        {
            "Claim": row.claim,
            "Original report": f"{row.bound} {row.stated:g}",
            "Here": number(row.ours, row.sd, row.decimals),
            "Difference": f"{row.ours - row.stated:+.{row.decimals}f}",
            "Verdict": row.verdict,
        }
        for row in stated.itertuples()
    ]
    return pd.DataFrame(rows).replace("+nan", "–")


def protocol_table(runs: list[Run]) -> pd.DataFrame:
    """Return the SSIM of the same reconstructions by each protocol, of each model.

    A protocol that needs more images than there are is left out.
    """
    scores = claims.protocol_scores(runs).dropna(how="all")
    columns = [*(name for name in MODELS if name in scores), "vqvae_lowest"]
    names = {name: model.title for name, model in MODELS.items()}
    table = scores[[name for name in columns if name in scores]].map(_digits)
    table = table.rename(columns={**names, "vqvae_lowest": "VQ-VAE, lowest"})
    return table.rename_axis("SSIM by protocol")


def stated_protocol_row() -> pd.DataFrame:
    """Return the original report's values as a row to put under a `protocol_table`."""
    vae, vqvae = (f"{claims.CLAIMED_SSIM[model]:.2f}" for model in ("vae", "vqvae"))
    row = {"VAE": f"about {vae}", "VQ-VAE": "", "VQ-VAE, lowest": f"above {vqvae}"}
    return pd.DataFrame([row], index=["original report"])


def start_table(summary: pd.DataFrame, normal: pd.DataFrame) -> pd.DataFrame:
    """Return the VQ-VAE's losses by the codebook's start, with those of the original report.

    Args:
        summary: of a study, whose codebooks start uniform.
        normal: of runs that are the same but for `codebook_init="normal"`.
    """
    headings = {
        "train_loss": "Total loss",
        "train_reconstruction_loss": "Reconstruction loss",
        "commitment": "Weighted commitment",
        "test_nmse": "Test NMSE",
    }
    rows = []
    for batch_size, stated in claims.CLAIMED_LOSS.items():
        for start, runs in (("uniform", summary), ("normal", normal)):
            at = _with_commitment(claims.vqvae_at(runs, batch_size))
            values = [number(at[name].mean(), at[name].std(), 4) for name in headings]
            rows.append([batch_size, start, *values])
        theirs = _with_commitment(pd.DataFrame([stated])).iloc[0]
        rows.append([batch_size, "original report", *(f"about {x:.3f}" for x in theirs), "–"])
    columns = ["Batch size", "Initial codebook", *headings.values()]
    return pd.DataFrame(rows, columns=columns).set_index("Batch size")


def _several(runs: list[Run], model: str, name: str) -> str:
    values = {getattr(run.config, name) for run in runs if run.config.model == model}
    return ", ".join(map(_setting, sorted(values, key=_none_last)))


def _setting(value: Any) -> str:
    """Return a setting's value with all its digits; only `limit` may be None."""
    if value is None:
        return "all"
    return written(value) if isinstance(value, tuple) else str(value)


def _none_last(value: Any) -> tuple[bool, Any]:
    return value is None, value


def _with_commitment(losses: pd.DataFrame) -> pd.DataFrame:
    total, reconstruction = (losses[name] for name in LOSSES)
    return losses.assign(commitment=total - reconstruction)


def _losses(own: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    table = _means(own, by, ["steps", *LOSSES, "test_nmse"])
    return table.rename(columns={"NMSE": "Test NMSE"}).set_index(_column(by[0])[0])


def _means(summary: pd.DataFrame, by: list[str], columns: list[str]) -> pd.DataFrame:
    """Return means over seeds as text, with the deviation; say so if a seed lacks a value."""
    groups = summary.groupby(by, dropna=False)
    means, deviations = groups[columns].mean().reset_index(), groups[columns].std().reset_index()
    counts, sizes = groups[columns].count(), groups.size()
    text = pd.DataFrame({_column(name)[0]: means[name].map(_title) for name in by})
    for name in columns:
        heading, decimals = _column(name)
        numbers = zip(means[name], deviations[name], counts[name], sizes, strict=True)
        text[heading] = [
            number(mean, deviation, decimals)
            + (f" ({count} of {size})" if 0 < count < size else "")
            for mean, deviation, count, size in numbers
        ]
    return text


def _column(name: str) -> tuple[str, int]:
    """Return heading and decimals."""
    if metric := METRICS.get(name):
        return metric.heading, metric.decimals
    return COLUMNS.get(name) or (title_of(name).capitalize(), 0)


def _title(value: Any) -> str:
    return MODELS[value].title if value in MODELS else written(value)


def _digits(score: float) -> str:
    return "–" if pd.isna(score) else f"{score:.3f}"
