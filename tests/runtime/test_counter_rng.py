"""Counter-based random numbers."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from sslzoo.runtime import counter_rng


def test_numbers_are_uniform_and_do_not_depend_on_other_keys() -> None:
    numbers = counter_rng.uniform(3, torch.arange(200_000))
    assert numbers.min() >= 0
    assert numbers.max() < 1
    counts = torch.histc(numbers, bins=20, min=0, max=1)
    assert ((counts - 10_000).abs() < 500).all()  # five standard deviations
    single = counter_rng.uniform(3, torch.tensor([777]))
    assert single.item() == numbers[777].item()
    assert not torch.equal(counter_rng.uniform(4, torch.arange(8)), numbers[:8])


@given(n=st.integers(1, 200), seed=st.integers(0, 2**40))
def test_permutation_contains_every_index_once(n: int, seed: int) -> None:
    order = counter_rng.permutation(n, seed)
    assert sorted(order.tolist()) == list(range(n))
