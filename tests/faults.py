"""Faults that tests inject into runs; `python tests/faults.py` injects each one and prints docs/errors.md."""

import functools
import hashlib
import io
import json
import os
import pickle
import resource
import signal
import struct
import subprocess
import sys
import tempfile
import time
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import datasets
import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import timm
import torch
from PIL import Image
from safetensors.torch import save_file

from sslzoo.modules.backbones import BackboneConfig, create_backbone

ROOT = Path(__file__).resolve().parents[1]
SMALL = [
    "--epochs", "1", "--batch-size", "8", "--method.split-bn", "2", "--method.queue-size", "16", "--img-size", "16",
    "--schedule.warmup-epochs", "0", "--backbone", "resnet10t", "--backbone.kwargs", "{channels: [8, 8, 8, 8]}",
    "--threads", "1",
]  # fmt: skip
"""Settings of a run of about one second."""


class Result(NamedTuple):
    """Exit status and output of a command."""

    code: int
    stdout: str
    stderr: str


@dataclass(frozen=True, kw_only=True)
class Fault:
    """A fault with its expected exit status and message."""

    name: str
    prepare: Callable[[Path], list[str]]
    """Prepares the fault in a folder and returns the words of the command."""
    code: int
    message: str
    """Regular expression found in standard error if the command fails, else in standard output."""
    kind: str


FAULTS: list[Fault] = []


def fault(kind: str, name: str, message: str, code: int = 2) -> Callable[[Callable[[Path], list[str]]], None]:
    """Add the decorated function, which prepares a fault, to the list."""
    return lambda prepare: FAULTS.append(Fault(kind=kind, name=name, prepare=prepare, code=code, message=message))


def create_image(number: int = 0, size: tuple[int, int] = (20, 24)) -> Image.Image:
    """Create a random image; each number gives another image."""
    pixels = np.random.default_rng(number).integers(0, 256, (*size, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def write_images(folder: Path) -> Path:
    """Write a folder of 24 images."""
    images = folder / "images"
    images.mkdir()
    for number in range(24):
        create_image(number).save(images / f"{number:02d}.png")
    return images


def train_on(images: Path | str, *more: str) -> list[str]:
    """Return the words of a training command for these images."""
    return ["--dataset", "folder", "--dataset.path", str(images), *SMALL, *more]


# images


def add_image(kind: str, name: str, file: str, content: Callable[[], bytes], message: str, code: int = 2) -> None:
    """Add a fault of one file among valid images."""

    @fault(kind, name, message, code)
    def prepare(folder: Path) -> list[str]:
        images = write_images(folder)
        (images / file).write_bytes(content())
        return train_on(images)


def encode(image: Image.Image, form: str, **options: object) -> bytes:
    """Encode an image as the content of a file."""
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def create_png(width: int, height: int) -> bytes:
    """Create a PNG with this size in its header but without pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 99)) + chunk(b"IEND", b"")
    )


NAMED = r"/images \(train\), row \d+ \(.*/images/bad\.\w+\): not an image that can be decoded: "
HINT = "; repair or remove it, or skip up to N such images with --dataset.max-skipped N"
TRAINED = r"25 images to train on(.|\n)*step 3/3"
TRAINED_WITHOUT = TRAINED.replace("25", "24")

add_image(
    "image",
    "truncated JPEG",
    "bad.jpg",
    lambda: encode(create_image(), "JPEG")[:-300],
    NAMED + f"image file is truncated.*{HINT}",
)
add_image("image", "empty file", "bad.png", lambda: b"", NAMED + "cannot identify image file")
add_image("image", "text named .png", "bad.png", lambda: b"hello", NAMED + "cannot identify image file")
add_image(
    "image",
    "decompression bomb (60,000 x 60,000)",
    "bad.png",
    lambda: create_png(60_000, 60_000),
    NAMED + ".*decompression bomb",
)
add_image(
    "image",
    "floating-point TIFF",
    "bad.tiff",
    lambda: encode(Image.new("F", (20, 20)), "TIFF"),
    NAMED + ".*8 or 16 bits are needed",
)
add_image(
    "image",
    "16-bit PNG",
    "bad.png",
    lambda: encode(Image.fromarray(np.full((9, 9), 40_000, np.uint16)), "PNG"),
    TRAINED,
    0,
)
add_image("image", "palette PNG", "bad.png", lambda: encode(create_image().quantize(16), "PNG"), TRAINED, 0)
add_image("image", "CMYK JPEG", "bad.jpg", lambda: encode(create_image().convert("CMYK"), "JPEG"), TRAINED, 0)
add_image(
    "image",
    "animated GIF",
    "bad.gif",
    lambda: encode(create_image(), "GIF", save_all=True, append_images=[create_image(1)]),
    TRAINED,
    0,
)
add_image("image", "1 x 1 pixel", "bad.png", lambda: encode(create_image(0, (1, 1)), "PNG"), TRAINED, 0)
add_image("image", "1 x 4,000 pixels", "bad.png", lambda: encode(create_image(0, (4000, 1)), "PNG"), TRAINED, 0)


@fault(
    "image",
    "two damaged images, two allowed",
    r"warning: 2 images are skipped \(--dataset\.max-skipped 2\): .*a\.png.*b\.png",
    0,
)
def two_damaged_two_allowed(folder: Path) -> list[str]:
    return train_on(write_damaged_images(folder), "--dataset.max-skipped", "2")


@fault(
    "image", "two damaged images, one allowed", r"--dataset\.max-skipped 1: more cannot be decoded: .*a\.png.*b\.png"
)
def two_damaged_one_allowed(folder: Path) -> list[str]:
    return train_on(write_damaged_images(folder), "--dataset.max-skipped", "1")


def write_damaged_images(folder: Path) -> Path:
    """Write a folder of images, two of which are empty files."""
    images = write_images(folder)
    for name in ("a.png", "b.png"):
        (images / name).write_bytes(b"")
    return images


@fault("image", "spaces, quotes and unicode in paths", TRAINED, 0)
def odd_paths(folder: Path) -> list[str]:
    images = write_images(folder).rename(folder / "ein 'schöner' Täg 日本 #1 %20")
    create_image(99).save(images / "bild\N{COMBINING DIAERESIS} & co.png")
    return train_on(images)


@fault("image", "[ in a path", TRAINED_WITHOUT, 0)
def pattern(folder: Path) -> list[str]:
    return train_on(write_images(folder).rename(folder / "images [old]"))


@fault("image", "named pipe", r"row 24 .*: not an image that can be decoded: no such regular file")
def named_pipe(folder: Path) -> list[str]:
    images = write_images(folder)
    os.mkfifo(images / "pipe.png")
    return train_on(images)


@fault("image", "broken link", r"row 24 .*: not an image that can be decoded: no such regular file")
def broken_link(folder: Path) -> list[str]:
    images = write_images(folder)
    (images / "link.png").symlink_to(images / "nowhere.png")
    return train_on(images)


@fault("image", "PostScript named .png", r"row 24 .*: not an image that can be decoded: cannot identify image file")
def postscript(folder: Path) -> list[str]:
    images = write_images(folder)
    create_image(99).save(folder / "image.eps")
    (folder / "image.eps").rename(images / "image.png")
    return train_on(images)


@fault("image", "file name that is not UTF-8", r"the file name .*\.png is not valid UTF-8; rename it")
def name_without_encoding(folder: Path) -> list[str]:
    images = write_images(folder)
    create_image(99).save(images / os.fsdecode(b"\xff.png"))
    return train_on(images)


@fault("image", "README.md that names remote files", TRAINED_WITHOUT, 0)
def remote_readme(folder: Path) -> list[str]:
    images = write_images(folder)
    (images / "README.md").write_text(
        "---\nconfigs:\n- config_name: default\n  data_files: http://localhost:9/train.parquet\n---\n"
    )
    return train_on(images)


# data sets


def write_table(folder: Path, **columns: object) -> Path:
    """Write images and other columns as train.parquet and test.parquet into a folder."""
    path = folder / "set"
    path.mkdir(exist_ok=True)
    content = {"image": [create_image(number) for number in range(24)], **columns}
    data = datasets.Dataset.from_dict(content).cast_column("image", datasets.Image())
    for split in ("train", "test"):
        data.to_parquet(path / f"{split}.parquet")
    return path


def train_labeled(path: Path, *more: str) -> list[str]:
    """Return the words of a command that trains on labeled images and evaluates."""
    return [*train_on(path, "--dataset.unlabeled", "false", "--dataset.test", "test"), *more]


@fault("data set", "unknown column", r"--dataset\.image pictur: no such column; available: image, label")
def wrong_column(folder: Path) -> list[str]:
    return train_labeled(write_table(folder, label=[0, 1] * 12), "--dataset.image", "pictur")


def write_paths(folder: Path, path: str) -> Path:
    """Write a table whose images are files, the first of them at `path`."""
    images = write_images(folder)
    paths = [path, *(str(image) for image in sorted(images.iterdir()))]
    pq.write_table(pa.table({"image": [{"bytes": None, "path": path} for path in paths]}), images / "train.parquet")
    return images / "train.parquet"


@fault("data set", "arrays of few rows and few channels", r"is \(16, 16, 4\); the channels may .* set --dataset\.ch")
def unclear_arrays(folder: Path) -> list[str]:
    images = folder / "images"
    images.mkdir()
    for number in range(24):
        np.save(images / f"{number:02d}.npy", np.zeros((16, 16, 4), np.uint16))
    return train_on(images, "--run-folder", str(folder / "run"))


@fault("data set", "cell with a URL", r"row 0 .*: its path is a URL, and a local data set reads local files only")
def remote_cell(folder: Path) -> list[str]:
    return train_on(write_paths(folder, "http://localhost:9/1.png"))


@fault("data set", "cell with a path outside the data set", r"row 0 .*: its path leads out of the data set's folder")
def outside_cell(folder: Path) -> list[str]:
    create_image(99).save(folder / "secret.png")
    return train_on(write_paths(folder, "../secret.png"))


@fault("data set", "column without images", r"--dataset\.image label: a column of .*, not of images")
def column_without_images(folder: Path) -> list[str]:
    return train_labeled(write_table(folder, label=[0, 1] * 12), "--dataset.image", "label")


@fault("data set", "column without labels", r"--dataset\.label x: a column of .*, not of class numbers or names")
def column_without_labels(folder: Path) -> list[str]:
    return train_labeled(write_table(folder, x=[0.5] * 24), "--dataset.label", "x")


@fault("data set", "evaluation without labels", r"evaluate: .* has no labels, which this protocol needs")
def labels_missing(folder: Path) -> list[str]:
    return [
        "evaluate",
        "--backbone",
        "test_resnet",
        "--untrained",
        *train_labeled(write_table(folder))[:4],
        "--dataset.test",
        "test",
    ]


@fault(
    "data set",
    "labels out of range",
    r"--dataset\.label label: train, row 3 has class 9, but there are only 2, counted from 0: cat, dog",
)
def labels_out_of_range(folder: Path) -> list[str]:
    path = folder / "set"
    path.mkdir()
    cells = [{"bytes": encode(create_image(number), "PNG"), "path": None} for number in range(24)]
    labels = [0, 1, 0, 9, *[0, 1] * 10]
    features = datasets.Features(image=datasets.Image(), label=datasets.ClassLabel(names=["cat", "dog"]))
    schema = features.arrow_schema
    for split in ("train", "test"):
        pq.write_table(
            pa.table({"image": pa.array(cells, schema.field("image").type), "label": pa.array(labels)}, schema=schema),
            path / f"{split}.parquet",
        )
    return train_labeled(path)


@fault("data set", "unknown split", r"--dataset\.train trian: no such split; .* has train, test")
def wrong_split(folder: Path) -> list[str]:
    return train_labeled(write_table(folder, label=[0, 1] * 12), "--dataset.train", "trian")


@fault("data set", "truncated parquet", r"--dataset\.path .*/set: not readable: .*[Pp]arquet")
def cut_parquet(folder: Path) -> list[str]:
    path = write_table(folder, label=[0, 1] * 12)
    (path / "train.parquet").write_bytes((path / "train.parquet").read_bytes()[:200])
    return train_labeled(path)


@fault("data set", "empty folder", r"--dataset\.path .*/empty: contains no images")
def empty_folder(folder: Path) -> list[str]:
    (folder / "empty").mkdir()
    return train_on(folder / "empty")


@fault("data set", "missing folder", r"--dataset\.path .*/nowhere: no such file or folder")
def no_folder(folder: Path) -> list[str]:
    return train_on(folder / "nowhere")


@fault(
    "data set",
    "fewer images than one batch",
    r"--batch-size 64: one batch needs 64 images, but the training split has 24; use at most 24",
)
def small_set(folder: Path) -> list[str]:
    return train_on(write_images(folder), "--batch-size", "64")


@fault(
    "data set",
    "fewer images than the queue",
    r"warning: method\.queue_size = 160: the queue is larger than the data set",
    0,
)
def small_for_the_queue(folder: Path) -> list[str]:
    return train_on(write_images(folder), "--method.queue-size", "160")


@fault("data set", "incomplete last batch", r"step 2/2", 0)
def uneven(folder: Path) -> list[str]:
    return train_on(write_images(folder), "--batch-size", "10")


@fault("data set", "name on the Hub, HF_HUB_OFFLINE=1", r"--dataset\.path someone/images: ")
def hub_offline(folder: Path) -> list[str]:
    return train_on("someone/images")


@fault("data set", "folder with a script", TRAINED_WITHOUT, 0)
def program(folder: Path) -> list[str]:
    images = write_images(folder)
    (images / "images.py").write_text(f"open({str(folder / 'ran')!r}, 'w')\n")
    return train_on(images)


@fault("data set", "archive beside images", r"1 archives are not read; extract them first(.|\n)*step 3/3", 0)
def archive(folder: Path) -> list[str]:
    images = write_images(folder)
    with zipfile.ZipFile(images / "more.zip", "w") as bundle:
        bundle.writestr("../../../../ran", b"outside")
        bundle.writestr("25.png", encode(create_image(25), "PNG"))
    return train_on(images)


# weights


def weights(name: str, message: str) -> Callable[[Callable[[Path], object]], None]:
    """Add a fault of a file of weights; the decorated function writes the file."""

    def add(write: Callable[[Path], object]) -> None:
        @fault("weights", name, message)
        def prepare(folder: Path) -> list[str]:
            file = folder / "weights.safetensors"
            written = write(file)
            return train_on(write_images(folder), "--backbone.checkpoint", str(written or file))

    return add


@weights(
    "weights of another model", r"--backbone\.checkpoint .*: weights of another model: .*these are tensors of resnet18"
)
def other_model(file: Path) -> None:
    save_file(timm.create_model("resnet18", num_classes=0).state_dict(), file)


@weights("damaged safetensors", r"--backbone\.checkpoint .*: cannot be read as weights: ")
def damaged_safetensors(file: Path) -> None:
    save_file({"conv1.weight": torch.zeros(64)}, file)
    file.write_bytes(file.read_bytes()[:-100])


@weights("NaN or Inf", r"--backbone\.checkpoint .*: layer4\.0\.conv1\.weight has NaN or Inf: the file is damaged")
def weights_not_finite(file: Path) -> None:
    settings = {"in_chans": 3, "img_size": 16}
    model = create_backbone(BackboneConfig(name="resnet10t", kwargs={"channels": [8, 8, 8, 8]}), **settings)
    state = model.state_dict()
    state["layer4.0.conv1.weight"][0, 0] = torch.inf
    save_file({name: value.contiguous() for name, value in state.items()}, file)


class CreatesFile:
    """Creates a file when it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[object, ...]:
        return open, (str(self.file), "w")


@weights(
    "pickle that would run code", r"it contains more than tensors \(.*open\), which could run code and is never loaded"
)
def evil(file: Path) -> Path:
    torch.save({"state_dict": {}, "x": CreatesFile(file.parent / "ran")}, file.with_suffix(".pt"))
    return file.with_suffix(".pt")


@weights("empty file", r"--backbone\.checkpoint .*: cannot be read as weights: ")
def no_weights(file: Path) -> None:
    file.write_bytes(b"")


# settings


def setting(name: str, flags: str, message: str) -> None:
    """Add a fault of settings."""

    @fault("setting", name, message)
    def prepare(folder: Path) -> list[str]:
        for file, content in FILES.items():
            (folder / file).write_bytes(content)
        return [word.replace("HERE", str(folder)) for word in flags.split()]


FILES = {
    "broken.yaml": b"epochs: [1\nseed: 3",
    "binary.yaml": bytes(range(256)),
    "list.yaml": b"- epochs\n- 3\n",
    "empty.yaml": b"",
    "unknown.yaml": b"epoch: 3\n",
    "twice.yaml": b"epochs: 3\nepochs: 4\n",
    "plugin.yaml": b"plugin: helper.py\n",
    "helper.py": b"open('ran', 'w')\n",
    "python.yaml": b"epochs: !!python/object/apply:os.system ['touch ran']\n",
}
setting("unknown flag", "--epoch 3", r"Unrecognized options: --epoch, 3; did you mean --epochs or ")
setting("text instead of a number", "--epochs many", r"--epochs: 'many' is not a whole number")
setting(
    "number out of range", "--method.momentum 1.5", r"method\.momentum = 1\.5: input should be less than or equal to 1"
)
setting("learning rate nan", "--optimizer.lr nan", r"optimizer\.lr = nan: input should be a finite number")
setting("learning rate inf", "--optimizer.lr inf", r"optimizer\.lr = inf: input should be a finite number")
setting("zero epochs", "--epochs 0", r"epochs = 0: ")
setting("unknown method", "--method asl", r"--method asl: .*did you mean ascl")
setting("incompatible target", "--method barlow-twins --target hard", r"--target hard: ")
setting(
    "flag of another method",
    "--method simclr --method.queue-size 64",
    r"Unrecognized options: --method\.queue-size, 64; simclr has --method\.views, ",
)
setting("truncated YAML", "--config HERE/broken.yaml", r"broken\.yaml: not readable as YAML: line 2: expected")
setting("binary file as config", "--config HERE/binary.yaml", r"binary\.yaml: not readable as YAML: ")
setting("list as config", "--config HERE/list.yaml", r"list\.yaml: a config must be a mapping of settings, not a list")
setting(
    "unknown key in a config",
    "--config HERE/unknown.yaml",
    r"unknown\.yaml: epoch: no such setting; did you mean epochs\?",
)
setting(
    "duplicate key in a config",
    "--config HERE/twice.yaml",
    r"twice\.yaml: not readable as YAML: line 2: epochs is given twice",
)
setting(
    "YAML that would run code",
    "--config HERE/python.yaml",
    r"python\.yaml: not readable as YAML: line 1: could not determine a constructor",
)

setting(
    "plug-in of a foreign config",
    "--config HERE/plugin.yaml",
    r"plugin\.yaml: plugin .*/helper\.py: is code that you have not loaded before, or that has changed since",
)


# paths


@fault(
    "path",
    "cache that cannot be written",
    r"--dataset\.cache-dir .*/file/cache: Not a directory; name another folder, or decode on every read",
)
def cache_in_a_file(folder: Path) -> list[str]:
    (folder / "file").write_text("")
    return train_on(write_images(folder), "--dataset.cache-dir", str(folder / "file" / "cache"))


@fault("path", "run folder that cannot be created", r"--run-folder .*/file/run: cannot be written: Not a directory")
def run_in_a_file(folder: Path) -> list[str]:
    (folder / "file").write_text("")
    return train_on(write_images(folder), "--run-folder", str(folder / "file" / "run"))


@fault("path", "run folder that is not empty", r"--run-folder .*/images: is not empty")
def run_in_the_images(folder: Path) -> list[str]:
    images = write_images(folder)
    return train_on(images, "--run-folder", str(images))


@fault("path", "resume without a run", r"--resume .*/images: not a run folder")
def resume_nothing(folder: Path) -> list[str]:
    return ["--resume", str(write_images(folder))]


@fault(
    "path",
    "evaluation of a run without weights",
    r"evaluate .*/run: the run is not finished, it has no backbone\.safetensors",
)
def evaluate_unfinished(folder: Path) -> list[str]:
    run = folder / "run"
    assert call(train_on(write_images(folder), "--run-folder", str(run)), folder).code == 0
    (run / "backbone.safetensors").unlink()
    return ["evaluate", str(run)]


# numbers


@fault(
    "number",
    "diverging learning rate",
    r"step \d+: .* is NaN or Inf; start a new run with optimizer\.lr below 1e\+25; .*/run",
)
def diverges(folder: Path) -> list[str]:
    return train_on(
        write_images(folder),
        "--optimizer",
        "sgd",
        "--optimizer.lr",
        "1e25",
        "--run-folder",
        str(folder / "run"),
        "--epochs",
        "4",
    )


@fault(
    "number",
    "queue that does not fit in memory",
    r"a queue of 10,000,000,000,000 keys needs .* GiB of memory, .* use a",
)
def enormous(folder: Path) -> list[str]:
    return train_on(write_images(folder), "--method.queue-size", str(10**13))


@fault("number", "more frozen blocks than the backbone has", r"--backbone\.freeze 12: must be below .* backbone, 4$")
def frozen(folder: Path) -> list[str]:
    return train_on(write_images(folder), "--backbone.freeze", "12", "--run-folder", str(folder / "run"))


@fault(
    "number",
    "adapters for a network without linear layers",
    r"--backbone\.lora 4: ResNet has no linear layers to adapt",
)
def no_linear_layers(folder: Path) -> list[str]:
    return train_on(write_images(folder), "--backbone.lora", "4", "--run-folder", str(folder / "run"))


@fault("number", "queue of one key", r"the target's confidence needs at least 2 candidates and has 1; enlarge --method")
def queue_of_one(folder: Path) -> list[str]:
    return train_on(write_images(folder), "--method.queue-size", "1", "--run-folder", str(folder / "run"))


# checkpoints


def create_two_checkpoints(folder: Path) -> tuple[Path, list[Path]]:
    """Train a run of three epochs with checkpoints of steps 6 and 9."""
    run = folder / "run"
    words = train_on(write_images(folder), "--run-folder", str(run), "--epochs", "3", "--save-every", "3")
    assert call(words, folder).code == 0
    return run, sorted((run / "checkpoints").glob("step-*"))


def flip_bit(file: Path) -> None:
    """Flip a bit in the middle of a file."""
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


@fault(
    "checkpoint", "newest damaged", r"warning: step-00000009: model\.safetensors has changed; resuming from step 6", 0
)
def newest_damaged(folder: Path) -> list[str]:
    run, (_, newest) = create_two_checkpoints(folder)
    flip_bit(newest / "model.safetensors")
    return ["--resume", str(run)]


@fault(
    "checkpoint",
    "newest with a missing file",
    r"warning: step-00000009: optimizer\.bin is missing; resuming from step 6",
    0,
)
def newest_without_file(folder: Path) -> list[str]:
    run, (_, newest) = create_two_checkpoints(folder)
    (newest / "optimizer.bin").unlink()
    return ["--resume", str(run)]


@fault(
    "checkpoint",
    "all damaged",
    r"/checkpoints: no checkpoint is intact \(step-00000009: model\.safetensors has changed\)",
)
def all_damaged(folder: Path) -> list[str]:
    run, checkpoints = create_two_checkpoints(folder)
    for checkpoint in checkpoints:
        (checkpoint / "model.safetensors").write_bytes(b"")
    return ["--resume", str(run)]


@fault(
    "checkpoint",
    "pickle that would run code, with matching checksum",
    r"step-00000009: contains more than tensors .*never loaded",
)
def evil_checkpoint(folder: Path) -> list[str]:
    run, checkpoints = create_two_checkpoints(folder)
    for checkpoint in checkpoints:
        file = checkpoint / "optimizer.bin"
        file.write_bytes(pickle.dumps(CreatesFile(folder / "ran")))
        sums = json.loads((checkpoint / "checksums.json").read_text())
        sums["optimizer.bin"] = hashlib.sha256(file.read_bytes()).hexdigest()
        (checkpoint / "checksums.json").write_text(json.dumps(sums))
    return ["--resume", str(run)]


@fault(
    "checkpoint",
    "resume with other settings",
    r"--resume .*/run: a resumed run keeps its settings, but seed was 0 and is now 1",
)
def resume_otherwise(folder: Path) -> list[str]:
    run, _ = create_two_checkpoints(folder)
    return ["--resume", str(run), "--seed", "1"]


@fault(
    "checkpoint",
    "resume after an image was deleted",
    r"settings or data have changed since step 9: split train had 24 images and now has 23; restore them, or continue",
)
def resume_without_image(folder: Path) -> list[str]:
    run, _ = create_two_checkpoints(folder)
    (folder / "images" / "07.png").unlink()
    return ["--resume", str(run)]


@fault(
    "checkpoint",
    "resume after an image was replaced",
    r"settings or data have changed since step 9: split train has other images, or their files were modified",
)
def resume_with_another_image(folder: Path) -> list[str]:
    run, _ = create_two_checkpoints(folder)
    create_image(99).save(folder / "images" / "07.png")
    return ["--resume", str(run)]


@fault(
    "checkpoint",
    "resume after config.yaml was edited",
    r"settings or data have changed since step 9: seed was 0 and is now 1; restore them, or continue",
)
def resume_edited(folder: Path) -> list[str]:
    run, _ = create_two_checkpoints(folder)
    edit_config(run)
    return ["--resume", str(run)]


def edit_config(run: Path) -> None:
    """Change the seed in the config of a run."""
    content = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(content.replace("\nseed: 0\n", "\nseed: 1\n"))


@fault(
    "checkpoint",
    "edited config.yaml, --resume-anyway",
    r"warning: resuming with changed settings or data: seed was 0 and is now 1",
    0,
)
def resume_edited_anyway(folder: Path) -> list[str]:
    run, _ = create_two_checkpoints(folder)
    edit_config(run)
    return ["--resume", str(run), "--resume-anyway"]


@fault("checkpoint", "renamed", r"warning: step-00000012: it contains step 9; resuming from step 6", 0)
def renamed_checkpoint(folder: Path) -> list[str]:
    run, (_, newest) = create_two_checkpoints(folder)
    newest.rename(newest.with_name("step-00000012"))
    return ["--resume", str(run)]


@fault(
    "checkpoint",
    "resume with damaged lines in metrics.jsonl",
    r"warning: .*/run/metrics\.jsonl: dropped 1 damaged of 2 lines, first line 1",
    0,
)
def resume_damaged_metrics(folder: Path) -> list[str]:
    run, _ = create_two_checkpoints(folder)
    (run / "metrics.jsonl").write_bytes(b'{"step": 1, "lo\xff\n{"step": 2, "epoch": 0.5, "loss": 1.0}\n')
    return ["--resume", str(run)]


@fault(
    "checkpoint",
    "evaluation of a run with changed weights",
    r"/run/backbone\.safetensors: has changed since it was written \(SHA-256 differs from summary\.json\); restore it",
)
def evaluate_damaged(folder: Path) -> list[str]:
    run, _ = create_two_checkpoints(folder)
    flip_bit(run / "backbone.safetensors")
    return ["evaluate", str(run), "--protocol", "representation"]


@fault("checkpoint", "evaluation of a run with an edited config.yaml", r"/run/config\.yaml: has changed since it was")
def evaluate_edited(folder: Path) -> list[str]:
    run, _ = create_two_checkpoints(folder)
    edit_config(run)
    return ["evaluate", str(run), "--protocol", "representation"]


# during a run


Inject = Callable[[subprocess.Popen[str], Path], Result | None]


@dataclass(frozen=True, kw_only=True)
class RunningFault(Fault):
    """A fault during a run in the folder `run`; `prepare` returns the words of the run."""

    inject: Inject
    """Called after three steps; may return the result of another command to check instead."""
    launcher: tuple[str, ...] = ()
    file_size: int = resource.RLIM_INFINITY
    """Largest file that the run may write, in bytes; imitates a full disk."""


RUNNING: list[RunningFault] = []
TWO = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")
SAVED = r"^stopped at step \d+ of 3000, saved; --resume .*/run continues it$"


def long_run(folder: Path) -> list[str]:
    """Return the words of a run that does not end soon."""
    words = ["--epochs", "1000", "--log-every", "1", "--save-every", "1", "--run-folder", str(folder / "run")]
    return train_on(write_images(folder), *words)


def running_fault(name: str, message: str, code: int, **more: Any) -> Callable[[Inject], None]:
    """Add the decorated function, which injects a fault into a run, to the list."""
    return lambda inject: RUNNING.append(
        RunningFault(
            kind="process", name=name, message=message, code=code, inject=inject, **({"prepare": long_run} | more)
        )
    )


def add_signal(name: str, number: signal.Signals, message: str, code: int, **more: Any) -> None:
    """Add a fault in which a run receives a signal."""

    @running_fault(name, message, code, **more)
    def inject(process: subprocess.Popen[str], folder: Path) -> Result | None:
        process.send_signal(number)


add_signal("Ctrl-C", signal.SIGINT, SAVED, 130)
add_signal("SIGTERM", signal.SIGTERM, SAVED, 143)
add_signal("SIGUSR1", signal.SIGUSR1, SAVED, 138)
add_signal("SIGTERM to the launcher of two processes", signal.SIGTERM, SAVED, 1, launcher=TWO)
add_signal("SIGKILL", signal.SIGKILL, "^$", -signal.SIGKILL)


@running_fault("Ctrl-C twice", "", -signal.SIGINT)
def twice(process: subprocess.Popen[str], folder: Path) -> Result | None:
    for _ in range(1000):
        process.send_signal(signal.SIGINT)
        if process.poll() is not None:
            return
        time.sleep(0.001)


@running_fault(
    "a second run in its folder", r"^error: .*/run: another run is writing to this folder; wait until it has ended$", 2
)
def second(process: subprocess.Popen[str], folder: Path) -> Result | None:
    process.send_signal(signal.SIGSTOP)
    done = call(["--resume", str(folder / "run")], folder)
    process.kill()
    return done


@running_fault(
    "no space for checkpoints and weights",
    r"^stopped at step 9 of 9, NOT saved \(.*\); no checkpoint yet in .*/run$",
    130,
    prepare=lambda folder: [*long_run(folder), "--epochs", "3", "--dataset.cache", "none", "--dataset.workers", "0"],
    file_size=10_000,
)
def full(process: subprocess.Popen[str], folder: Path) -> Result | None:
    while '"step": 9' not in (folder / "run" / "metrics.jsonl").read_text():
        time.sleep(0.1)
    time.sleep(1)
    process.send_signal(signal.SIGINT)


@running_fault(
    "another process of the run dies",
    r"^error: process 0: another process of the run has exited; .*--resume",
    1,
    launcher=TWO,
)
def peer(process: subprocess.Popen[str], folder: Path) -> Result | None:
    for child in psutil.Process(process.pid).children(recursive=True):
        if child.environ().get("LOCAL_RANK") == "1":
            child.kill()


def environment(folder: Path) -> dict[str, str]:
    """Return the environment of a command, with caches and runs in the folder."""
    return os.environ | {
        "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true", "HF_HUB_OFFLINE": "1", "COLUMNS": "200",
        "SSLZOO_CACHE": str(folder / "cache"), "HF_DATASETS_CACHE": str(folder / "datasets"),
    }  # fmt: skip


def call(words: list[str], folder: Path) -> Result:
    """Run a command and return its result."""
    command = [sys.executable, str(ROOT / "run.py"), *words]
    done = subprocess.run(command, cwd=folder, env=environment(folder), capture_output=True, text=True, timeout=300)
    return Result(done.returncode, done.stdout, done.stderr)


def call_with_fault(fault: RunningFault, folder: Path) -> Result:
    """Start a run and inject the fault after three steps."""
    limit = functools.partial(resource.setrlimit, resource.RLIMIT_FSIZE, (fault.file_size, fault.file_size))
    process = subprocess.Popen(
        [sys.executable, *fault.launcher, str(ROOT / "run.py"), *fault.prepare(folder)],
        cwd=folder,
        env=environment(folder),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=limit,
    )
    metrics = folder / "run" / "metrics.jsonl"
    while process.poll() is None and not (metrics.is_file() and '"step": 3' in metrics.read_text()):
        time.sleep(0.01)
    result = fault.inject(process, folder)
    stdout, stderr = process.communicate(timeout=120)
    return result or Result(process.returncode, stdout, stderr)


def shell_status(code: int) -> int:
    """Return the exit status as a shell shows it: 128 + n if signal n ended the command."""
    return code if code >= 0 else 128 - code


def find_message(done: Result, folder: Path) -> str:
    """Find the lines that report the fault."""
    lines = [*done.stdout.splitlines(), *done.stderr.splitlines()]
    messages = [line for line in lines if line.startswith(("warning: ", "error: ", "stopped "))]
    return ("<br>".join(dict.fromkeys(messages)) or ("trains" if done.code == 0 else "nothing")).replace(
        str(folder), "HERE"
    )


HEAD = """# Errors

The message and exit status of each kind of invalid input or failure.

```console
$ python run.py --method ascl --method.queue-sise 4096
error: Unrecognized options: --method.queue-sise, 4096; did you mean --method.queue-size?
```

Status 2 is invalid input, 1 a failure, and 128 + n a stop by signal n ([Reliability](reliability.md#exit-status)).
Invalid settings end the command before it writes anything. `python tests/faults.py` causes each fault and prints this
page; the tests repeat them. HERE is the folder of the run.

| kind | fault | status | output |
|---|---|---|---|"""


def main() -> None:
    """Print the page."""
    print(HEAD)
    for fault in [*FAULTS, *RUNNING]:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            done = (
                call_with_fault(fault, folder)
                if isinstance(fault, RunningFault)
                else call(fault.prepare(folder), folder)
            )
            message = find_message(done, folder).replace("|", "\\|")
            print(f"| {fault.kind} | {fault.name} | {shell_status(done.code)} | {message} |", flush=True)


if __name__ == "__main__":
    main()
