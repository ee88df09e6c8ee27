"""A finished run that several tests read."""

import pytest
from short_runs import SETTINGS

import sslzoo


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> sslzoo.Run:
    """A finished run with `SETTINGS`."""
    return sslzoo.train(output=tmp_path_factory.mktemp("trained") / "run", progress=False, **SETTINGS)
