"""What the original report claims and our figures beside it, as notebooks and report show them."""

from base64 import b64encode
from collections.abc import Mapping
from pathlib import Path

import pandas as pd
from IPython.display import Markdown

from vqlib.figures import MODEL_NAMES

# Zhao, Xie & Tang (2023), sections 3.2.2 and 3.2; SSIM's protocol is not stated there.
CLAIMED_SSIM = {"vae": 0.78, "vqvae": 0.96}
CLAIMED_LOSS = {  # batch size: total and reconstruction loss of the VQ-VAE after training
    16: {"train_loss": 0.076, "train_reconstruction_loss": 0.051},
    256: {"train_loss": 0.107, "train_reconstruction_loss": 0.055},
}
COLUMN_NAMES = {
    "model": "Model",
    "batch_size": "Batch size",
    "steps": "Steps",
    "test_mse": "MSE",
    "test_nmse": "NMSE",
    "test_psnr": "PSNR (dB)",
    "test_ssim": "SSIM",
    "perplexity": "Perplexity",
    "train_loss": "Total loss",
    "train_reconstruction_loss": "Reconstruction loss",
}
FORMATS = {
    "batch_size": "{:.0f}",
    "steps": "{:,.0f}",
    "test_mse": "{:.4f}",
    "test_nmse": "{:.4f}",
    "test_psnr": "{:.2f}",
    "test_ssim": "{:.3f}",
    "perplexity": "{:.0f}",
    "train_loss": "{:.3f}",
    "train_reconstruction_loss": "{:.3f}",
}


def comparison_table(summary: pd.DataFrame) -> pd.DataFrame:
    """Test figures by model and batch size, means over seeds, as text ready to show."""
    columns = ["test_mse", "test_nmse", "test_psnr", "test_ssim", "perplexity"]
    return _table(summary, columns)


def final_losses(summary: pd.DataFrame) -> pd.DataFrame:
    """The VQ-VAE's training losses of the last epoch by batch size, as text ready to show."""
    vqvae = summary[summary["model"] == "vqvae"]
    return _table(vqvae, ["steps", "train_loss", "train_reconstruction_loss"])


def claim_table(summary: pd.DataFrame) -> pd.DataFrame:
    """Each number that the original report states, ours, and the difference, as text."""
    rows = []
    for model, claimed in CLAIMED_SSIM.items():
        ours = summary.loc[summary["model"] == model, "test_ssim"]
        name = MODEL_NAMES[model]
        bound = "above " if model == "vqvae" else "about "
        value = ours.min() if model == "vqvae" else ours.mean()
        which = "lowest" if model == "vqvae" else "mean"
        rows.append((f"{name}: SSIM, {which} over batch sizes", bound, claimed, value))
    for batch_size, losses in CLAIMED_LOSS.items():
        at = summary[(summary["model"] == "vqvae") & (summary["batch_size"] == batch_size)]
        for column, claimed in losses.items():
            label = COLUMN_NAMES[column].lower()
            claim = f"VQ-VAE, batch {batch_size}: {label}"
            rows.append((claim, "about ", claimed, at[column].mean()))
    return pd.DataFrame(
        {
            "Claim": [row[0] for row in rows],
            "Original report": [f"{bound}{claimed:g}" for _, bound, claimed, _ in rows],
            "Here": [f"{ours:.3f}" for *_, ours in rows],
            "Difference": [f"{ours - claimed:+.3f}" for *_, claimed, ours in rows],
        }
    ).replace({"nan": "–", "+nan": "–"})


def _table(summary: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    means = summary.groupby(["model", "batch_size"], as_index=False)[columns].mean()
    text = pd.DataFrame({"Model": means["model"].map(MODEL_NAMES)})
    for column in ["batch_size", *columns]:
        template = FORMATS[column]
        text[COLUMN_NAMES[column]] = [
            "–" if pd.isna(value) else template.format(value) for value in means[column]
        ]
    return text.set_index("Model")


def protocol_table(evaluations: Mapping[str, Mapping[str, float | None]]) -> pd.DataFrame:
    """SSIM of the same reconstructions by each protocol, as text ready to show.

    Args:
        evaluations: model to its `ssim_by_protocol`.
    """
    table = pd.DataFrame(
        {
            MODEL_NAMES[model]: pd.Series(scores, dtype=float)
            for model, scores in evaluations.items()
        }
    )
    claimed = {MODEL_NAMES[model]: value for model, value in CLAIMED_SSIM.items()}
    table.loc["original report"] = [claimed[name] for name in table.columns]
    table = table.map(lambda score: "–" if pd.isna(score) else f"{score:.3f}")
    return table.rename_axis("SSIM by protocol")


def data_sentence(summary: pd.DataFrame) -> str:
    """What was trained and tested on, in a sentence."""
    row = summary.iloc[0]
    counts = f"{row['n_train']:,} training and {row['n_test']:,} test images"
    if row["dataset"] == "cifar10":
        everything = row["n_train"] == 50_000
        part = "All" if everything else "A part"
        return f"{part} of CIFAR-10 is used: {counts}."
    if row["dataset"] == "photos":
        return (
            f"CIFAR-10 was not used here: the data are {counts}, crops of photographs that "
            "scikit-image carries, no photograph in both. The figures below are therefore not "
            "comparable with the original report's."
        )
    return f"CIFAR-10 was not used here: the data are {counts} of the folder {row['dataset']}."


def data_name(summary: pd.DataFrame) -> str:
    """The data set's name for captions."""
    name = summary.iloc[0]["dataset"]
    return {"cifar10": "CIFAR-10", "photos": "scikit-image photographs"}.get(name, str(name))


def training_sentence(summary: pd.DataFrame) -> str:
    """How many runs there are, and how long and on what they were trained."""
    sizes = _and(sorted(summary["batch_size"].unique()))
    epochs = _and(sorted(summary["epochs"].unique()))
    seeds = summary.groupby(["model", "batch_size"])["seed"].nunique()
    spread = f"{seeds.min()}" if seeds.min() == seeds.max() else f"{seeds.min()} to {seeds.max()}"
    return (
        f"Both models were trained for {epochs} epochs at batch sizes {sizes}, with {spread} "
        f"seed{'s' if seeds.max() > 1 else ''} for each, {len(summary)} runs in all; arithmetic "
        f"in {_and(sorted(summary['precision'].unique()))} on "
        f"{_and(sorted(summary['device'].unique()))}, the quantizer in float32."
    )


def comparison_sentence(summary: pd.DataFrame) -> str:
    """Which model reconstructs better, by how much, and whether at every batch size."""
    means = summary.groupby(["batch_size", "model"])[["test_ssim", "test_nmse"]].mean().unstack()
    gain = means["test_ssim"]["vqvae"] - means["test_ssim"]["vae"]
    share = means["test_nmse"]["vqvae"] / means["test_nmse"]["vae"]
    where = "every batch size" if (gain > 0).all() else f"{(gain > 0).sum()} of {len(gain)} sizes"
    vqvae, vae = (means["test_ssim"][model] for model in ("vqvae", "vae"))
    return (
        f"The VQ-VAE's SSIM is above the VAE's at {where}: from {vqvae.min():.3f} to "
        f"{vqvae.max():.3f} against {vae.min():.3f} to {vae.max():.3f}. Its squared error is "
        f"{share.min():.2f} to {share.max():.2f} times the VAE's."
    )


def conclusion(summary: pd.DataFrame) -> str:
    """What the runs show, and no more."""
    means = summary.groupby(["batch_size", "model"])["test_ssim"].mean().unstack()
    sharper = (means["vqvae"] > means["vae"]).all()
    finding = (
        "A discrete latent of this size keeps edges and textures that a VAE of unit weight on its "
        "KL term gives up."
        if sharper
        else "That is not what the original report found; these runs may be too short to tell."
    )
    return (
        f"{comparison_sentence(summary)} {finding} How large a similarity looks depends on how it "
        "is computed, so a score means little without its protocol."
    )


def loss_sentence(summary: pd.DataFrame) -> str:
    """The VQ-VAE's training losses of the last epoch, at the smallest and largest batch size."""
    vqvae = summary[summary["model"] == "vqvae"].groupby("batch_size")[
        ["steps", "train_loss", "train_reconstruction_loss"]
    ]
    means = vqvae.mean()
    ends = [
        f"{row['train_loss']:.3f}, of it {row['train_reconstruction_loss']:.3f} reconstruction, "
        f"at batch size {batch_size} ({row['steps']:,.0f} steps)"
        for batch_size, row in means.loc[sorted({means.index.min(), means.index.max()})].iterrows()
    ]
    return f"The loss of the last epoch is {', and '.join(ends)}."


def figure(path: Path, caption: str, label: str) -> Markdown:
    """The figure that `save_figure` put at `path` (without suffix), with caption and label.

    It is held in the output itself, so that the notebook can be moved.
    """
    picture = b64encode(path.with_suffix(".svg").read_bytes()).decode()
    return Markdown(f"![{caption}](data:image/svg+xml;base64,{picture}){{#{label}}}")


def table(frame: pd.DataFrame, caption: str, label: str) -> Markdown:
    """A table of text, numbers to the right, with caption and label."""
    frame = frame.reset_index() if frame.index.name else frame
    rows = [frame.columns, [":--", *["--:"] * (frame.shape[1] - 1)], *frame.to_numpy()]
    lines = ["| " + " | ".join(map(str, row)) + " |" for row in rows]
    return Markdown("\n".join([*lines, "", f": {caption} {{#{label}}}"]))


def _and(values: list[object]) -> str:
    words = [str(value) for value in values]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
