"""An embedding that was killed continues, and its file is bit-identical to that of an uninterrupted one."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from embedding_images import write_images

from sslzoo import Embeddings
from sslzoo.cli import main
from sslzoo.embedding import encode
from sslzoo.embedding.partial import Partial, create_shards

ROOT = Path(__file__).resolve().parents[2]
Words = list[str]


class Killed(BaseException):
    """Stands for a kill: no handler of the program runs after it."""


def stop_after(batches: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the process die before it encodes a batch."""
    original, calls = encode.encode_batch, []

    def encode_or_die(*arguments: Any) -> Any:
        calls.append(1)
        if len(calls) > batches + 1:  # the first call measures the size of a row
            raise Killed
        return original(*arguments)

    monkeypatch.setattr(encode, "encode_batch", encode_or_die)


@pytest.mark.parametrize("name", ["a.npz", "a.parquet", "a.faiss"])
def test_interrupted_embedding_continues(
    name: str, words: Words, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    (images / "ant/004.png").write_bytes(b"damaged")
    command = ["embed", *words, "--images", str(images), "--batch-size", "2", "--output"]
    whole = tmp_path / "whole" / name
    whole.parent.mkdir()
    assert main([*command, str(whole)]) == 0
    output = tmp_path / "again" / name
    output.parent.mkdir()
    for batches in (4, 3):
        with monkeypatch.context() as patch:
            stop_after(batches, patch)
            with pytest.raises(Killed):
                main([*command, str(output)])
        assert not output.exists()
    capsys.readouterr()
    assert main([*command, str(output)]) == 0
    assert "21 images, 14 of which are encoded already" in capsys.readouterr().out
    assert output.read_bytes() == whole.read_bytes()
    assert {path.name for path in output.parent.iterdir()} == {path.name for path in whole.parent.iterdir()}


def test_damaged_shards_are_encoded_again(
    words: Words, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["embed", *words, "--images", str(images), "--batch-size", "2", "--output"]
    with monkeypatch.context() as patch:
        stop_after(8, patch)
        with pytest.raises(Killed):
            main([*command, str(tmp_path / "a.npz")])
    folder = tmp_path / "a.npz.partial"
    (folder / "00000001.f32").write_bytes(b"half")
    (folder / "00000002.json").write_text("{")
    (folder / "00000003.f32.1.tmp").write_bytes(b"left by a killed process")
    assert main([*command, str(tmp_path / "a.npz")]) == 0
    assert main([*command, str(tmp_path / "b.npz")]) == 0
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    assert not folder.exists()


def test_other_settings_do_not_continue(
    words: Words, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    command = ["embed", *words, "--images", str(images), "--output", str(tmp_path / "a.npz"), "--batch-size"]
    with monkeypatch.context() as patch:
        stop_after(2, patch)
        with pytest.raises(Killed):
            main([*command, "2"])
    capsys.readouterr()
    assert main([*command, "3"]) == 2
    assert "a.npz.partial was started with another batch size, 2 instead of 3; delete" in capsys.readouterr().err
    write_images(images, 22)
    assert main([*command, "2"]) == 2
    assert "was started with other images; delete" in capsys.readouterr().err
    assert (tmp_path / "a.npz.partial" / "00000001.f32").is_file()


def test_two_embeddings_do_not_share_an_output(words: Words, images: Path, tmp_path: Path, capsys: Any) -> None:
    other = Partial(tmp_path / "a.npz")
    other.open({})
    assert main(["embed", *words, "--images", str(images), "--output", str(tmp_path / "a.npz")]) == 2
    assert "a.npz: another process is writing it" in capsys.readouterr().err
    other.close()


def test_shards_depend_on_images_and_batches_only() -> None:
    shards = create_shards(100_000, 256, 2048)
    assert [len(shard.positions) for shard in shards] == [1024] * 97 + [672]
    assert [len(batch) for batch in shards[-1].split(256)] == [256, 256, 160]
    assert np.concatenate([np.concatenate(shard.split(256)) for shard in shards]).tolist() == list(range(100_000))
    assert {len(shard.positions) for shard in create_shards(100_000, 4096, 2048)[:-1]} == {4096}
    assert max(len(shard.positions) for shard in create_shards(100_000, 8, 600_000)) == 104  # 64 MiB of patches
    assert len(create_shards(2000, 16, 2048)) == 125


def test_finished_shards_are_read_one_after_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sslzoo.embedding import partial as module

    folder = Partial(tmp_path / "a.npz")
    folder.open({})
    shards = create_shards(64 * 8, 8, 16)
    for shard in shards:
        writer = folder.create_writer(shard)
        writer.write(np.full((8, 4), shard.number, np.float32))
        writer.finish((4,))
    monkeypatch.setattr(module, "CHUNK_BYTES", 4 * shards[0].positions.stop * 16)
    parts = list(folder.read_vectors(shards, (4,)))
    assert max(len(part) for part in parts) == 32
    assert np.concatenate(parts)[:, 0].tolist() == np.repeat(np.arange(64), 8).tolist()


@pytest.mark.long
def test_killed_process_continues(words: Words, tmp_path: Path) -> None:
    write_images(tmp_path / "images", 256)
    command = [sys.executable, "run.py", "embed", *words, "--images", str(tmp_path / "images"), "--batch-size", "4"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "SSLZOO_CACHE": str(tmp_path / "cache")}
    command[command.index("32")] = "128"  # large enough that it takes seconds
    output, kills = tmp_path / "a.npz", 0
    for shards in (3, 30):
        process = subprocess.Popen(
            [*command, "--output", str(output)], cwd=ROOT, env=environment, stdout=subprocess.DEVNULL
        )
        while process.poll() is None:
            if len(list(tmp_path.glob("a.npz.partial/*.f32"))) >= shards:
                process.send_signal(signal.SIGKILL)
                kills += 1
                break
            time.sleep(0.005)
        process.wait(timeout=120)
    assert kills == 2
    done = subprocess.run(
        [*command, "--output", str(output)], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert "of which are encoded already" in done.stdout, done.stdout + done.stderr
    whole = tmp_path / "whole.npz"
    subprocess.run([*command, "--output", str(whole)], cwd=ROOT, env=environment, check=True, capture_output=True)
    assert output.read_bytes() == whole.read_bytes()
    assert len(Embeddings.load(output)) == 256
