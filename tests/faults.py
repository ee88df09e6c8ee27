"""Faults that are injected into runs; `python tests/faults.py` makes each of them and prints what the user sees."""

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
"""Settings of a run that takes a second."""


class Done(NamedTuple):
    """How a command ended."""

    code: int
    stdout: str
    stderr: str


@dataclass(frozen=True, kw_only=True)
class Fault:
    """A fault, and what has to come of it."""

    what: str
    make: Callable[[Path], list[str]]
    """Makes it in a folder, and returns the words of the command."""
    code: int
    says: str
    """A part of what is seen: of standard error where the command fails, else of the output."""
    kind: str


FAULTS: list[Fault] = []


def fault(kind: str, what: str, says: str, code: int = 2) -> Callable[[Callable[[Path], list[str]]], None]:
    """Add a function that makes a fault to the list."""
    return lambda make: FAULTS.append(Fault(kind=kind, what=what, make=make, code=code, says=says))


def image(number: int = 0, size: tuple[int, int] = (20, 24)) -> Image.Image:
    """One of different images."""
    pixels = np.random.default_rng(number).integers(0, 256, (*size, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def holiday(folder: Path) -> Path:
    """A folder of 24 images."""
    images = folder / "images"
    images.mkdir()
    for number in range(24):
        image(number).save(images / f"{number:02d}.png")
    return images


def on(images: Path | str, *more: str) -> list[str]:
    """Train on these images."""
    return ["--dataset", "folder", "--dataset.path", str(images), *SMALL, *more]


# images


def add_image(kind: str, what: str, name: str, content: Callable[[], bytes], says: str, code: int = 2) -> None:
    """A fault of one file among good images."""

    @fault(kind, what, says, code)
    def make(folder: Path) -> list[str]:
        images = holiday(folder)
        (images / name).write_bytes(content())
        return on(images)


def encoded(image: Image.Image, form: str, **options: object) -> bytes:
    """An image as the content of a file."""
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def png(width: int, height: int) -> bytes:
    """A PNG whose header says so, and whose pixels are missing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 99)) + chunk(b"IEND", b"")
    )


NAMED = r"/images \(train\), row \d+ \(.*/images/bad\.\w+\): not an image that can be decoded: "
MEND = "; repair or remove it, or skip up to N such images with --dataset.max-skipped N"
TRAINED = r"25 images to train on(.|\n)*step 3/3"

add_image(
    "image",
    "truncated JPEG",
    "bad.jpg",
    lambda: encoded(image(), "JPEG")[:-300],
    NAMED + f"image file is truncated.*{MEND}",
)
add_image("image", "empty file", "bad.png", lambda: b"", NAMED + "cannot identify image file")
add_image("image", "text named .png", "bad.png", lambda: b"hello", NAMED + "cannot identify image file")
add_image("image", "bomb (60,000 x 60,000)", "bad.png", lambda: png(60_000, 60_000), NAMED + ".*decompression bomb")
add_image(
    "image",
    "floating-point TIFF",
    "bad.tiff",
    lambda: encoded(Image.new("F", (20, 20)), "TIFF"),
    NAMED + ".*8 or 16 bits are needed",
)
add_image(
    "image",
    "16-bit PNG",
    "bad.png",
    lambda: encoded(Image.fromarray(np.full((9, 9), 40_000, np.uint16)), "PNG"),
    TRAINED,
    0,
)
add_image("image", "palette PNG", "bad.png", lambda: encoded(image().quantize(16), "PNG"), TRAINED, 0)
add_image("image", "CMYK JPEG", "bad.jpg", lambda: encoded(image().convert("CMYK"), "JPEG"), TRAINED, 0)
add_image(
    "image",
    "animated GIF",
    "bad.gif",
    lambda: encoded(image(), "GIF", save_all=True, append_images=[image(1)]),
    TRAINED,
    0,
)
add_image("image", "1 x 1 pixel", "bad.png", lambda: encoded(image(0, (1, 1)), "PNG"), TRAINED, 0)
add_image("image", "1 x 4,000 pixels", "bad.png", lambda: encoded(image(0, (4000, 1)), "PNG"), TRAINED, 0)


@fault(
    "image",
    "two damaged ones, two allowed",
    r"warning: 2 images are skipped \(--dataset\.max-skipped 2\): .*a\.png.*b\.png",
    0,
)
def two_of_two(folder: Path) -> list[str]:
    return on(two_damaged(folder), "--dataset.max-skipped", "2")


@fault("image", "two damaged ones, one allowed", r"--dataset\.max-skipped 1: more cannot be decoded: .*a\.png.*b\.png")
def two_of_one(folder: Path) -> list[str]:
    return on(two_damaged(folder), "--dataset.max-skipped", "1")


def two_damaged(folder: Path) -> Path:
    """A folder of images two of which are empty files."""
    images = holiday(folder)
    for name in ("a.png", "b.png"):
        (images / name).write_bytes(b"")
    return images


@fault("image", "spaces, quotes and unicode in paths", TRAINED, 0)
def odd_paths(folder: Path) -> list[str]:
    images = holiday(folder).rename(folder / "ein 'schöner' Täg 日本 #1 %20")
    image(99).save(images / "bild\N{COMBINING DIAERESIS} & co.png")
    return on(images)


@fault(
    "image",
    "[ in a path",
    r"--dataset\.path .*: \*, \? and \[ in a folder's path are read as a pattern; rename the folder",
)
def pattern(folder: Path) -> list[str]:
    return on(holiday(folder).rename(folder / "images [old]"))


# data sets


def table(folder: Path, **columns: object) -> Path:
    """Images and other columns as train.parquet and test.parquet in a folder."""
    path = folder / "set"
    path.mkdir(exist_ok=True)
    content = {"image": [image(number) for number in range(24)], **columns}
    data = datasets.Dataset.from_dict(content).cast_column("image", datasets.Image())
    for split in ("train", "test"):
        data.to_parquet(path / f"{split}.parquet")
    return path


def labeled(path: Path, *more: str) -> list[str]:
    """Train on images with labels and score."""
    return [*on(path, "--dataset.unlabeled", "false", "--dataset.test", "test"), *more]


@fault("data set", "column that is not there", r"--dataset\.image pictur: no such column; available: image, label")
def wrong_column(folder: Path) -> list[str]:
    return labeled(table(folder, label=[0, 1] * 12), "--dataset.image", "pictur")


@fault("data set", "column that holds no images", r"--dataset\.image label: a column of .*, not of images")
def column_without_images(folder: Path) -> list[str]:
    return labeled(table(folder, label=[0, 1] * 12), "--dataset.image", "label")


@fault("data set", "column that holds no labels", r"--dataset\.label x: a column of .*, not of class numbers or names")
def column_without_labels(folder: Path) -> list[str]:
    return labeled(table(folder, x=[0.5] * 24), "--dataset.label", "x")


@fault("data set", "labels missing, evaluation asked for", r"evaluate: .* has no labels, which this protocol needs")
def labels_missing(folder: Path) -> list[str]:
    return [
        "evaluate",
        "--backbone",
        "test_resnet",
        "--untrained",
        *labeled(table(folder))[:4],
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
    cells = [{"bytes": encoded(image(number), "PNG"), "path": None} for number in range(24)]
    labels = [0, 1, 0, 9, *[0, 1] * 10]
    features = datasets.Features(image=datasets.Image(), label=datasets.ClassLabel(names=["cat", "dog"]))
    schema = features.arrow_schema
    for split in ("train", "test"):
        pq.write_table(
            pa.table({"image": pa.array(cells, schema.field("image").type), "label": pa.array(labels)}, schema=schema),
            path / f"{split}.parquet",
        )
    return labeled(path)


@fault("data set", "split that is not there", r"--dataset\.train trian: no such split; .* has train, test")
def wrong_split(folder: Path) -> list[str]:
    return labeled(table(folder, label=[0, 1] * 12), "--dataset.train", "trian")


@fault("data set", "parquet cut short", r"--dataset\.path .*/set: not readable: .*[Pp]arquet")
def cut_parquet(folder: Path) -> list[str]:
    path = table(folder, label=[0, 1] * 12)
    (path / "train.parquet").write_bytes((path / "train.parquet").read_bytes()[:200])
    return labeled(path)


@fault("data set", "empty folder", r"--dataset\.path .*/empty: contains no images")
def empty_folder(folder: Path) -> list[str]:
    (folder / "empty").mkdir()
    return on(folder / "empty")


@fault("data set", "no such folder", r"--dataset\.path .*/nowhere: no such file or folder")
def no_folder(folder: Path) -> list[str]:
    return on(folder / "nowhere")


@fault(
    "data set",
    "fewer images than one batch",
    r"--batch-size 64: one batch needs 64 images, but the training split has 24; use at most 24",
)
def small_set(folder: Path) -> list[str]:
    return on(holiday(folder), "--batch-size", "64")


@fault(
    "data set",
    "fewer images than the queue",
    r"warning: method\.queue_size = 160: the queue is larger than the data set",
    0,
)
def small_for_the_queue(folder: Path) -> list[str]:
    return on(holiday(folder), "--method.queue-size", "160")


@fault("data set", "last batch not full", r"step 2/2", 0)
def uneven(folder: Path) -> list[str]:
    return on(holiday(folder), "--batch-size", "10")


@fault("data set", "name on the Hub, HF_HUB_OFFLINE=1", r"--dataset\.path someone/images: ")
def hub_offline(folder: Path) -> list[str]:
    return on("someone/images")


@fault(
    "data set",
    "folder with a program of its own",
    r"--dataset\.path .*/images: not readable: .* scripts are no longer supported",
)
def program(folder: Path) -> list[str]:
    images = holiday(folder)
    (images / "images.py").write_text(f"open({str(folder / 'ran')!r}, 'w')\n")
    return on(images)


@fault("data set", "archive whose paths lead outside", TRAINED, 0)
def archive(folder: Path) -> list[str]:
    images = holiday(folder)
    with zipfile.ZipFile(images / "more.zip", "w") as bundle:
        bundle.writestr("../../../../ran", b"outside")
        bundle.writestr("25.png", encoded(image(25), "PNG"))
    return on(images)


# weights


def weights(what: str, says: str) -> Callable[[Callable[[Path], object]], None]:
    """A fault of a file of weights."""

    def add(write: Callable[[Path], object]) -> None:
        @fault("weights", what, says)
        def make(folder: Path) -> list[str]:
            file = folder / "weights.safetensors"
            written = write(file)
            return on(holiday(folder), "--backbone.checkpoint", str(written or file))

    return add


@weights("another model's", r"--backbone\.checkpoint .*: weights of another model: .*these are tensors of resnet18")
def other_model(file: Path) -> None:
    save_file(timm.create_model("resnet18", num_classes=0).state_dict(), file)


@weights("damaged safetensors", r"--backbone\.checkpoint .*: cannot be read as weights: ")
def damaged_safetensors(file: Path) -> None:
    save_file({"conv1.weight": torch.zeros(64)}, file)
    file.write_bytes(file.read_bytes()[:-100])


@weights("not finite", r"--backbone\.checkpoint .*: layer4\.0\.conv1\.weight has NaN or Inf: the file is damaged")
def weights_not_finite(file: Path) -> None:
    settings = {"in_chans": 3, "img_size": 16}
    model = create_backbone(BackboneConfig(name="resnet10t", kwargs={"channels": [8, 8, 8, 8]}), **settings)
    state = model.state_dict()
    state["layer4.0.conv1.weight"][0, 0] = torch.inf
    save_file({name: value.contiguous() for name, value in state.items()}, file)


class Runs:
    """Makes a file when it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[object, ...]:
        return open, (str(self.file), "w")


@weights(
    "pickle that would run code", r"it contains more than tensors \(.*open\), which could run code and is never loaded"
)
def evil(file: Path) -> Path:
    torch.save({"state_dict": {}, "x": Runs(file.parent / "ran")}, file.with_suffix(".pt"))
    return file.with_suffix(".pt")


@weights("empty file", r"--backbone\.checkpoint .*: cannot be read as weights: ")
def no_weights(file: Path) -> None:
    file.write_bytes(b"")


# settings


def setting(what: str, flags: str, says: str) -> None:
    """A fault of settings."""

    @fault("setting", what, says)
    def make(folder: Path) -> list[str]:
        for name, content in FILES.items():
            (folder / name).write_bytes(content)
        return [word.replace("HERE", str(folder)) for word in flags.split()]


FILES = {
    "broken.yaml": b"epochs: [1\nseed: 3",
    "binary.yaml": bytes(range(256)),
    "list.yaml": b"- epochs\n- 3\n",
    "empty.yaml": b"",
    "unknown.yaml": b"epoch: 3\n",
    "twice.yaml": b"epochs: 3\nepochs: 4\n",
    "python.yaml": b"epochs: !!python/object/apply:os.system ['touch ran']\n",
}
setting("unknown flag", "--epoch 3", r"Unrecognized options: --epoch, 3; did you mean --epochs or ")
setting("word for a number", "--epochs many", r"--epochs: 'many' is not a whole number")
setting(
    "number out of range", "--method.momentum 1.5", r"method\.momentum = 1\.5: input should be less than or equal to 1"
)
setting("learning rate nan", "--optimizer.lr nan", r"optimizer\.lr = nan: input should be a finite number")
setting("learning rate inf", "--optimizer.lr inf", r"optimizer\.lr = inf: input should be a finite number")
setting("no epochs", "--epochs 0", r"epochs = 0: ")
setting("method that is not there", "--method asl", r"--method asl: .*did you mean ascl")
setting("target that a method does not take", "--method barlow-twins --target hard", r"--target hard: ")
setting(
    "flag of another method",
    "--method simclr --method.queue-size 64",
    r"Unrecognized options: --method\.queue-size, 64; simclr has --method\.views, ",
)
setting("YAML cut short", "--config HERE/broken.yaml", r"broken\.yaml: not readable as YAML: line 2: expected")
setting("binary file as config", "--config HERE/binary.yaml", r"binary\.yaml: not readable as YAML: ")
setting("list as config", "--config HERE/list.yaml", r"list\.yaml: a config must be a mapping of settings, not a list")
setting(
    "unknown key in a config",
    "--config HERE/unknown.yaml",
    r"unknown\.yaml: epoch: no such setting; did you mean epochs\?",
)
setting(
    "key twice in a config",
    "--config HERE/twice.yaml",
    r"twice\.yaml: not readable as YAML: line 2: epochs is given twice",
)
setting(
    "YAML that would run code",
    "--config HERE/python.yaml",
    r"python\.yaml: not readable as YAML: line 1: could not determine a constructor",
)


# places


@fault(
    "place",
    "cache that cannot be written",
    r"--dataset\.cache-dir .*/file/cache: Not a directory; name another folder, or decode on every read",
)
def cache_in_a_file(folder: Path) -> list[str]:
    (folder / "file").write_text("")
    return on(holiday(folder), "--dataset.cache-dir", str(folder / "file" / "cache"))


@fault("place", "run folder that cannot be made", r"--run-folder .*/file/run: cannot be written: Not a directory")
def run_in_a_file(folder: Path) -> list[str]:
    (folder / "file").write_text("")
    return on(holiday(folder), "--run-folder", str(folder / "file" / "run"))


@fault("place", "run folder with something in it", r"--run-folder .*/images: is not empty")
def run_in_the_images(folder: Path) -> list[str]:
    images = holiday(folder)
    return on(images, "--run-folder", str(images))


@fault("place", "resume where no run is", r"--resume .*/images: not a run folder")
def resume_nothing(folder: Path) -> list[str]:
    return ["--resume", str(holiday(folder))]


@fault(
    "place",
    "weights gone from a run that is judged",
    r"evaluate .*/run: the run is not finished, it has no backbone\.safetensors",
)
def evaluate_unfinished(folder: Path) -> list[str]:
    run = folder / "run"
    assert call(on(holiday(folder), "--run-folder", str(run)), folder).code == 0
    (run / "backbone.safetensors").unlink()
    return ["evaluate", str(run)]


# numbers


@fault(
    "number",
    "learning rate far too high",
    r"step \d+: .* is NaN or Inf; a new run needs a lower optimizer\.lr than 1e\+25; .*/run",
)
def diverges(folder: Path) -> list[str]:
    return on(
        holiday(folder),
        "--optimizer",
        "sgd",
        "--optimizer.lr",
        "1e25",
        "--run-folder",
        str(folder / "run"),
        "--epochs",
        "4",
    )


@fault("number", "queue that does not fit in memory", r"out of memory, could not allocate \d+ bytes; a smaller", 1)
def enormous(folder: Path) -> list[str]:
    return on(holiday(folder), "--method.queue-size", str(10**13))


# checkpoints


def two_checkpoints(folder: Path) -> tuple[Path, list[Path]]:
    """A run of three epochs that was stopped before its scoring, with checkpoints of steps 6 and 9."""
    run = folder / "run"
    words = on(holiday(folder), "--run-folder", str(run), "--epochs", "3", "--save-every", "3")
    assert call(words, folder).code == 0
    return run, sorted((run / "checkpoints").glob("step-*"))


@fault(
    "checkpoint", "newest damaged", r"warning: step-00000009: model\.safetensors has changed; going on from step 6", 0
)
def newest_damaged(folder: Path) -> list[str]:
    run, (_, newest) = two_checkpoints(folder)
    file = newest / "model.safetensors"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    return ["--resume", str(run)]


@fault(
    "checkpoint",
    "newest without one of its files",
    r"warning: step-00000009: optimizer\.bin is missing; going on from step 6",
    0,
)
def newest_without_file(folder: Path) -> list[str]:
    run, (_, newest) = two_checkpoints(folder)
    (newest / "optimizer.bin").unlink()
    return ["--resume", str(run)]


@fault(
    "checkpoint",
    "all damaged",
    r"/checkpoints: no checkpoint is whole \(step-00000009: model\.safetensors has changed\)",
)
def all_damaged(folder: Path) -> list[str]:
    run, checkpoints = two_checkpoints(folder)
    for checkpoint in checkpoints:
        (checkpoint / "model.safetensors").write_bytes(b"")
    return ["--resume", str(run)]


@fault(
    "checkpoint",
    "pickle that would run code, and its checksum with it",
    r"step-00000009: holds more than tensors .*never loaded",
)
def evil_checkpoint(folder: Path) -> list[str]:
    run, checkpoints = two_checkpoints(folder)
    for checkpoint in checkpoints:
        file = checkpoint / "optimizer.bin"
        file.write_bytes(pickle.dumps(Runs(folder / "ran")))
        sums = json.loads((checkpoint / "checksums.json").read_text())
        sums["optimizer.bin"] = hashlib.sha256(file.read_bytes()).hexdigest()
        (checkpoint / "checksums.json").write_text(json.dumps(sums))
    return ["--resume", str(run)]


@fault(
    "checkpoint",
    "resume with other settings",
    r"--resume .*/run: a resumed run keeps its settings, and seed was 0, is 1",
)
def resume_otherwise(folder: Path) -> list[str]:
    run, _ = two_checkpoints(folder)
    return ["--resume", str(run), "--seed", "1"]


# while a run is under way


Befall = Callable[[subprocess.Popen[str], Path], Done | None]


@dataclass(frozen=True, kw_only=True)
class Running(Fault):
    """A fault that befalls a run on its way; `make` gives the words of the run, in the folder `run`."""

    befall: Befall
    """Called when the run has done three steps; returns another command's end where that is what is seen."""
    launcher: tuple[str, ...] = ()
    file_size: int = resource.RLIM_INFINITY
    """The largest file that the run may write, in bytes: a disk that is full."""


RUNNING: list[Running] = []
TWO = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")
SAVED = r"^stopped at step \d+ of 3000, saved; --resume .*/run continues it$"


def long(folder: Path) -> list[str]:
    """A run that does not end by itself soon."""
    words = ["--epochs", "1000", "--log-every", "1", "--save-every", "1", "--run-folder", str(folder / "run")]
    return on(holiday(folder), *words)


def befalls(what: str, says: str, code: int, **more: Any) -> Callable[[Befall], None]:
    """Add a function that does something to a run to the list."""
    return lambda befall: RUNNING.append(
        Running(kind="process", what=what, says=says, code=code, befall=befall, **({"make": long} | more))
    )


def signalled(what: str, number: signal.Signals, says: str, code: int, **more: Any) -> None:
    """A run that gets a signal."""

    @befalls(what, says, code, **more)
    def befall(process: subprocess.Popen[str], folder: Path) -> Done | None:
        process.send_signal(number)


signalled("Ctrl-C", signal.SIGINT, SAVED, 130)
signalled("SIGTERM", signal.SIGTERM, SAVED, 143)
signalled("SIGUSR1", signal.SIGUSR1, SAVED, 138)
signalled("SIGTERM to the launcher of two processes", signal.SIGTERM, SAVED, 1, launcher=TWO)
signalled("SIGKILL", signal.SIGKILL, "^$", -signal.SIGKILL)


@befalls("Ctrl-C, and a second one at once", "", -signal.SIGINT)
def twice(process: subprocess.Popen[str], folder: Path) -> Done | None:
    for _ in range(1000):
        process.send_signal(signal.SIGINT)
        if process.poll() is not None:
            return
        time.sleep(0.001)


@befalls("a second run in its folder", r"^error: .*/run: another run is writing there; it has to end first$", 2)
def second(process: subprocess.Popen[str], folder: Path) -> Done | None:
    process.send_signal(signal.SIGSTOP)
    done = call(["--resume", str(folder / "run")], folder)
    process.kill()
    return done


@befalls(
    "no space for checkpoints and weights",
    r"^stopped at step 9 of 9, NOT saved \(.*\); no checkpoint is yet in .*/run$",
    130,
    make=lambda folder: [*long(folder), "--epochs", "3", "--dataset.cache", "none", "--dataset.workers", "0"],
    file_size=10_000,
)
def full(process: subprocess.Popen[str], folder: Path) -> Done | None:
    while '"step": 9' not in (folder / "run" / "metrics.jsonl").read_text():
        time.sleep(0.1)
    time.sleep(1)
    process.send_signal(signal.SIGINT)


@befalls(
    "another process of the run dies",
    r"^error: process 0: another process of the run has exited; .*--resume",
    1,
    launcher=TWO,
)
def peer(process: subprocess.Popen[str], folder: Path) -> Done | None:
    for child in psutil.Process(process.pid).children(recursive=True):
        if child.environ().get("LOCAL_RANK") == "1":
            child.kill()


def environment(folder: Path) -> dict[str, str]:
    """The environment of a command, with caches and runs below the folder."""
    return os.environ | {
        "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true", "HF_HUB_OFFLINE": "1", "COLUMNS": "200",
        "SSLZOO_CACHE": str(folder / "cache"), "HF_DATASETS_CACHE": str(folder / "datasets"),
    }  # fmt: skip


def call(words: list[str], folder: Path) -> Done:
    """Run the command line."""
    command = [sys.executable, str(ROOT / "run.py"), *words]
    done = subprocess.run(command, cwd=folder, env=environment(folder), capture_output=True, text=True, timeout=300)
    return Done(done.returncode, done.stdout, done.stderr)


def call_and_meddle(fault: Running, folder: Path) -> Done:
    """Start a run, and have the fault befall it."""
    limit = functools.partial(resource.setrlimit, resource.RLIMIT_FSIZE, (fault.file_size, fault.file_size))
    process = subprocess.Popen(
        [sys.executable, *fault.launcher, str(ROOT / "run.py"), *fault.make(folder)],
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
    seen = fault.befall(process, folder)
    printed, said = process.communicate(timeout=120)
    return seen or Done(process.returncode, printed, said)


def status(code: int) -> int:
    """A command's exit status as a shell shows it, which is 128 + n where signal n ended it."""
    return code if code >= 0 else 128 - code


def seen(fault: Fault, done: Done, folder: Path) -> str:
    """The line that tells of the fault."""
    lines = [*done.stdout.splitlines(), *done.stderr.splitlines()]
    told = [line for line in lines if line.startswith(("warning: ", "error: ", "stopped "))]
    return ("<br>".join(dict.fromkeys(told)) or ("trains" if done.code == 0 else "nothing")).replace(
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
            done = call_and_meddle(fault, folder) if isinstance(fault, Running) else call(fault.make(folder), folder)
            told = seen(fault, done, folder).replace("|", "\\|")
            print(f"| {fault.kind} | {fault.what} | {status(done.code)} | {told} |", flush=True)


if __name__ == "__main__":
    main()
