"""Two tiers of tests: `make test` skips tests marked `long`, `make test-all` runs all."""

from collections.abc import Iterable

import pytest


def quick(values: Iterable[str], *chosen: str) -> list[object]:
    """Parametrize a test with values of which only the chosen ones are in the short tier; mark all others `long`."""
    names = list(values)
    assert set(chosen) <= set(names), f"{set(chosen) - set(names)} are not among the values"
    return [pytest.param(name, marks=() if name in chosen else pytest.mark.long) for name in names]
