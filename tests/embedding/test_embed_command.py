"""End-to-end tests of `run.py embed`: sources of images, weights, outputs, skipped images, and invalid input."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import timm
import torch
from datasets import Dataset, Features, Image, Value
from embedding_images import WEIGHTS, write_images
from PIL import Image as Pillow
from torchvision.transforms.functional import pil_to_tensor

import sslzoo
from sslzoo import Embeddings, UserError
from sslzoo.cli import main
from sslzoo.embedding.compose import compose_embedding
from sslzoo.embedding.images import open_images, resolve_pixels
from sslzoo.evaluation.compose import compose_jobs
from sslzoo.evaluation.encoder import create_encoder
from sslzoo.evaluation.features import encode_images
from sslzoo.evaluation.transform import choose_transform
from sslzoo.runtime.launch import create_accelerator

ROOT = Path(__file__).resolve().parents[2]
Words = list[str]


def embed(words: Words, output: Path, *more: str) -> Embeddings:
    """Run the command and load its file."""
    assert main(["embed", *words, *more, "--output", str(output)]) == 0
    return Embeddings.load(output)


def refuse(words: Words, capsys: Any) -> str:
    """Run a command that must fail; return its only line without `error: `."""
    capsys.readouterr()
    assert main(["embed", *words]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    return lines[0].removeprefix("error: ")


def test_folder_of_images(words: Words, images: Path, tmp_path: Path, capsys: Any) -> None:
    found = embed(words, tmp_path / "a.npz", "--images", str(images), "--batch-size", "4")
    assert found.paths == sorted(str(file.relative_to(images)) for file in images.rglob("*.png"))
    assert found.classes == ["ant", "bee"]
    assert [found.get_label(n) for n in range(21)] == [path.partition("/")[0] for path in found.paths]
    assert found.metadata["root"] == str(images)
    assert f"{tmp_path / 'a.npz'}: 21 x {found.vectors.shape[1]} float32" in capsys.readouterr().out
    assert {path.name for path in tmp_path.iterdir()} <= {"a.npz", "images", "cache"}


def test_features_equal_those_of_evaluate(words: Words, images: Path, tmp_path: Path) -> None:
    found = embed(words, tmp_path / "a.npz", "--images", str(images), "--batch-size", "4")
    job = resolve_pixels(compose_embedding([*words, "--images", str(images), "--output", "a.npz"]))
    transform = choose_transform(job)
    encoder, _ = create_encoder(job, transform)
    accelerator = create_accelerator("fp32")
    opened = open_images(job, transform)
    expected = list(encode_images(encoder, opened, transform.create_views, accelerator, batch_size=4, workers=0))
    np.testing.assert_array_equal(found.vectors, torch.cat(expected).numpy())


def test_features_equal_those_of_timm(words: Words, images: Path, tmp_path: Path, checkpoint: Path) -> None:
    found = embed(words, tmp_path / "a.npz", "--images", str(images))
    model = timm.create_model("test_resnet", num_classes=0, checkpoint_path=str(checkpoint)).eval()
    config = timm.data.resolve_model_data_config(model)
    transform = timm.data.create_transform(**config | {"input_size": (3, 32, 32)})
    batch = torch.stack([transform(Pillow.open(images / path)) for path in found.paths or []])
    with torch.no_grad():
        expected = model(batch).numpy()
    unit, theirs = (part / np.linalg.norm(part, axis=1, keepdims=True) for part in (found.vectors, expected))
    assert (unit * theirs).sum(axis=1).min() > 0.9995  # Pillow rounds to 8 bits


def test_list_of_files(words: Words, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = ["images/bee/003.png", "images/ant/000.png"]
    found = embed(words, tmp_path / "a.npz", "--images", *names)
    assert found.paths == names
    assert found.labels is None
    Path("list.txt").write_text("\n".join(names) + "\n\n", encoding="utf-8")
    listed = embed(words, tmp_path / "b.npz", "--images", "list.txt")
    np.testing.assert_array_equal(listed.vectors, found.vectors)
    assert listed.paths == names


def test_split_of_a_data_set(words: Words, tmp_path: Path) -> None:
    more = ["--dataset", "digits", "--dataset.channels", "3"]
    train = embed(words, tmp_path / "train.npz", *more)
    assert len(train) == 1297
    few = embed(words, tmp_path / "few.parquet", *more, "--split", "test", "--dataset.limit", "50")
    assert (len(few), few.classes, few.paths) == (50, [str(n) for n in range(10)], None)
    assert np.bincount(few.labels).tolist() == [5] * 10
    both = embed(words, tmp_path / "all.npz", *more, "--split", "all")
    assert len(both) == 1797
    np.testing.assert_allclose(both.vectors[few.ids[0] + 1297], few.vectors[0], atol=1e-4)


def test_all_splits_of_a_folder_are_embedded(words: Words, tmp_path: Path) -> None:
    for split in ("train", "test"):
        write_images(tmp_path / "images" / split, 4)
    found = embed(words, tmp_path / "a.npz", "--images", str(tmp_path / "images"))
    assert len(found) == 8
    one = embed(words, tmp_path / "b.npz", "--images", str(tmp_path / "images"), "--split", "test")
    assert one.paths == [f"test/{kind}/00{n}.png" for kind, n in (("ant", 0), ("ant", 2), ("bee", 1), ("bee", 3))]


def test_undecodable_images_are_skipped_and_listed(words: Words, images: Path, tmp_path: Path, capsys: Any) -> None:
    whole = embed(words, tmp_path / "whole.npz", "--images", str(images), "--batch-size", "4")
    for name in ("ant/000.png", "bee/005.png", "bee/007.png"):
        (images / name).write_bytes(b"damaged")
    found = embed(words, tmp_path / "a.npz", "--images", str(images), "--batch-size", "4")
    assert "warning: 3 images are skipped, listed in" in capsys.readouterr().out
    lines = (tmp_path / "a.npz.skipped.txt").read_text().splitlines()
    assert [line.partition(")")[2].partition("(")[2].partition(")")[0] for line in lines] == [
        str(images / name) for name in ("ant/000.png", "bee/005.png", "bee/007.png")
    ]
    assert found.metadata["skipped"] == lines
    assert whole.paths is not None
    kept = [n for n, path in enumerate(whole.paths) if path not in ("ant/000.png", "bee/005.png", "bee/007.png")]
    assert found.paths == [whole.paths[n] for n in kept]
    np.testing.assert_array_equal(found.ids, kept)
    np.testing.assert_allclose(found.vectors, whole.vectors[kept], atol=1e-4)
    stored = embed(words, tmp_path / "b.npz", "--images", str(images), "--dataset.cache", "memory-map")
    assert (stored.paths, stored.metadata["skipped"]) == (found.paths, lines)


def test_limit_of_undecodable_images(words: Words, images: Path, tmp_path: Path, capsys: Any) -> None:
    for name in ("ant/000.png", "bee/005.png"):
        (images / name).write_bytes(b"damaged")
    more = ["--images", str(images), "--output", str(tmp_path / "a.npz")]
    line = refuse([*words, *more, "--dataset.max-skipped", "1"], capsys)
    assert "--dataset.max-skipped 1: more cannot be decoded" in line
    assert not (tmp_path / "a.npz").exists()
    for file in images.rglob("*.png"):
        file.write_bytes(b"damaged")
    assert "no other image can be decoded either" in refuse([*words, *more[:3], str(tmp_path / "b.npz")], capsys)
    assert not (tmp_path / "b.npz.partial").exists()


def test_nonfinite_features_are_refused_with_the_name(
    words: Words, images: Path, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sslzoo.embedding import encode

    original = encode.encode_batch

    def spoil(encoder: Any, batch: Any, create_view: Any, accelerator: Any) -> torch.Tensor:
        features = original(encoder, batch, create_view, accelerator)
        return features.clone().index_fill_(0, (batch.ids == 5).nonzero().flatten(), torch.nan)

    monkeypatch.setattr(encode, "encode_batch", spoil)
    line = refuse([*words, "--images", str(images), "--output", str(tmp_path / "a.npz")], capsys)
    assert f"row 5 ({images}/ant/010.png): its features contain NaN or Inf" in line
    assert not (tmp_path / "a.npz").exists()


def test_features_of_patches(images: Path, tmp_path: Path) -> None:
    more = ["--untrained", "--images", str(images), "--img-size", "48", "--tokens", "--threads", "1"]
    few = ["--dataset.limit", "3", "--dataset.workers", "0"]
    transformer = embed(["--backbone", "test_vit"], tmp_path / "vit.npz", *more, *few)
    assert transformer.vectors.shape == (3, 9, 64)  # 3 x 3 patches of 16 pixels
    network = embed(["--backbone", "test_resnet"], tmp_path / "resnet.parquet", *more, *few)
    job = resolve_pixels(compose_embedding(["--backbone", "test_resnet", *more, *few, "--output", "a.npz"]))
    encoder, _ = create_encoder(job, choose_transform(job))
    batch = open_images(job, choose_transform(job)).gather(np.arange(3))
    with torch.no_grad():
        features = encoder.eval().forward_features(choose_transform(job)(batch))  # type: ignore[operator]
    assert network.vectors.shape == (3, features.shape[2] * features.shape[3], features.shape[1])
    np.testing.assert_allclose(network.vectors, features.flatten(2).transpose(1, 2).numpy(), atol=1e-5)


def test_metadata_describe_weights_transform_and_versions(
    words: Words, images: Path, tmp_path: Path, checkpoint: Path
) -> None:
    found = embed(words, tmp_path / "a.parquet", "--images", str(images), "--columns")
    metadata = found.metadata
    assert metadata["checkpoint_sha256"] == sslzoo.runtime.files.file_sha256(checkpoint)  # type: ignore[attr-defined]
    assert len(metadata["weights_sha256"]) == 64
    assert metadata["transform"].startswith("32 px, crop center 0.95, bilinear, mean 0.5")
    assert metadata["versions"]["torch"] == torch.__version__.partition("+")[0]
    assert list(pd.read_parquet(tmp_path / "a.parquet").columns[:4]) == ["id", "path", "label", "f0"]


def test_finished_output_is_kept(words: Words, images: Path, tmp_path: Path, capsys: Any) -> None:
    file = tmp_path / "a.npz"
    embed(words, file, "--images", str(images))
    before = file.stat().st_mtime_ns
    embed(words, file, "--images", str(images))
    assert "contains these features already" in capsys.readouterr().out
    assert file.stat().st_mtime_ns == before
    line = refuse([*words, "--images", str(images), "--img-size", "24", "--output", str(file)], capsys)
    assert line.startswith(f"--output {file}: contains features of another transform, 32 px, crop center")
    line = refuse(["--untrained", "--seed", "3", "--images", str(images), *WEIGHTS, "--output", str(file)], capsys)
    assert f"--output {file}: contains features of other weights" in line
    file.write_bytes(b"mine")
    line = refuse([*words, "--images", str(images), "--output", str(file)], capsys)
    assert line == f"--output {file}: exists and is not a file of features; delete it or name another file"
    assert file.read_bytes() == b"mine"


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--images", "HERE"], "embed: no --output; name a file that ends in .npz, .parquet or .faiss"),
        (["--output", "a.npz"], "embed: no images; name a folder, files or a list by --images, or a data set by"),
        (["--images", "HERE", "--output", "a.csv"], "--output a.csv: must end in .npz, .parquet or .faiss"),
        (["--images", "HERE", "--output", "a.npz", "--columns"], "--columns: is an option of .parquet"),
        (["--images", "HERE", "--output", "a.faiss", "--tokens"], "--tokens: a FAISS index has one vector per image"),
        (["--images", "gone.png", "--output", "a.npz"], "--images gone.png: no such file"),
        (["--images", "HERE", "--dataset", "digits", "--output", "a.npz"], "cannot be combined with --dataset digits"),
        (
            ["--images", "x.png", "--dataset.path", "HERE", "--output", "a.npz"],
            "cannot be combined with --images x.png",
        ),
        (["--images", "HERE", "--split", "tset", "--output", "a.npz"], "--dataset.train tset: no such split"),
        (["--images", "HERE", "--output", "a.npz", "--columms"], "Unrecognized options: --columms"),
        (
            ["--dataset", "digits", "--dataset.streaming", "--dataset.epoch-images", "5", "--output", "a.npz"],
            "streaming",
        ),
        (["--images", "list.txt", "--output", "a.npz"], "--images list.txt: cannot be read"),
    ],
)
def test_invalid_arguments_are_one_line_errors(
    words: Words, more: Words, message: str, images: Path, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = set(tmp_path.iterdir())
    assert message in refuse([*words, *(word.replace("HERE", str(images)) for word in more)], capsys)
    assert set(tmp_path.iterdir()) - before <= {tmp_path / "cache"}


def test_weights_are_one_argument(images: Path, tmp_path: Path, checkpoint: Path, capsys: Any) -> None:
    more = ["--images", str(images), "--output", str(tmp_path / "a.npz")]
    job = compose_embedding(["resnet18.a1_in1k", *more])
    assert (job.backbone.name, job.backbone.pretrained) == ("resnet18.a1_in1k", True)
    job = compose_embedding([str(checkpoint), "--backbone", "test_resnet", *more])
    assert (job.backbone.name, job.backbone.checkpoint) == ("test_resnet", checkpoint)
    assert "does not name its model" in refuse([str(checkpoint), *more], capsys)
    assert "no such run folder or file, nor a model of timm" in refuse(["runs/none", *more], capsys)
    assert "not a run folder (it has no config.yaml)" in refuse([str(images), *more], capsys)
    assert "timm" in refuse(["resnet18.a1_in1", *more], capsys)
    assert "no weights for resnet18" in refuse(["--backbone", "resnet18", *more], capsys)


def test_a_run_embeds_its_own_images_and_others(images: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    small = ["--backbone.kwargs", "{channels: [8, 8, 8, 8]}", "--threads", "1", "--dataset.limit", "64"]
    more = ["--epochs", "1", "--batch-size", "32", "--method.queue-size", "64", "--schedule.warmup-epochs", "0"]
    last = ["--knn-every", "0", "--evaluation.draws", "2", "--evaluation.linear.epochs", "1", "--save-minutes", "0"]
    assert main([*small, *more, *last, "--run-folder", str(folder)]) == 0
    own = embed([str(folder)], tmp_path / "own.npz", "--threads", "1")
    assert (len(own), own.metadata["dataset"]) == (64, "digits")
    others = embed([str(folder)], tmp_path / "others.npz", "--images", str(images), "--threads", "1")
    assert len(others) == 21
    assert others.metadata["transform"].startswith("8 px")
    ((_, job),) = compose_jobs([str(folder)])
    assert others.metadata["transform"] == str(choose_transform(job))

    class Run:
        path = folder

    same = sslzoo.embed(images, Run(), progress=False, threads=1)
    np.testing.assert_array_equal(same.vectors, others.vectors)


def test_a_run_on_a_folder_embeds_the_files_that_are_named(images: Path, tmp_path: Path, capsys: Any) -> None:
    folder = tmp_path / "run"
    small = ["--backbone", "resnet10t", "--backbone.kwargs", "{channels: [8, 8, 8, 8]}", "--img-size", "8"]
    more = ["--epochs", "1", "--batch-size", "16", "--method.queue-size", "16", "--threads", "1", "--save-minutes", "0"]
    assert main(["--dataset", "folder", "--dataset.path", str(images), *small, *more, "--run-folder", str(folder)]) == 0
    own = embed([str(folder)], tmp_path / "own.npz", "--threads", "1")
    assert (len(own), own.metadata["dataset"]) == (21, "folder")
    names = [str(images / "bee/003.png"), str(images / "ant/000.png")]
    two = embed([str(folder)], tmp_path / "two.npz", "--images", *names, "--threads", "1")
    assert [name.endswith(path) for name, path in zip(names, two.paths, strict=True)] == [True, True]
    bees = embed([str(folder)], tmp_path / "bees.npz", "--images", str(images / "bee"), "--threads", "1")
    assert len(bees) == len(list((images / "bee").glob("*.png"))) < 21
    missing = [str(folder), "--images", "gone", "--output", str(tmp_path / "gone.npz")]
    assert refuse(missing, capsys) == "--images gone: no such file"


def test_python_accepts_images_in_memory(images: Path, checkpoint: Path, tmp_path: Path, capsys: Any) -> None:
    settings: dict[str, Any] = {"backbone": "test_resnet", "img_size": 32, "threads": 1, "backbone.stem": "standard"}
    files = sorted(images.rglob("*.png"))[:6]
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    listed = sslzoo.embed(files, checkpoint, **settings, progress=False)
    assert capsys.readouterr().out == ""
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), state)
    pictures = sslzoo.embed([Pillow.open(file) for file in files], checkpoint, **settings)
    assert "images in memory" in capsys.readouterr().out
    np.testing.assert_array_equal(pictures.vectors, listed.vectors)
    tensors = [pil_to_tensor(Pillow.open(file).convert("RGB")) for file in files]
    split = sslzoo.embed({"train": tensors[:1], "test": tensors}, checkpoint, split="test", **settings, progress=False)
    np.testing.assert_array_equal(split.vectors, listed.vectors)
    features = Features({"image": Image(), "label": Value("int64")})
    table = Dataset.from_dict({"image": [str(file) for file in files], "label": [0, 1] * 3}, features=features)
    loaded = sslzoo.embed(table, checkpoint, output=tmp_path / "t.parquet", **settings, progress=False)
    np.testing.assert_array_equal(loaded.vectors, listed.vectors)
    assert loaded.labels is not None
    assert loaded.labels.tolist() == [0, 1] * 3
    few = {"dataset.limit": 20, "dataset.channels": 3}
    digits = sslzoo.embed("digits", checkpoint, split="test", **settings, progress=False, **few)
    assert len(digits) == 20
    with pytest.raises(UserError, match="no such data set"):
        sslzoo.embed("digit", checkpoint, **settings)
    with pytest.raises(UserError, match="data: train is a int; give a path"):
        sslzoo.embed(3, checkpoint, **settings)
    with pytest.raises(UserError, match="batch_sise"):
        sslzoo.embed(files, checkpoint, batch_sise=4, **settings)


@pytest.mark.long
def test_two_processes_write_the_same_file(words: Words, images: Path, tmp_path: Path) -> None:
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    environment = os.environ | {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    for name, launch in (("one", []), ("two", launcher)):
        (tmp_path / name).mkdir()
        command = [sys.executable, *launch, "run.py", "embed", *words, "--images", str(images), "--batch-size", "2"]
        command += ["--output", str(tmp_path / name / "a.parquet")]
        code = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
        assert code.returncode == 0, code.stdout + code.stderr
        assert f"processes: {1 + (name == 'two')}" in code.stdout
        assert code.stdout.count("21 x ") == 1
    assert (tmp_path / "one/a.parquet").read_bytes() == (tmp_path / "two/a.parquet").read_bytes()


def test_metadata_are_json(words: Words, images: Path, tmp_path: Path) -> None:
    found = embed(words, tmp_path / "a.npz", "--images", str(images))
    assert json.loads(json.dumps(found.metadata)) == found.metadata
