"""Damaged and hostile files of weights are refused in one line, without running code and in little time."""

import pickle
import random
import re
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from sslzoo.runtime.errors import UserError
from sslzoo.weights.read import read_tensors


def refusal(path: Path) -> str:
    """Return the message with which a file is refused."""
    with pytest.raises(UserError) as error:
        read_tensors(path)
    assert "\n" not in str(error.value)
    assert str(error.value).startswith(f"--backbone.checkpoint {path}: ")
    return str(error.value).removeprefix(f"--backbone.checkpoint {path}: ")


def state() -> dict[str, Any]:
    tensors: dict[str, Tensor] = {f"layer{n}.weight": torch.randn(3, 4) for n in range(4)}
    return {"state_dict": tensors, "epoch": 3, "optimizer": {"state": {0: {"momentum": torch.zeros(3)}}}}


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
def test_flipped_bits_give_weights_or_one_line(legacy: bool, tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save(state(), path, _use_new_zipfile_serialization=not legacy)
    content, choices = path.read_bytes(), random.Random(0)
    messages = []
    for _ in range(300):
        damaged = bytearray(content)
        for _ in range(choices.choice([1, 1, 8])):
            damaged[choices.randrange(len(damaged))] ^= 1 << choices.randrange(8)
        path.write_bytes(damaged)
        try:
            read_tensors(path)
        except UserError as error:
            messages.append(str(error))
    assert len(messages) > 50
    assert not any("weights_only" in message or "\n" in message for message in messages)


def nest(content: object, levels: int) -> object:
    for _ in range(levels):
        content = {"a": content, "b": content}
    return content


def test_state_that_contains_itself(tmp_path: Path) -> None:
    content: dict[str, Any] = {"weight": torch.zeros(2)}
    content["again"] = content
    torch.save(content, tmp_path / "a.pth")
    assert refusal(tmp_path / "a.pth") == "cannot be read as weights: its entries are nested more than 10 deep"


def test_state_that_repeats_itself_exponentially(tmp_path: Path) -> None:
    torch.save(nest({"weight": torch.zeros(2)}, 40), tmp_path / "a.pth")
    assert refusal(tmp_path / "a.pth") == "cannot be read as weights: its entries are nested more than 10 deep"


def test_large_pickle_is_refused_before_it_is_read(tmp_path: Path) -> None:
    torch.save({"weight": torch.zeros(2), "text": "x" * (17 << 20)}, tmp_path / "a.pth")
    assert refusal(tmp_path / "a.pth") == ("cannot be read as weights: its pickle of 17 MiB contains more than tensors")


@pytest.mark.parametrize("content", [b"", b"\x80", b"PK\x03\x04", pickle.dumps([1]), b"\x80\x02.", bytes(1000)])
def test_other_content(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.pth").write_bytes(content)
    assert refusal(tmp_path / "a.pth")
    (tmp_path / "a.safetensors").write_bytes(content)
    assert refusal(tmp_path / "a.safetensors")


def test_archive_that_unpacks_to_much_more_is_refused_before_it_is_read(tmp_path: Path) -> None:
    torch.save({"weight": torch.zeros(1 << 20)}, tmp_path / "stored.pth")
    archives = zipfile.ZipFile(tmp_path / "stored.pth"), zipfile.ZipFile(tmp_path / "a.pth", "w", zipfile.ZIP_DEFLATED)
    with archives[0] as stored, archives[1] as packed:
        for name in stored.namelist():
            packed.writestr(name, stored.read(name))
    message = refusal(tmp_path / "a.pth")
    assert re.fullmatch(r"cannot be read as weights: its [\d,]+ bytes unpack to 4,[\d,]+ bytes", message)
