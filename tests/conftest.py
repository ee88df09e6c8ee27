"""Settings common to all tests."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TRITON_INTERPRET", "1")  # kernels run on a CPU, operation by operation; read when imported

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from accelerate.state import AcceleratorState
from hypothesis import settings

from sslzoo.config import trust
from sslzoo.data.sources import DATASETS
from sslzoo.losses import LOSSES
from sslzoo.method.base import METHODS
from sslzoo.targets import TARGETS

torch.set_num_threads(1)
settings.register_profile("sslzoo", deadline=None, max_examples=40, derandomize=True)
settings.load_profile("sslzoo")


def _forget(folder: Path) -> None:
    """Unload all modules below a folder, and the parts that they registered."""
    files = {name: getattr(module, "__dict__", {}).get("__file__") for name, module in list(sys.modules.items())}
    gone = {name for name, file in files.items() if file and Path(file).is_relative_to(folder)}
    for registry in (METHODS, TARGETS, LOSSES, DATASETS):
        for name, part in list(registry._classes.items()):
            if part.__module__ in gone:
                del registry._classes[name]
    for name in gone:
        del sys.modules[name]
    sys.path[:] = [path for path in sys.path if not Path(path).is_relative_to(folder)]


@pytest.fixture(autouse=True)
def forget_plugins(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], None]]:
    """Plug-ins in temporary folders are forgotten after each test, or when it asks."""

    def forget() -> None:
        _forget(tmp_path_factory.getbasetemp())

    yield forget
    forget()


@pytest.fixture(autouse=True)
def forget_trust(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test starts as a user who has loaded no plug-in."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
    monkeypatch.setattr(trust, "_trusted", {})


@pytest.fixture(autouse=True)
def forget_precision() -> Iterator[None]:
    """Accelerate fixes the precision of a process; here each test has its own."""
    yield
    AcceleratorState._reset_state()
