"""The loss and gradient of every method against a float64 restatement of its source, in each of its directions."""

import batches
import dimensions
import pytest
import queues
from parts import AGREEMENTS, assert_agreement, has_directions

from sslzoo.method.base import METHODS

FAMILIES = (queues, batches, dimensions)
CASES = [
    (name, *(("--method.symmetric", symmetric) if symmetric else ()))
    for name in METHODS.names()
    for symmetric in (("true", "false") if has_directions(name) else ("",))
]


@pytest.mark.parametrize("case", CASES, ids=" ".join)
def test_loss_and_gradient_are_those_of_the_source(case: tuple[str, ...]) -> None:
    assert_agreement(*case)


@pytest.mark.parametrize(("name", "other"), [("byol", "mean"), ("moco", "mean"), ("simsiam", "sum"), ("simclr", "sum")])
def test_other_reduction_of_directions_disagrees(name: str, other: str) -> None:
    with pytest.raises(AssertionError, match="Scalars are not close"):
        assert_agreement(name, "--method.symmetric", "true", "--method.direction-reduction", other)


def test_every_restatement_names_its_source() -> None:
    assert set(AGREEMENTS) == set(METHODS.names())
    for name, agreement in AGREEMENTS.items():
        source = agreement.restate.__doc__ or ""
        assert any(mark in source for mark in (".py", ".ipynb", "section", "algorithm")), name
