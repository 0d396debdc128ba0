"""What the original report states, and what these runs give for the same thing.

The original report: B. Zhao, H. Xie and Y. Tang, Vector Quantized Variational AutoEncoders
(VQ-VAE) for Image Generation on CIFAR-10, University of California, Davis, 2023.
"""

import math

import pandas as pd

from vqlib.config import varied
from vqlib.runs import Run, by_setting

# Sections 3.2 and 3.2.2; the protocol of SSIM is not stated there.
CLAIMED_SSIM = {"vae": 0.78, "vqvae": 0.96}
CLAIMED_LOSS = {  # batch size: total and reconstruction loss of the VQ-VAE after training
    16: {"train_loss": 0.076, "train_reconstruction_loss": 0.051},
    256: {"train_loss": 0.107, "train_reconstruction_loss": 0.055},
}
CLAIMED_SIZES = {
    "latent_dim": 128,
    "num_hiddens": 128,
    "num_residual_hiddens": 32,
    "num_embeddings": 512,
    "embedding_dim": 64,
}
ORIGINAL_STUDY = {"dataset": "cifar10", "epochs": 40, "n_train": 50_000}
LOSS_NAMES = {"train_loss": "total loss", "train_reconstruction_loss": "reconstruction loss"}
CLOSE = 0.05  # a value is "about" another one if it is no further away than this share of it


def is_original_study(summary: pd.DataFrame) -> bool:
    """Return whether the runs are the original report's: its data, its length, its sweep."""
    same = all((summary[name] == value).all() for name, value in ORIGINAL_STUDY.items())
    return same and varied(summary) == ["batch_size"]


def claims(summary: pd.DataFrame) -> pd.DataFrame:
    """Return each number that the original report states, with ours.

    A value "about" the stated one holds within 5% of it.

    Returns:
        One row per claim: `claim`, `bound` (about or above), `stated`, `ours` (mean over seeds; NaN
        if not run), `sd` (over seeds; NaN for an SSIM), `decimals`, `verdict`.
    """
    ssim = summary.groupby(["model", "batch_size"])["test_ssim"].mean()
    vae = ssim.get("vae", pd.Series(dtype=float)).mean()
    lowest = ssim.get("vqvae", pd.Series(dtype=float)).min()
    rows: list[tuple] = [
        ("VAE: SSIM, mean over batch sizes", "about", CLAIMED_SSIM["vae"], vae, math.nan, 3),
        ("VQ-VAE: SSIM, lowest of all", "above", CLAIMED_SSIM["vqvae"], lowest, math.nan, 3),
    ]
    for batch_size, losses in CLAIMED_LOSS.items():
        at = vqvae_at(summary, batch_size)
        for column, stated in losses.items():
            claim = f"VQ-VAE, batch {batch_size}: {LOSS_NAMES[column]} in training"
            rows.append((claim, "about", stated, at[column].mean(), at[column].std(), 4))
    columns = ["claim", "bound", "stated", "ours", "sd", "decimals"]
    table = pd.DataFrame(rows, columns=columns)
    return table.assign(verdict=[_verdict(*row[1:4]) for row in rows])


def vqvae_at(summary: pd.DataFrame, batch_size: int) -> pd.DataFrame:
    """Return the VQ-VAE's runs at a batch size."""
    return summary[(summary["model"] == "vqvae") & (summary["batch_size"] == batch_size)]


def losses_that_fail(summary: pd.DataFrame) -> list[tuple[int, str]]:
    """Return batch size and column of each stated loss that is more than 5% from ours."""
    return [
        (batch_size, column)
        for batch_size, losses in CLAIMED_LOSS.items()
        for column, stated in losses.items()
        if _verdict("about", stated, vqvae_at(summary, batch_size)[column].mean()) != "holds"
    ]


def protocol_scores(runs: list[Run]) -> pd.DataFrame:
    """Return the SSIM of the same reconstructions by each protocol.

    Returns:
        Index: the protocols. Columns: each model's mean over its settings, such as batch sizes,
        and its lowest score at any of them as `<model>_lowest`. Each counts once, whatever its
        seeds.
    """
    models = sorted({run.config.model for run in runs})
    scores = {
        (model, str(key)): pd.DataFrame([r.evaluation.get("ssim_by_protocol", {}) for r in seeds])
        .astype(float)
        .mean()
        for model in models
        for key, seeds in by_setting(runs, model).items()
    }
    each = pd.DataFrame(scores).T.groupby(level=0)
    lowest = each.min().T.add_suffix("_lowest")
    return pd.concat([each.mean().T, lowest], axis=1).rename_axis(columns=None)


def fits_claims(scores: pd.DataFrame) -> list[str]:
    """Return the protocols with the VAE about 0.78 and the VQ-VAE above 0.96 at each batch size."""
    about = (scores["vae"] - CLAIMED_SSIM["vae"]).abs() <= CLOSE * CLAIMED_SSIM["vae"]
    return list(scores.index[about & (scores["vqvae_lowest"] > CLAIMED_SSIM["vqvae"])])


def _verdict(bound: str, stated: float, ours: float) -> str:
    if math.isnan(ours):
        return "not run"
    if bound == "above":
        return "holds" if ours > stated else "does not hold"
    if abs(ours - stated) <= CLOSE * stated:
        return "holds"
    return "lower here" if ours < stated else "higher here"
