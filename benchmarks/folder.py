"""List a folder of many image files: files per second, and memory per file.

    python benchmarks/folder.py --files 100000 1000000

The files are hard links to a few small PNGs, 1,000 in a class folder. Memory is the peak of a process that lists the
folder and creates the table of a split, less that of one that lists a single file.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image
from rich.console import Console

PER_FOLDER = 1_000
LINKS = 50_000
"""Links to one file; file systems permit at least 65,000."""


def create_files(root: Path, count: int) -> None:
    """Create `count` image files in class folders."""
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    for number in range(count):
        folder = root / f"class-{number // PER_FOLDER:05d}"
        if number % PER_FOLDER == 0:
            folder.mkdir(parents=True)
        if number % LINKS == 0:
            original = folder / "original.png"
            Image.fromarray(pixels).save(original)
        else:
            (folder / f"{number % PER_FOLDER:04d}.png").hardlink_to(original)


def measure(folder: Path) -> tuple[float, int]:
    """List a folder in a process of its own; return its seconds without imports, and its peak memory in bytes."""
    command = [sys.executable, __file__, "--list", str(folder)]
    seconds, memory = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-2:]
    return float(seconds), int(memory)


def list_and_report(folder: Path) -> None:
    """Print the seconds that listing a folder takes, and the peak memory of this process in bytes."""
    from sslzoo.data.folder import ImageFolder, list_folder

    started = time.perf_counter()
    images = ImageFolder(folder, list_folder(folder))
    images.load("train")
    print(time.perf_counter() - started, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, nargs="+", default=[100_000], help="numbers of files")
    parser.add_argument("--list", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.list is not None:
        list_and_report(arguments.list)
        return
    console = Console()
    with tempfile.TemporaryDirectory() as folder:
        create_files(Path(folder) / "1", 1)
        _, base = measure(Path(folder) / "1")
        for count in arguments.files:
            root = Path(folder) / str(count)
            create_files(root, count)
            seconds, memory = measure(root)
            console.print(
                f"{count:,} files: {seconds:.1f} s, {count / seconds:,.0f} files/s, peak memory"
                f" {memory / 2**20:,.0f} MiB, {(memory - base) / count:,.0f} bytes per file",
                highlight=False,
            )


if __name__ == "__main__":
    main()
