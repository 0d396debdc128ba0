"""A Gaussian latent can be sent: its means are rounded, and each channel has a table."""

import dataclasses

import numpy as np
import pytest
import torch
from scipy.stats import entropy

from vqlib import Images, Run
from vqlib.images import scale
from vqlib.rates.linear import fit_table, quantize
from vqlib.rates.rounding import fit_rounding, rounded_images

gaussian = pytest.mark.parametrize("model", ["vae", "svae"])


@gaussian
@torch.no_grad()
def test_rounding_adds_as_much_noise_as_the_posterior_has(
    small_runs: dict[str, Run], few_photos: Images, model: str
) -> None:
    run = small_runs[model]
    _, log_variance = run.model.encode(scale(few_photos.train))
    expected = log_variance.double().exp().transpose(0, 1).flatten(1).mean(1)  # (C,)
    steps = torch.from_numpy(fit_rounding(run.model, few_photos.train).steps)
    torch.testing.assert_close(steps.double() ** 2 / 12, expected, rtol=1e-5, atol=0)


@gaussian
@torch.no_grad()
def test_symbols_cost_their_cross_entropy_under_the_training_images_frequencies(
    small_runs: dict[str, Run], few_photos: Images, model: str
) -> None:
    run = small_runs[model]
    rounding = fit_rounding(run.model, few_photos.train)
    rounding = dataclasses.replace(  # finer steps, so that there is something to tell
        rounding, steps=rounding.steps / 8, tables=[]
    )
    train, test = (
        run.model.encode(scale(images))[0].transpose(0, 1).flatten(1).numpy()
        for images in (few_photos.train, few_photos.test)
    )
    expected = 0.0
    for seen, sent, step in zip(train, test, rounding.steps, strict=True):
        rounding.tables.append(fit_table(quantize(seen, step)))
        low, high = np.rint(seen / step).min(), np.rint(seen / step).max()
        bins = np.arange(low - 0.5, high + 1)
        counts = np.histogram(np.rint(seen / step), bins)[0] + 1
        wanted = np.histogram(np.rint(sent / step).clip(low, high), bins)[0]
        frequencies = wanted / wanted.sum()
        cross = entropy(frequencies, base=2) + entropy(frequencies, counts, base=2)
        expected += wanted.sum() * cross
    bits, _ = rounded_images(run.model, few_photos.test, rounding)
    assert bits == pytest.approx(expected / len(few_photos.test), rel=1e-5)


@gaussian
@torch.no_grad()
def test_with_small_steps_the_images_are_those_of_the_means(
    small_runs: dict[str, Run], few_photos: Images, model: str
) -> None:
    run = small_runs[model]
    rounding = fit_rounding(run.model, few_photos.train)
    steps = rounding.steps / 1000
    means = run.model.encode(scale(few_photos.train))[0].transpose(0, 1).flatten(1).numpy()
    tables = [fit_table(quantize(mean, step)) for mean, step in zip(means, steps, strict=True)]
    fine = dataclasses.replace(rounding, steps=steps, tables=tables)
    _, decoded = rounded_images(run.model, few_photos.train, fine)
    from_means = run.model.reconstruct(scale(few_photos.train))
    torch.testing.assert_close(decoded, from_means, rtol=0, atol=0.002)
