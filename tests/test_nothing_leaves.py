"""Work on local data opens no connection, whatever is or is not in the environment."""

import socket
from pathlib import Path
from typing import Any, NoReturn

import datasets
import faults
import huggingface_hub.constants
import pytest

from sslzoo.cli import main
from sslzoo.data.config import DatasetConfig
from sslzoo.data.load import load_data

Tried = list[Any]


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Tried:
    """Addresses that were asked for or connected to; none can be reached. No variable keeps libraries offline."""
    addresses: Tried = []

    def refuse(*arguments: Any, **_: Any) -> NoReturn:
        addresses.append(arguments)
        raise OSError("no network in this test")

    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setenv("SSLZOO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "datasets")
    monkeypatch.chdir(tmp_path)
    return addresses


def test_the_guard_itself(tried: Tried) -> None:
    with pytest.raises(OSError, match="no network"):
        socket.create_connection(("localhost", 9))
    assert tried


def test_training_and_evaluating(tried: Tried, tmp_path: Path) -> None:
    assert main(faults.on(faults.holiday(tmp_path), "--run-folder", "run")) == 0
    assert main(["evaluate", "run", "--protocol", "representation"]) == 0
    assert tried == []


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("what", ["", "train.parquet", "*.parquet"], ids=["folder", "file", "pattern"])
def test_reading_local_files(what: str, streaming: bool, tried: Tried, tmp_path: Path) -> None:
    path = faults.table(tmp_path, label=[0, 1] * 12) / what
    load_data(DatasetConfig(path=str(path), test=None, streaming=streaming, epoch_images=8))
    assert tried == []
