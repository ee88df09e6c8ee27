"""Memory and speed of `run.py embed` on many small images, beside the feature extraction of `evaluate`.

    python benchmarks/embed.py
    python benchmarks/embed.py --images 10000 --format parquet
    python benchmarks/embed.py --folder FOLDER              writes the images there, and uses them again

The images are PNG files of 32 pixels, 100 to a folder. The encoder is a narrow ResNet with random weights and features
of dimension 512, so that decoding and writing are a large part of the work. Memory is that of the process and its
decoding workers together; what they share counts once (PSS).
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import psutil
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
ENCODER = ["--untrained", "--backbone", "resnet10t", "--backbone.stem", "standard"]
ENCODER += ["--backbone.kwargs", "{channels: [8, 8, 16, 512]}"]
PERIOD = 1.0
"""Seconds between two measurements of memory."""


class Measured(NamedTuple):
    """Memory of a command over its duration."""

    seconds: list[float]
    megabytes: list[float]
    shards: list[int]
    """Number of finished shards at these times."""
    output: str


def write_images(folder: Path, count: int) -> None:
    """Write random images of 32 pixels."""
    generator = np.random.default_rng(0)
    for number in range(count):
        file = folder / f"{number // 100:05d}" / f"image-{number:08d}.png"
        if number % 100 == 0:
            file.parent.mkdir(parents=True, exist_ok=True)
        coarse = Image.fromarray(generator.integers(0, 255, (4, 4, 3), dtype=np.uint8))
        coarse.resize((32, 32), Image.Resampling.BILINEAR).save(file, compress_level=1)


def measure(words: Sequence[str], partial: Path) -> Measured:
    """Run a command, and measure its memory; `partial` is the folder of its shards."""
    with tempfile.TemporaryFile("w+") as output:
        process = psutil.Popen([sys.executable, *words], cwd=ROOT, stdout=output, stderr=subprocess.STDOUT)
        started, seconds, megabytes, shards = time.monotonic(), [], [], []
        while process.poll() is None:
            total = 0
            for part in [process, *process.children(recursive=True)]:
                try:
                    total += part.memory_full_info().pss
                except (psutil.NoSuchProcess, psutil.AccessDenied):
                    continue
            seconds.append(time.monotonic() - started)
            megabytes.append(total / 1e6)
            shards.append(len(list(partial.glob("*.f32"))))
            time.sleep(PERIOD)
        output.seek(0)
        text = output.read()
    if process.returncode:
        raise RuntimeError(text)
    return Measured(seconds, megabytes, shards, text)


def time_extraction(images: Path, words: Sequence[str], folder: Path) -> float:
    """Return the images/s of the feature extraction of `evaluate`, without the cache of decoded images."""
    from rich.console import Console

    from sslzoo.data.loader import ordered_batches
    from sslzoo.embedding.compose import compose_embedding
    from sslzoo.embedding.images import open_images, resolve_pixels
    from sslzoo.evaluation.encoder import create_encoder, create_feature_store
    from sslzoo.evaluation.transform import choose_transform
    from sslzoo.runtime.launch import create_accelerator, prepare_cpu
    from sslzoo.runtime.progress import Steps

    words = [*words, "--images", str(images), "--dataset.cache-dir", str(folder / "cache")]
    job = resolve_pixels(compose_embedding(words, needs_output=False))
    prepare_cpu(job.threads)
    accelerator = create_accelerator(job.precision)
    transform = choose_transform(job)
    opened = open_images(job, transform)
    encoder, _ = create_encoder(job, transform)
    encoder.to(accelerator.device)
    store = create_feature_store(job, encoder, transform, accelerator)
    next(iter(ordered_batches(opened.subset(np.arange(8)), 8)))
    started = time.monotonic()
    store.load_features(opened, transform, Steps(Console(quiet=True), "features", len(opened)))
    return len(opened) / (time.monotonic() - started)


def show(measured: Measured, count: int) -> None:
    """Print the memory over time, and the speed."""
    print("\n".join(line for line in measured.output.splitlines() if "float32" in line or "device" in line))
    print("\nMemory over the duration of the command:\n")
    print("| time | " + " | ".join(f"{10 * tenth} %" for tenth in range(1, 11)) + " |")
    print("|---|" + "---:|" * 10)
    parts = np.array_split(np.array(measured.megabytes), 10)
    print("| MB, maximum | " + " | ".join(f"{part.max():,.0f}" for part in parts) + " |")
    shards, seconds = np.array(measured.shards), np.array(measured.seconds)
    done, at = shards[shards > 0], seconds[shards > 0]
    last = int(done.argmax())
    speed = count * (done[last] - done[0]) / done.max() / (at[last] - at[0])
    print(
        f"\nembed: {seconds[-1]:.0f} s with start and writing the file; {speed:,.0f} images/s from first to last shard"
    )


def main() -> None:
    """Create images, and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=100_000, help="number of images (default: 100,000)")
    parser.add_argument("--format", choices=("npz", "parquet", "faiss"), default="npz", help="format of the features")
    parser.add_argument("--workers", type=int, default=2, help="processes that decode (default: 2)")
    parser.add_argument("--threads", type=int, default=0, help="threads of the encoder (default: all cores)")
    parser.add_argument("--folder", type=Path, help="folder of the images (default: a temporary one)")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        images = asked.folder or folder / "images"
        if not images.is_dir():
            write_images(images, asked.images)
        words = [*ENCODER, "--img-size", "32", "--threads", str(asked.threads)]
        words += ["--dataset.workers", str(asked.workers), "--dataset.limit", str(asked.images)]
        print(f"{asked.images:,} images, {asked.format}, workers: {asked.workers}\n", flush=True)
        output = ["--images", str(images), "--output", str(folder / f"features.{asked.format}")]
        partial = folder / f"features.{asked.format}.partial"
        show(measure(["run.py", "embed", *words, *output], partial), asked.images)
        print(f"evaluate: {time_extraction(images, words, folder):,.0f} images/s, extraction alone")


if __name__ == "__main__":
    main()
