"""What holds for any input, looked for by hypothesis: a figure or a refusal, never a crash."""

import json
import math
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from faults import LONG
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vqlib import (
    Images,
    TrainConfig,
    UserError,
    VectorQuantizer,
    fit,
    ssim,
)
from vqlib.config import typed
from vqlib.quantizer import codebook_use
from vqlib.similarity import ssim_by_protocol

pytestmark = pytest.mark.faults


def examples(count: int) -> Callable:
    """So many examples, the same ones each time; many more, and other ones, in the long round."""
    return settings(
        max_examples=20 * count if LONG else count,
        derandomize=not LONG,
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )


def outcome(ask: Callable[[], Any]) -> tuple[Any, str | None]:
    """What was answered, or None and the refusal."""
    try:
        return ask(), None
    except UserError as error:
        return None, str(error)


NAMES = [field.name for field in fields(TrainConfig)]
ANYTHING = st.one_of(
    *(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8)),
    *(st.binary(max_size=4), st.lists(st.integers(), max_size=2), st.sampled_from(["1e-3", "256"])),
)


# --- configs -------------------------------------------------------------------------------


@examples(200)
@given(st.dictionaries(st.sampled_from([*NAMES, "lr"]), ANYTHING, max_size=4))
def test_any_values_are_a_config_or_refused_in_a_line(values: dict[str, object]) -> None:
    config, refusal = outcome(lambda: TrainConfig.from_dict(values))
    if refusal:
        assert "\n" not in refusal
        return
    stored = json.loads(json.dumps(config.to_dict()))
    assert TrainConfig.from_dict(stored) == config
    assert config.run_name == TrainConfig.from_dict(stored).run_name
    assert "/" not in config.run_name


@examples(100)
@given(ANYTHING, st.sampled_from([int, float, str, bool, int | None]))
def test_any_parameter_takes_its_type_or_is_refused(value: object, kind: type) -> None:
    taken, refusal = outcome(lambda: typed("size", value, kind))
    if refusal:
        assert refusal.startswith("size must be ")
        return
    assert isinstance(taken, kind)
    assert typed("size", str(taken), kind) == taken


# --- metrics -------------------------------------------------------------------------------


@examples(40)
@given(
    st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(11, 20), st.integers(11, 20)),
    st.integers(0, 2**32 - 1),
    st.sampled_from(["gaussian", 2, 7, 11]),
)
def test_ssim_is_between_minus_one_and_one_and_one_for_equal_images(
    shape: tuple[int, ...], seed: int, window: str | int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    x, y = torch.rand(2, *shape, generator=generator).double().round(decimals=seed % 3)
    scores = ssim(x, y, window=window)
    assert scores.shape == shape[:1]
    assert (scores.abs() <= 1 + 1e-9).all()
    torch.testing.assert_close(ssim(x, x, window=window), torch.ones_like(scores))
    torch.testing.assert_close(ssim(255 * x, 255 * y, 255, window), scores, rtol=1e-6, atol=1e-6)


@examples(60)
@given(
    st.sampled_from([math.nan, math.inf, -math.inf, -1e-6, 1 + 1e-6, 255.0]),
    st.integers(0, 2 * 3 * 32 * 32 - 1),
    st.booleans(),
)
def test_one_wrong_pixel_is_refused_wherever_it_is(value: float, place: int, in_x: bool) -> None:
    good = torch.full((2, 3, 32, 32), 0.5)
    bad = good.clone()
    bad.view(-1)[place] = value
    for metric in (ssim, ssim_by_protocol):
        with pytest.raises(UserError, match=r"^[xy] has values .* outside \[0, 1\]$"):
            metric(*((bad, good) if in_x else (good, bad)))


@examples(40)
@given(st.lists(st.integers(0, 50), min_size=1, max_size=20).filter(any))
def test_perplexity_is_between_one_and_the_codes_in_use(counts: list[int]) -> None:
    use = codebook_use(torch.tensor(counts))
    assert 1 - 1e-9 <= use["perplexity"] <= use["codes_used"] + 1e-9
    assert use["codes_used"] == np.count_nonzero(counts)


# --- the quantizer -------------------------------------------------------------------------


@examples(40)
@given(
    *(st.integers(1, 5), st.integers(1, 4), st.integers(1, 3), st.integers(1, 3)),
    st.sampled_from([0.0, 0.99]),
    st.integers(0, 2**32 - 1),
)
def test_any_codebook_gives_the_nearest_code(
    num_embeddings: int, dim: int, batch: int, side: int, decay: float, seed: int
) -> None:
    """K = 1 and D = 1 among them; training moves the codebook to nothing that is not finite."""
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        quantizer = VectorQuantizer(num_embeddings, dim, decay)
        z_e = torch.randn(batch, dim, side, side)
    codebook = quantizer.codebook.detach().clone()
    quantized = quantizer(z_e)
    vectors = z_e.permute(0, 2, 3, 1).reshape(-1, 1, dim)
    distances = (vectors - codebook).norm(dim=2)
    chosen = distances.gather(1, quantized.codes.view(-1, 1))[:, 0]
    torch.testing.assert_close(chosen, distances.min(1).values, rtol=1e-4, atol=1e-4)
    assert quantized.z_q.shape == z_e.shape
    assert all(value.isfinite().all() for value in quantizer.state_dict().values())


# --- training ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "values", "count"),
    [
        ("vae", {"batch_size": 1}, 1),
        ("vae", {"latent_dim": 1, "batch_size": 3}, 7),
        ("vqvae", {"batch_size": 1}, 1),
        ("vqvae", {"num_embeddings": 1, "batch_size": 4}, 9),
        ("vqvae", {"embedding_dim": 1, "batch_size": 10**6}, 9),
        ("vqvae", {"num_embeddings": 1, "embedding_dim": 1, "decay": 0.0, "batch_size": 5}, 6),
        ("vqvae", {"num_hiddens": 2, "num_residual_hiddens": 1, "num_residual_layers": 0}, 2),
    ],
)
def test_the_smallest_models_and_data_can_be_trained(
    photos: Images,
    small_config: Callable[..., TrainConfig],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    model: str,
    values: dict[str, float],
    count: int,
) -> None:
    """One image, K = 1, D = 1, batches that do not divide the data or that are larger than it."""
    images = Images("photos", photos.train[:count], photos.test[:1])
    run = fit(small_config(model, epochs=2, **values), images, tmp_path)
    steps = math.ceil(count / run.config.batch_size)
    assert run.history["steps"].tolist() == [steps, 2 * steps]
    assert np.isfinite(run.history["loss"]).all()
    assert math.isfinite(run.evaluation["test_ssim"])
    assert run.evaluation["n_test"] == 1
    if run.config.num_embeddings == 1:  # it cannot collapse
        assert run.evaluation["perplexity"] == pytest.approx(1)
        assert "WARNING" not in capsys.readouterr().out
