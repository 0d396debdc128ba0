"""Priors over codes: distributions that see only what comes before, and samples of them."""

import itertools
from collections.abc import Callable

import numpy as np
import pytest
import scipy.special
import scipy.stats
import torch
from conftest import refusal
from torch import Tensor

from vqlib.generation.config import PRIORS
from vqlib.generation.prior import CodePrior
from vqlib.generation.sampling import sample_codes

K, GRID, CLASSES = 5, 3, 2
SMALL_PRIORS: dict[str, dict[str, int]] = {
    "transformer": {"width": 32, "layers": 2},
    "pixelcnn": {"channels": 8, "blocks": 4},
}
Build = Callable[..., CodePrior]

pytestmark = pytest.mark.parametrize("name", PRIORS)


@pytest.fixture
def build(name: str) -> Build:
    """Return a function that builds a small prior with random weights, for evaluation."""

    def make(num_codes: int = K, grid: int = GRID, factor: float = 2) -> CodePrior:
        torch.manual_seed(0)
        prior = PRIORS[name](num_codes, grid, CLASSES, **SMALL_PRIORS[name]).eval()
        with torch.no_grad():
            for parameter in prior.parameters():
                parameter.mul_(factor)
        return prior

    return make


def codes(count: int, grid: int = GRID, num_codes: int = K) -> Tensor:
    """Return codes (count, grid²), always the same."""
    return torch.randint(num_codes, (count, grid**2), generator=torch.Generator().manual_seed(1))


def rows(labels: Tensor, some: Tensor) -> Tensor:
    """Return rows of data: a label, then codes."""
    return torch.cat([labels[:, None], some], 1)


# --- the distribution ----------------------------------------------------------------------


@torch.no_grad()
def test_a_code_changes_all_logits_after_it_and_none_before(build: Build) -> None:
    prior, labels, given = build(), torch.zeros(1, dtype=torch.int64), codes(1)
    before = prior.logits(labels, given)[0]
    for place in range(GRID**2):
        other = given.clone()
        other[0, place] = (other[0, place] + 1) % K
        changed = (prior.logits(labels, other)[0] != before).any(1)
        assert changed.tolist() == [later > place for later in range(GRID**2)]


@torch.no_grad()
def test_the_label_changes_all_logits(build: Build) -> None:
    prior, given = build(), codes(1).expand(2, -1)
    one, other = prior.logits(torch.tensor([0, 1]), given)
    assert (one != other).any(1).all()


@torch.no_grad()
def test_a_prefix_has_the_logits_of_the_whole(build: Build) -> None:
    prior, labels, given = build(), torch.tensor([1, 0]), codes(2)
    whole = prior.logits(labels, given)
    for count in range(1, GRID**2 + 1):
        prefix = prior.logits(labels, given[:, :count])
        torch.testing.assert_close(prefix, whole[:, :count])


@torch.no_grad()
def test_probabilities_of_all_grids_sum_to_one(build: Build) -> None:
    prior = build(num_codes=3, grid=2).double()
    every = torch.tensor(list(itertools.product(range(3), repeat=4)))
    for label in range(CLASSES):
        data = rows(torch.full((len(every),), label), every)
        logarithms = -prior.bits(data).double().numpy().sum(1) * np.log(2)
        assert scipy.special.logsumexp(logarithms) == pytest.approx(0, abs=1e-5)


@torch.no_grad()
def test_the_likeliest_label_is_that_of_the_fewest_bits(build: Build) -> None:
    prior, given = build(), codes(20)
    every = [prior.bits(rows(torch.full((20,), label), given)).sum(1) for label in range(CLASSES)]
    assert prior.likeliest(given).tolist() == np.argmin(torch.stack(every), 0).tolist()


@torch.no_grad()
def test_bits_are_those_of_scipy(build: Build) -> None:
    prior, labels, given = build(), torch.tensor([0, 1, 1]), codes(3)
    logits = prior.logits(labels, given).double().numpy()
    logarithms = scipy.special.log_softmax(logits, axis=2)
    wanted = -np.take_along_axis(logarithms, given.numpy()[:, :, None], 2)[..., 0] / np.log(2)
    data = rows(labels, given)
    np.testing.assert_allclose(prior.bits(data).numpy(), wanted, rtol=1e-5)
    assert prior.loss(data)["loss"].item() == pytest.approx(wanted.mean(), rel=1e-5)
    assert prior.test_figures(data) == {"test_bits": pytest.approx(wanted.mean(), rel=1e-5)}


def test_dropout_is_for_training_only(build: Build) -> None:
    prior, data = build(), rows(torch.zeros(4, dtype=torch.int64), codes(4))
    prior.train()
    torch.manual_seed(0)
    assert prior.loss(data)["loss"] != prior.loss(data)["loss"]
    assert prior.test_figures(data) == prior.test_figures(data)


def test_a_rule_of_codes_and_labels_is_learnt(build: Build) -> None:
    prior, labels = build(factor=1), torch.arange(16) % 2
    data = rows(labels, (labels[:, None] + torch.arange(GRID**2)) % K)
    optimizer = torch.optim.Adam(prior.parameters(), 5e-3)
    for _ in range(100):
        optimizer.zero_grad()
        prior.loss(data)["loss"].backward()
        optimizer.step()
    assert prior.test_figures(data)["test_bits"] < 0.1
    assert torch.equal(sample_codes(prior, labels, temperature=0), data[:, 1:])


# --- samples -------------------------------------------------------------------------------


@torch.no_grad()
def test_place_by_place_the_logits_are_those_of_the_whole(build: Build) -> None:
    prior, labels, given = build(), torch.tensor([0, 1]), codes(2)
    whole, cache = prior.logits(labels, given), {}
    for place in range(GRID**2):
        one = prior.next_logits(labels, given[:, :place], cache)
        torch.testing.assert_close(one, whole[:, place], rtol=1e-5, atol=1e-5)


def test_the_seed_fixes_samples(build: Build) -> None:
    prior, labels = build(), torch.arange(12) % CLASSES
    torch.manual_seed(1)
    first = sample_codes(prior, labels, seed=3)
    torch.manual_seed(2)
    assert torch.equal(sample_codes(prior, labels, seed=3), first)
    assert not torch.equal(sample_codes(prior, labels, seed=4), first)
    assert first.shape == (12, GRID**2)
    assert 0 <= first.min() <= first.max() < K


def test_samples_are_the_same_in_batches(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    prior, labels = build(), torch.arange(12) % CLASSES
    whole = sample_codes(prior, labels)
    monkeypatch.setattr("vqlib.generation.sampling.BATCH", 5)
    assert torch.equal(sample_codes(prior, labels), whole)


@torch.no_grad()
def test_temperature_zero_takes_the_most_likely_code(build: Build) -> None:
    prior, labels = build(), torch.arange(4) % CLASSES
    likeliest = sample_codes(prior, labels, temperature=0)
    assert torch.equal(prior.logits(labels, likeliest).argmax(2), likeliest)
    assert torch.equal(sample_codes(prior, labels, temperature=1e-6), likeliest)


@torch.no_grad()
def test_codes_are_as_frequent_as_they_are_probable(build: Build) -> None:
    prior, labels = build(num_codes=3, grid=2), torch.zeros(3000, dtype=torch.int64)
    every = torch.tensor(list(itertools.product(range(3), repeat=4)))
    data = rows(labels[: len(every)], every)
    expected = 3000 * 2 ** -prior.bits(data).double().sum(1).numpy()
    found = sample_codes(prior, labels) @ torch.tensor([27, 9, 3, 1])
    counts = np.bincount(found.numpy(), minlength=81)
    enough = expected >= 5  # as the test by chi-square wants it
    observed = [*counts[enough], counts[~enough].sum()]
    wanted = np.array([*expected[enough], expected[~enough].sum()])
    assert scipy.stats.chisquare(observed, wanted * 3000 / wanted.sum()).pvalue > 0.01


def test_known_codes_are_kept_and_the_others_follow_them(build: Build) -> None:
    prior, labels = build(), torch.arange(6) % CLASSES
    known = codes(6)[:, : 2 * GRID]
    completed = sample_codes(prior, labels, known, temperature=0)
    assert torch.equal(completed[:, : 2 * GRID], known)
    likeliest = prior.logits(labels, completed).argmax(2)
    assert torch.equal(completed[:, 2 * GRID :], likeliest[:, 2 * GRID :])


@pytest.mark.faults
@pytest.mark.parametrize("temperature", [-1.0, float("nan"), float("inf")])
def test_a_temperature_that_is_none_is_refused(build: Build, temperature: float) -> None:
    labels = torch.zeros(1, dtype=torch.int64)
    refusal(lambda: sample_codes(build(), labels, temperature=temperature), "temperature")
