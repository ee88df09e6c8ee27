"""Counter-based random numbers."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from sslzoo.runtime import counter_rng


def test_counter_draws_are_uniform_and_do_not_depend_on_company() -> None:
    draws = counter_rng.uniform(3, torch.arange(200_000))
    assert draws.min() >= 0
    assert draws.max() < 1
    counts = torch.histc(draws, bins=20, min=0, max=1)
    assert ((counts - 10_000).abs() < 500).all()  # five standard deviations
    alone = counter_rng.uniform(3, torch.tensor([777]))
    assert alone.item() == draws[777].item()
    assert not torch.equal(counter_rng.uniform(4, torch.arange(8)), draws[:8])


@given(n=st.integers(1, 200), seed=st.integers(0, 2**40))
def test_counter_permutation(n: int, seed: int) -> None:
    order = counter_rng.permutation(n, seed)
    assert sorted(order.tolist()) == list(range(n))
