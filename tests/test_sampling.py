"""A code is chosen by a random number: as often as it is probable."""

import pytest
import torch
from torch.distributions import Categorical

from vqlib.generation.sampling import choose


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_even_random_numbers_give_each_code_its_share(temperature: float) -> None:
    logits = torch.tensor([0.0, -2.0, float("-inf"), 1.5, 0.3])
    chances = (torch.arange(10_000, dtype=torch.float64) + 0.5) / 10_000
    chosen = choose(logits.expand(10_000, -1), chances, temperature)
    shares = torch.bincount(chosen, minlength=5) / 10_000
    wanted = Categorical(logits=logits / temperature).probs
    torch.testing.assert_close(shares, wanted, rtol=0, atol=1e-4)


def test_the_ends_are_possible_codes() -> None:
    logits = torch.tensor([[float("-inf"), 0.0, 0.0, float("-inf")]]).expand(2, -1)
    almost_one = 1 - 2.0**-53
    assert choose(logits, torch.tensor([0.0, almost_one]).double(), 1.0).tolist() == [1, 2]
