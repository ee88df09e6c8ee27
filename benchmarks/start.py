"""Seconds from the start of the command to the end of its first training step.

    python benchmarks/start.py --dataset cifar10 --dataset.path data/cifar10
    python benchmarks/start.py --dataset digits --threads 1

The first of the repeats may also decode the images and compile the augmentations; both are cached on disk. Each run is
stopped after its first line of metrics.jsonl.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console

from sslzoo.runtime.environment import device_name

ROOT = Path(__file__).resolve().parents[1]
REPEATS = 3
LIMIT = 900
"""Seconds after which a run is given up."""


def time_first_step(flags: list[str]) -> float:
    """Return the seconds until the metrics of the first step are on disk."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "run"
        words = [sys.executable, "run.py", *flags, "--log-every", "1", "--run-folder", str(folder)]
        start = time.monotonic()
        process = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        try:
            while not (metrics := folder / "metrics.jsonl").exists() or not metrics.read_text().strip():
                if process.poll() is not None or time.monotonic() - start > LIMIT:
                    sys.exit(f"no first step: {process.stderr.read() if process.stderr and process.poll() else 'slow'}")
                time.sleep(0.02)
            return time.monotonic() - start
        finally:
            process.kill()
            process.wait()


def main(flags: list[str]) -> None:
    """Print the time of each repeat."""
    if "--help" in flags:
        sys.exit(__doc__)
    console = Console()
    times = [time_first_step(flags or ["--dataset", "digits"]) for _ in range(REPEATS)]
    console.print(f"seconds to the first step: {', '.join(f'{seconds:.1f}' for seconds in times)}")
    console.print(f"{device_name()}; {' '.join(flags)}", soft_wrap=True)


if __name__ == "__main__":
    main(sys.argv[1:])
