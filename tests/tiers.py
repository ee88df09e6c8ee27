"""The two tiers of tests: `make test` leaves out what is marked `long`, `make test-all` runs it as well."""

from collections.abc import Iterable

import pytest


def quick(values: Iterable[str], *chosen: str) -> list[object]:
    """Values to parametrize a test with: the chosen ones for both tiers, all others marked `long`."""
    names = list(values)
    assert set(chosen) <= set(names), f"{set(chosen) - set(names)} are not among the values"
    return [pytest.param(name, marks=() if name in chosen else pytest.mark.long) for name in names]
