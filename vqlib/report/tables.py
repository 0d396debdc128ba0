"""Tables and sentences that notebooks and report make from results."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from vqlib.config import TrainConfig
from vqlib.models import MODELS
from vqlib.report.claims import CLAIMED_SIZES
from vqlib.report.words import listed, number, plural, span
from vqlib.runs import Run

LOSSES = ("train_loss", "train_reconstruction_loss")  # of the last epoch
COLUMN_NAMES = {
    "precision": "Precision",
    "model": "Model",
    "batch_size": "Batch size",
    "epochs": "Epochs",
    "steps": "Steps",
    "bits": "Bits",
    "test_nmse": "NMSE",
    "test_psnr": "PSNR (dB)",
    "test_ssim": "SSIM",
    "perplexity": "Perplexity",
    "train_loss": "Total loss",
    "train_reconstruction_loss": "Reconstruction loss",
}
DECIMALS = {
    "steps": 0,
    "bits": 1,
    "test_nmse": 4,
    "test_psnr": 2,
    "test_ssim": 4,
    "perplexity": 0,
    "train_loss": 4,
    "train_reconstruction_loss": 4,
}


def comparison_table(summary: pd.DataFrame) -> pd.DataFrame:
    """Test figures by model and batch size, as text; mean ± deviation where there are seeds."""
    columns = ["bits", "test_nmse", "test_psnr", "test_ssim", "perplexity"]
    return _table(summary, columns)


def final_losses(summary: pd.DataFrame) -> pd.DataFrame:
    """The VQ-VAE's training losses of the last epoch and its test error by batch size, as text."""
    vqvae = summary[summary["model"] == "vqvae"]
    table = _table(vqvae, ["steps", *LOSSES, "test_nmse"])
    return table.rename(columns={"NMSE": "Test NMSE"}).set_index("Batch size")


def precision_table(summary: pd.DataFrame) -> pd.DataFrame:
    """The VQ-VAE's losses and test error by arithmetic, over the same seeds, as text."""
    return _means(summary, ["precision"], [*LOSSES, "test_nmse"]).set_index("Precision")


def precision_sentence(summary: pd.DataFrame) -> str:
    """Whether float32 ends elsewhere than bfloat16 does, measured by the spread of their seeds."""
    nmse = summary.groupby("precision")["test_nmse"]
    means, seeds = nmse.mean(), nmse.count().min()
    difference, spread = means["bfloat16"] - means["float32"], nmse.std().max()
    epochs, batch_size = (summary.iloc[0][name] for name in ("epochs", "batch_size"))
    return (
        f"With {seeds} seeds each at batch size {batch_size}, {epochs} epochs in bfloat16 end at a "
        f"test NMSE of {means['bfloat16']:.4f}, in float32 at {means['float32']:.4f}: a difference "
        f"of {difference:+.4f}, {'within' if abs(difference) <= spread else 'beyond'} the seeds' "
        f"standard deviation of {spread:.4f}. From seed to seed the total loss goes from "
        f"{span(summary['train_loss'], 4)}, the reconstruction loss from "
        f"{span(summary['train_reconstruction_loss'], 4)}."
    )


def longer_table(summary: pd.DataFrame, longer: pd.DataFrame) -> pd.DataFrame:
    """The VQ-VAE's losses and test error by batch size and epochs, as text.

    Args:
        summary: of a study.
        longer: of a run like its own, but of more epochs.
    """
    vqvae = pd.concat([summary[summary["model"] == "vqvae"], longer])
    table = _means(vqvae, ["batch_size", "epochs"], ["steps", *LOSSES, "test_nmse"])
    return table.rename(columns={"NMSE": "Test NMSE"}).set_index("Batch size")


def longer_sentence(summary: pd.DataFrame, longer: pd.DataFrame) -> str:
    """How much of a batch size's lag is gone when it trains for as many steps as another one.

    Args:
        summary: of a study.
        longer: of one run of the study's batch size and seed, for as many steps as another
            batch size took; only runs of that seed are compared.
    """
    run = longer.iloc[0]
    same = summary[(summary["model"] == "vqvae") & (summary["seed"] == run["seed"])]
    same = same.set_index("batch_size")
    before = same.loc[run["batch_size"]]
    level = same.loc[(same["steps"] - run["steps"]).abs().idxmin()]
    nmse, loss = (_share_gone(before, run, level, name) for name in ("test_nmse", "train_loss"))
    return (
        f"Trained from the same seed for {run['epochs']} epochs instead of {before['epochs']}, "
        f"batch size {run['batch_size']} takes {run['steps']:,} steps, about as many as batch size "
        f"{level.name} in {level['epochs']} ({level['steps']:,}). Its test NMSE falls from "
        f"{before['test_nmse']:.4f} to {run['test_nmse']:.4f}, where batch size {level.name} has "
        f"{level['test_nmse']:.4f}: {nmse} of the difference is gone. The total loss in training "
        f"goes from {before['train_loss']:.4f} to {run['train_loss']:.4f}, where batch size "
        f"{level.name} has {level['train_loss']:.4f}: there {loss} is gone. It is one run, and it "
        f"also saw each image {run['epochs'] / before['epochs']:g} times as often."
    )


def _share_gone(before: pd.Series, after: pd.Series, level: pd.Series, name: str) -> str:
    share = (before[name] - after[name]) / (before[name] - level[name])
    return "all" if share >= 1 else f"{share:.0%}"


def _table(summary: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    return _means(summary, ["model", "batch_size"], columns).set_index("Model")


def _means(summary: pd.DataFrame, by: list[str], columns: list[str]) -> pd.DataFrame:
    groups = summary.groupby(by)
    means, deviations = groups[columns].mean().reset_index(), groups[columns].std().reset_index()
    text = pd.DataFrame({COLUMN_NAMES[name]: means[name].map(_name) for name in by})
    for column in columns:
        pairs = zip(means[column], deviations[column], strict=True)
        text[COLUMN_NAMES[column]] = [number(*pair, DECIMALS[column]) for pair in pairs]
    return text


def _name(value: object) -> str:
    return MODELS[value].title if value in MODELS else str(value)


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
            "scikit-image carries, no photograph in both. The figures are therefore not comparable "
            "with the original report's."
        )
    return f"CIFAR-10 was not used here: the data are {counts} of the folder {row['dataset']}."


def data_name(summary: pd.DataFrame) -> str:
    """The data set's name for captions."""
    name = summary.iloc[0]["dataset"]
    return {"cifar10": "CIFAR-10", "photos": "scikit-image photographs"}.get(name, str(name))


def training_sentence(summary: pd.DataFrame) -> str:
    """How many runs there are, and how long and on what they were trained."""
    sizes, epochs = (sorted(summary[name].unique()) for name in ("batch_size", "epochs"))
    seeds = summary.groupby(["model", "batch_size"])["seed"].nunique()
    few, many = seeds.min(), seeds.max()
    each = f"{few}" if few == many else f"{few} to {many}"
    return (
        f"Both models were trained for {listed(epochs)} {plural('epoch', epochs[-1])} at batch "
        f"{plural('size', len(sizes))} {listed(sizes)}, with {each} {plural('seed', many)} for "
        f"each, {len(summary)} {plural('run', len(summary))} in all; arithmetic in "
        f"{listed(sorted(summary['precision'].unique()))} on "
        f"{listed(sorted(summary['device'].str.upper().unique()))}, the quantizer in float32."
    )


def sizes_sentence(vae: TrainConfig, vqvae: TrainConfig) -> str:
    """The sizes and weights of both models, and whether the sizes are the original report's."""
    ours = {**vqvae.to_dict(), "latent_dim": vae.latent_dim}
    same = all(ours[name] == size for name, size in CLAIMED_SIZES.items())
    codebook = (
        f"a codebook of $K = {vqvae.num_embeddings}$ codes in "
        f"$D = {vqvae.embedding_dim}$ dimensions"
    )
    learning = (
        f"moves by averages with $\\gamma = {vqvae.decay:g}$"
        if vqvae.decay
        else "is learnt by gradient, with the middle term of the loss in place of the averages"
    )
    return (
        f"The VAE has latents of {vae.latent_dim} numbers and $\\beta = {vae.beta:g}$. The VQ-VAE "
        f"has {vqvae.num_hiddens} hidden channels, {vqvae.num_residual_layers} residual "
        f"{plural('block', vqvae.num_residual_layers)} of {vqvae.num_residual_hiddens} channels, "
        f"{codebook} and $\\beta = {vqvae.commitment_cost:g}$; its codebook {learning}. "
        + (
            "The sizes are the original report's, which states neither weights nor $\\gamma$."
            if same
            else ""
        )
    ).strip()


def rate_sentence(summary: pd.DataFrame) -> str:
    """At what rate each model describes an image."""
    bits = summary.groupby("model")["bits"].agg(["min", "max"]).round().astype(int)
    vae, vqvae = (
        f"{row['min']}" if row["min"] == row["max"] else f"{row['min']} to {row['max']}"
        for row in (bits.loc["vae"], bits.loc["vqvae"])
    )
    return (
        f"The comparison is not one at equal rate: the VQ-VAE's codes take {vqvae} bits an image, "
        f"the VAE's latent {vae} by its KL term. A VAE with a smaller observation variance would "
        "spend more and blur less."
    )


def comparison_sentence(summary: pd.DataFrame) -> str:
    """Which model reconstructs better, by how much, and whether at every batch size."""
    means = summary.groupby(["batch_size", "model"])[["test_ssim", "test_nmse"]].mean().unstack()
    gain = means["test_ssim"]["vqvae"] - means["test_ssim"]["vae"]
    share = means["test_nmse"]["vqvae"] / means["test_nmse"]["vae"]
    ahead, all_sizes = (gain > 0).sum(), f"{len(gain)} batch {plural('size', len(gain))}"
    where = "every batch size" if ahead == len(gain) else f"{ahead} of {all_sizes}"
    vqvae, vae = (means["test_ssim"][model] for model in ("vqvae", "vae"))
    return (
        f"The VQ-VAE's SSIM is above the VAE's at {where}: {span(vqvae)} against {span(vae)}. "
        f"Its squared error is {span(share, 2)} times the VAE's."
    )


def seeds_sentence(summary: pd.DataFrame) -> str:
    """How far SSIM depends on the seed, and beside it how far on the batch size."""
    groups = summary.groupby(["model", "batch_size"])["test_ssim"]
    deviations, means = groups.std().dropna(), groups.mean()
    if deviations.empty:
        return "Each setting has one seed: small differences between batch sizes may be chance."
    gaps = means.groupby("model").max() - means.groupby("model").min()
    spreads = [
        f"{span(each, 4)} for the {MODELS[model].title}, whose means by batch size differ by up to "
        f"{gaps[model]:.4f}"
        + (f", {gaps[model] / each.max():.0f} times that" if each.any() else "")
        for model, each in deviations.groupby("model")
    ]
    return (
        "Where a setting has several seeds, the standard deviation of their SSIM is "
        f"{'; and '.join(spreads)}."
    )


def conclusion(summary: pd.DataFrame) -> str:
    """What the runs show, and no more."""
    means = summary.groupby(["batch_size", "model"])["test_ssim"].mean().unstack()
    sharper = (means["vqvae"] > means["vae"]).all()
    finding = (
        "A discrete latent of this size keeps edges and textures that a VAE of this rate gives up."
        if sharper
        else "No gain at every batch size, then; these runs may be too short to tell."
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


def early_fall_sentence(histories: Mapping[int, pd.DataFrame], epochs: int = 5) -> str:
    """How much of the training loss's fall after the first epoch is over within a few epochs."""
    shares = pd.Series(
        {
            batch_size: (h["loss"].iloc[0] - h["loss"].iloc[epochs - 1])
            / (h["loss"].iloc[0] - h["loss"].iloc[-1])
            for batch_size, h in histories.items()
            if len(h) >= 2 * epochs
        }
    )
    if shares.empty:
        return f"These runs are too short to tell the first {epochs} epochs from the rest."
    steep = ": steep first, then slow, as the original report has it" if shares.min() > 0.5 else ""
    return (
        f"Of the fall of the total loss from the first epoch to the last, {span(shares * 100, 0)}% "
        f"is over after {epochs} epochs{steep}. {_rise_sentence(histories)}"
    )


def _rise_sentence(histories: Mapping[int, pd.DataFrame]) -> str:
    rises = {size: h["loss"].iloc[-1] / h["loss"].min() - 1 for size, h in histories.items()}
    largest = max(rises, key=rises.get)
    if rises[largest] < 0.001:
        return "It falls to the end at every batch size."
    history = histories[largest]
    lowest = history["epoch"][history["loss"].idxmin()]
    return (
        f"It does not fall to the end everywhere: at batch size {largest} it is lowest in epoch "
        f"{lowest}, and {rises[largest]:.1%} above that in the last."
    )


def seed_histories(runs: list[Run]) -> dict[int, list[pd.DataFrame]]:
    """The VQ-VAE's histories by batch size, one of each seed."""
    histories: dict[int, list[pd.DataFrame]] = {}
    for run in runs:
        if run.config.model == "vqvae":
            histories.setdefault(run.config.batch_size, []).append(run.history)
    return histories


def mean_histories(runs: list[Run]) -> dict[int, pd.DataFrame]:
    """The VQ-VAE's histories by batch size; of several seeds the mean of each epoch."""
    return {
        batch_size: pd.concat(histories).groupby("epoch", as_index=False).mean()
        for batch_size, histories in seed_histories(runs).items()
    }


def overfitting_sentence(summary: pd.DataFrame) -> str:
    """How far the VQ-VAE's error on test images differs from that in training, after training."""
    means = summary[summary["model"] == "vqvae"].groupby("batch_size").mean(numeric_only=True)
    gap = (means["test_nmse"] / means["train_reconstruction_loss"] - 1) * 100
    return (
        "After training, the VQ-VAE's squared error on test images differs from that of the last "
        f"epoch in training by {gap.min():+.1f}% to {gap.max():+.1f}%, by batch size."
    )


def codebook_sentence(histories: Mapping[int, pd.DataFrame], num_embeddings: int) -> str:
    """How much of the codebook is used at the end of training."""
    ends = pd.DataFrame({size: history.iloc[-1] for size, history in histories.items()}).T
    dead = num_embeddings - ends["codes_used"]
    unused = f"{span(dead, 0)} are" if dead.any() else "none is"
    return (
        f"At the end of training, of {num_embeddings} codes {unused} dead, and perplexity is "
        f"{span(ends['perplexity'], 0)}."
    )


def equal_steps_table(histories: Mapping[int, pd.DataFrame]) -> pd.DataFrame:
    """Test NMSE of each batch size after as many optimizer steps as the shortest run takes.

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


def equal_steps_sentence(histories: Mapping[int, pd.DataFrame]) -> str:
    """Whether small batches are still ahead when the steps are equal instead of the epochs."""
    table = equal_steps_table(histories).dropna()
    if len(table) < 2:
        return "No two batch sizes here can be compared after as many steps."
    small, large = table.iloc[0], table.iloc[-1]
    by_epochs, by_steps = (
        "ahead of" if small[column] < large[column] else "behind"
        for column in ("final_nmse", "test_nmse")
    )
    return (
        f"At the end of all epochs batch size {small.name} is {by_epochs} {large.name} in test "
        f"NMSE ({small['final_nmse']:.4f} and {large['final_nmse']:.4f}); after "
        f"{large['steps']:,.0f} steps each it is {by_steps} it ({small['test_nmse']:.4f} and "
        f"{large['test_nmse']:.4f})."
    )
