"""Codes as bytes with the probabilities of a prior: exact, and as short as these allow."""

import pytest
import torch
from conftest import outcome
from test_priors import SMALL_PRIORS
from torch import Tensor

from vqlib.generation.coding import ideal_bits, pack_rows, unpack_rows
from vqlib.generation.config import PRIORS
from vqlib.generation.prior import CodePrior
from vqlib.generation.sampling import sample_codes

pytestmark = pytest.mark.parametrize("name", PRIORS)
K, CLASSES = 40, 3


@pytest.fixture
def prior(name: str) -> CodePrior:
    """Return a small prior with random weights."""
    torch.manual_seed(0)
    return PRIORS[name](K, 4, CLASSES, **SMALL_PRIORS[name]).eval()


def drawn(prior: CodePrior, count: int) -> Tensor:
    """Return labels and samples of a prior."""
    labels = torch.arange(count) % prior.num_classes
    return torch.cat([labels[:, None], sample_codes(prior, labels)], 1)


@torch.no_grad()
@pytest.mark.parametrize("count", [1, 7, 230])
def test_rows_come_back_as_they_were_in_as_many_bits_as_they_cost(
    prior: CodePrior, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vqlib.generation.coding.BATCH", 100)
    rows = drawn(prior, count)
    packed = pack_rows(prior, rows)
    assert torch.equal(unpack_rows(prior, packed, count), rows)
    ideal = ideal_bits(prior, rows)
    assert ideal - 1 < 8 * len(packed) < 1.001 * ideal + 64


@torch.no_grad()
def test_unlikely_codes_come_back_too(prior: CodePrior) -> None:
    prior.head[-1].weight.mul_(50)
    labels, codes = torch.zeros(20, 1, dtype=torch.int64), torch.arange(20 * 16).view(20, 16) % K
    rows = torch.cat([labels, codes], 1)
    assert torch.equal(unpack_rows(prior, pack_rows(prior, rows), 20), rows)


@torch.no_grad()
def test_the_number_of_threads_does_not_matter(prior: CodePrior) -> None:
    rows, threads = drawn(prior, 30), torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        packed = pack_rows(prior, rows)
        assert torch.get_num_threads() == 2
        torch.set_num_threads(1)
        assert torch.equal(unpack_rows(prior, packed, 30), rows)
    finally:
        torch.set_num_threads(threads)


@torch.no_grad()
def test_another_prior_gives_other_codes(prior: CodePrior, name: str) -> None:
    rows = drawn(prior, 30)
    packed = pack_rows(prior, rows)
    torch.manual_seed(1)
    other = PRIORS[name](K, 4, CLASSES, **SMALL_PRIORS[name]).eval()
    read, refused = outcome(lambda: unpack_rows(other, packed, 30))
    assert "not codes of this prior" in refused or not torch.equal(read, rows)
