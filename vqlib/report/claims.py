"""What the original report states, set beside what these runs give."""

import math

import pandas as pd

from vqlib.models import MODELS
from vqlib.report.words import listed, number
from vqlib.runs import Run

# Zhao, Xie & Tang (2023), sections 3.2 and 3.2.2; SSIM's protocol is not stated there.
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
CLAIMED_TRAINING = {"epochs": 40, "n_train": 50_000}
START_COLUMNS = {
    "train_loss": "Total loss",
    "train_reconstruction_loss": "Reconstruction loss",
    "commitment": "Weighted commitment",
    "test_nmse": "Test NMSE",
}
LOSS_NAMES = {"train_loss": "total loss", "train_reconstruction_loss": "reconstruction loss"}
CLOSE = 0.05  # a value is "about" another one if it is no further away than this share of it


def is_cifar10(summary: pd.DataFrame) -> bool:
    """Whether the figures can be set beside those of the original report."""
    return bool((summary["dataset"] == "cifar10").all())


def claim_table(summary: pd.DataFrame) -> pd.DataFrame:
    """Each number that the original report states, ours, the difference and a verdict, as text.

    A value "about" the stated one holds within 5% of it. Of several seeds it is the mean, with
    the standard deviation beside a loss.
    """
    ssim = summary.groupby(["model", "batch_size"])["test_ssim"].mean()
    vae, lowest = ssim["vae"].mean(), ssim["vqvae"].min()
    claims = [
        ("VAE: SSIM, mean over batch sizes", "about", CLAIMED_SSIM["vae"], vae, math.nan, 3),
        ("VQ-VAE: SSIM, lowest of them", "above", CLAIMED_SSIM["vqvae"], lowest, math.nan, 3),
    ]
    for batch_size, losses in CLAIMED_LOSS.items():
        at = _vqvae_at(summary, batch_size)
        for column, claimed in losses.items():
            label = f"VQ-VAE, batch {batch_size}: {LOSS_NAMES[column]} in training"
            claims.append((label, "about", claimed, at[column].mean(), at[column].std(), 4))
    table = [
        {
            "Claim": label,
            "Original report": f"{bound} {claimed:g}",
            "Here": number(ours, spread, decimals),
            "Difference": f"{ours - claimed:+.{decimals}f}",
            "Verdict": _verdict(bound, claimed, ours),
        }
        for label, bound, claimed, ours, spread, decimals in claims
    ]
    return pd.DataFrame(table).replace("+nan", "–")


def claims_sentence(summary: pd.DataFrame) -> str:
    """How many of the original report's numbers hold here, and which do not.

    Says so where the training was not of the original report's length.
    """
    table = claim_table(summary)
    tried = table[table["Verdict"] != "not run"]
    failed = tried[tried["Verdict"] != "holds"]
    which = "; ".join(f"{row['Claim']} ({row['Here']})" for _, row in failed.iterrows())
    sentence = (
        f"Of {len(tried)} numbers of the original report {len(tried) - len(failed)} hold here"
        + (f"; these do not: {which}." if which else ".")
    )
    if all((summary[name] == value).all() for name, value in CLAIMED_TRAINING.items()):
        return sentence
    length = "{epochs} epochs on {n_train:,} images".format(**CLAIMED_TRAINING)
    return f"{sentence} It trained for {length}, these runs did not all."


def start_table(summary: pd.DataFrame, normal: pd.DataFrame) -> pd.DataFrame:
    """The VQ-VAE's losses by the codebook's start, beside those of the original report, as text.

    Args:
        summary: of a study, whose codebooks start uniform.
        normal: of runs that are the same but for `codebook_init="normal"`.
    """
    rows = []
    for batch_size, claimed in CLAIMED_LOSS.items():
        for start, runs in (("uniform", summary), ("normal", normal)):
            at = _with_commitment(_vqvae_at(runs, batch_size))
            values = [number(at[name].mean(), at[name].std(), 4) for name in START_COLUMNS]
            rows.append([batch_size, start, *values])
        stated = _with_commitment(pd.DataFrame([claimed])).iloc[0]
        rows.append([batch_size, "original report", *(f"about {x:.3f}" for x in stated), "–"])
    columns = ["Batch size", "Codebook's start", *START_COLUMNS.values()]
    return pd.DataFrame(rows, columns=columns).set_index("Batch size")


def _with_commitment(losses: pd.DataFrame) -> pd.DataFrame:
    total, reconstruction = (losses[name] for name in LOSS_NAMES)
    return losses.assign(commitment=total - reconstruction)


def start_sentence(summary: pd.DataFrame, normal: pd.DataFrame) -> str:
    """The losses by the codebook's start, with the spread of seeds, and which stated ones hold.

    Args:
        summary, normal: see `start_table`.
    """
    ends = [_ends(_vqvae_at(summary, size), _vqvae_at(normal, size), size) for size in CLAIMED_LOSS]
    return (
        "The original report states neither the weight of commitment, nor how fast the codebook "
        "moves, nor how it starts. Begun as in zalandoresearch/pytorch-vq-vae, with standard "
        "normal codes and averages that do not agree with them, the total loss (in brackets its "
        f"reconstruction term) ends {'; and '.join(ends)}. Within {CLOSE:.0%} of those stated are "
        f"then {_losses_that_hold(normal)}; with the start taken here, "
        f"{_losses_that_hold(summary)}."
    )


def _ends(uniform: pd.DataFrame, normal: pd.DataFrame, batch_size: int) -> str:
    after, before = (
        "{:.4f} ({:.4f})".format(*(runs[name].mean() for name in LOSS_NAMES))
        for runs in (normal, uniform)
    )
    spread = max(
        (runs["train_loss"].std() for runs in (uniform, normal) if len(runs) > 1), default=0
    )
    seeds = f", ± {spread:.4f} over seeds" if spread else ""
    return f"at {after} instead of {before} at batch size {batch_size}{seeds}"


def _losses_that_hold(summary: pd.DataFrame) -> str:
    failed = [
        f"the {LOSS_NAMES[column]} at batch size {batch_size}"
        for batch_size, losses in CLAIMED_LOSS.items()
        for column, claimed in losses.items()
        if _verdict("about", claimed, _vqvae_at(summary, batch_size)[column].mean()) != "holds"
    ]
    return f"all losses but {listed(failed)}" if failed else "all losses"


def _vqvae_at(summary: pd.DataFrame, batch_size: int) -> pd.DataFrame:
    return summary[(summary["model"] == "vqvae") & (summary["batch_size"] == batch_size)]


def _verdict(bound: str, claimed: float, ours: float) -> str:
    if math.isnan(ours):
        return "not run"
    if bound == "above":
        return "holds" if ours > claimed else "does not hold"
    if abs(ours - claimed) <= CLOSE * claimed:
        return "holds"
    return "lower here" if ours < claimed else "higher here"


def protocol_scores(runs: list[Run]) -> pd.DataFrame:
    """SSIM by protocol: each model's mean over its batch sizes, and the VQ-VAE's lowest of them."""
    scores = pd.DataFrame(
        [
            {"model": r.config.model, "batch_size": r.config.batch_size}
            | r.evaluation["ssim_by_protocol"]
            for r in runs
        ]
    ).set_index(["model", "batch_size"])
    scores = scores.astype(float)
    each = scores.groupby(["model", "batch_size"]).mean()  # however many seeds it has
    means = each.groupby("model").mean().T.rename_axis(columns=None)
    return means.assign(vqvae_lowest=each.loc["vqvae"].min())


def protocols_like_the_claims(scores: pd.DataFrame) -> list[str]:
    """Protocols with the VQ-VAE above 0.96 at each batch size and the VAE's mean about 0.78."""
    about = (scores["vae"] - CLAIMED_SSIM["vae"]).abs() <= CLOSE * CLAIMED_SSIM["vae"]
    return list(scores.index[about & (scores["vqvae_lowest"] > CLAIMED_SSIM["vqvae"])])


def protocol_table(runs: list[Run]) -> pd.DataFrame:
    """SSIM of the same reconstructions by each protocol, as text ready to show."""
    scores = protocol_scores(runs)
    table = scores.map(lambda score: "–" if pd.isna(score) else f"{score:.3f}")
    table = table.rename(
        columns={
            **{name: model.title for name, model in MODELS.items()},
            "vqvae_lowest": "VQ-VAE, lowest",
        }
    )
    if all(run.config.dataset == "cifar10" for run in runs):
        vae, vqvae = (f"{CLAIMED_SSIM[model]:.2f}" for model in MODELS)
        table.loc["original report"] = [f"about {vae}", "", f"above {vqvae}"]
    return table.rename_axis("SSIM by protocol")


def audit_sentence(runs: list[Run]) -> str:
    """What the scores by protocol say about those of the original report, and what they do not."""
    if any(run.config.dataset != "cifar10" for run in runs):
        return (
            "The original report's scores are of CIFAR-10, so nothing follows about them from "
            "these runs."
        )
    scores = protocol_scores(runs)
    headline = scores.loc["Wang et al."]
    fitting = [
        f"*{name}* ({_scores(scores.loc[name])})" for name in protocols_like_the_claims(scores)
    ]
    vae, vqvae = CLAIMED_SSIM["vae"], CLAIMED_SSIM["vqvae"]
    first = (
        f"Per image, as SSIM is meant, the VAE reaches {headline['vae']:.3f} and the VQ-VAE "
        f"{headline['vqvae']:.3f}; the original report has {vae:g} and above {vqvae:g}."
    )
    if not fitting:
        return f"{first} None of the protocols tried here gives both of its numbers."
    return (
        f"{first} Of the {len(scores)} protocols tried, these give a VAE within {CLOSE:.0%} of "
        f"{vae:g} and a VQ-VAE above {vqvae:g} at each batch size (in brackets the VAE, the "
        f"VQ-VAE and its lowest batch size): {listed(fitting)}. That would explain both numbers, "
        "if the original report's VAE reconstructed as ours does; it does not prove how they were "
        "made, since that report states neither its VAE's error nor how it computed SSIM."
    )


def _scores(scores: pd.Series) -> str:
    return f"{scores['vae']:.3f}; {scores['vqvae']:.3f}, lowest {scores['vqvae_lowest']:.4f}"
