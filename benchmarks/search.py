"""Time, memory and recall of `run.py search duplicates` among more than a million features.

    python benchmarks/search.py
    python benchmarks/search.py --features 200000 --index exact

The features are random unit vectors around random centers, 100 to a center. Some are near-copies of others; the command
should find these pairs and no others. Features are passed as a file, so no image is decoded.
"""

import argparse
import csv
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
from numpy.typing import NDArray

from sslzoo import Embeddings

ROOT = Path(__file__).resolve().parents[1]
PER_CENTER = 100
COPIES = 1_000
SPREAD, NOISE = 0.5, 0.02
"""Standard deviations of an image from its center, and of a copy from its image, of vectors of norm about 1."""
THRESHOLD = 0.99
PERIOD = 0.5
"""Seconds between two measurements of memory."""


def create_features(count: int, dim: int) -> NDArray[np.float32]:
    """Create vectors (N, D) of norm about 1; the last `COPIES` are near-copies of the first ones."""
    generator = np.random.default_rng(0)

    def draw(rows: int, spread: float) -> NDArray[np.float32]:
        return generator.standard_normal((rows, dim), dtype=np.float32) * np.float32(spread / dim**0.5)

    centers = draw(-(-count // PER_CENTER), 1)
    vectors = np.repeat(centers, PER_CENTER, axis=0)[:count] + draw(count, SPREAD)
    vectors[-COPIES:] = vectors[:COPIES] + draw(COPIES, NOISE)
    return vectors


def measure(words: list[str]) -> tuple[float, int, str]:
    """Run a command; return its seconds, peak memory in bytes, and output."""
    with tempfile.TemporaryFile("w+") as output:
        started, peak = time.monotonic(), 0
        process = psutil.Popen([sys.executable, "run.py", *words], cwd=ROOT, stdout=output, stderr=subprocess.STDOUT)
        while process.poll() is None:
            peak = max(peak, process.memory_info().rss)
            time.sleep(PERIOD)
        output.seek(0)
        text = output.read()
    if process.returncode:
        raise RuntimeError(text)
    return time.monotonic() - started, peak, text


def main() -> None:
    """Create features, search, and print the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--features", type=int, default=1_200_000, help="number of features (default: 1,200,000)")
    parser.add_argument("--dim", type=int, default=128, help="dimension (default: 128)")
    parser.add_argument("--index", default="auto", choices=("auto", "exact", "approximate"))
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        file, folder = Path(name) / "features.npz", Path(name) / "search"
        Embeddings(create_features(asked.features, asked.dim)).save(file)
        words = ["search", "duplicates", str(file), "--threshold", str(THRESHOLD), "--index", asked.index]
        seconds, peak, text = measure([*words, "--folder", str(folder)])
        with (folder / "pairs.csv").open() as lines:
            pairs = list(csv.reader(lines))[1:]
    print("\n".join(line for line in text.splitlines() if line.startswith(("(", " images"))))
    size = 4 * asked.features * asked.dim / 2**20
    print(
        f"{len(pairs)} pairs, {COPIES} near-copies among {asked.features:,} features of {asked.dim} ({size:,.0f} MiB)"
    )
    print(f"{seconds:.0f} s, {peak / 2**20:,.0f} MiB at most")


if __name__ == "__main__":
    main()
