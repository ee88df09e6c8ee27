"""Training and evaluation on local data open no network connection, regardless of environment variables."""

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

Attempts = list[Any]


@pytest.fixture
def attempts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Attempts:
    """Addresses of attempted connections, all of which fail; no variable keeps libraries offline."""
    addresses: Attempts = []

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


def test_fixture_records_attempts(attempts: Attempts) -> None:
    with pytest.raises(OSError, match="no network"):
        socket.create_connection(("localhost", 9))
    assert attempts


def test_training_and_evaluation_open_no_connection(attempts: Attempts, tmp_path: Path) -> None:
    assert main(faults.train_on(faults.write_images(tmp_path), "--run-folder", "run")) == 0
    assert main(["evaluate", "run", "--protocol", "representation"]) == 0
    assert (
        main(["embed", "run", "--output", "features.parquet", "--dataset.workers", "0"]) == 0
    )  # workers use local sockets
    assert main(["search", "outliers", "features.parquet"]) == 0
    assert attempts == []


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("name", ["", "train.parquet", "*.parquet"], ids=["folder", "file", "pattern"])
def test_reading_local_files_opens_no_connection(
    name: str, streaming: bool, attempts: Attempts, tmp_path: Path
) -> None:
    path = faults.write_table(tmp_path, label=[0, 1] * 12) / name
    load_data(DatasetConfig(path=str(path), test=None, streaming=streaming, epoch_images=8))
    assert attempts == []
