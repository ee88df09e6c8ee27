"""All comparisons with other libraries: augmentation, decoding, training step, loss, evaluation.

    pip install '.[bench]'
    python benchmarks/table.py
    python benchmarks/table.py --threads 2 --batch 128

Ratios compare functions that ran in turn. It takes about ten minutes on one core. The parts can be run separately:
augment.py, decode.py, step.py, loss.py, evaluation.py.
"""

from importlib.metadata import version

import augment
import decode
import evaluation
import loss
import step
from rich.console import Console
from rounds import parse_arguments, show

from sslzoo.runtime.environment import commit, device_name

PACKAGES = ("torch", "torchvision", "timm", "lightly", "kornia", "numba", "scikit-learn")


def main() -> None:
    """Print all tables and the conditions of the measurement."""
    asked = parse_arguments(__doc__, batch=64)
    console = Console(width=120)
    for size, images in ((32, 256), (224, 16)):
        show(console, augment.create_comparison(images, size), augment.REPEATS)
    decode.report(console)
    step.report(console, asked.batch, asked.threads)
    for queue in (4096, 65536):
        show(console, loss.create_comparison(256, queue), loss.REPEATS)
    evaluation.report(console, 20_000, 2_000)
    versions = ", ".join(f"{package} {version(package)}" for package in PACKAGES)
    console.print(f"{versions}; {device_name()}, {asked.threads} threads; commit {commit()}", soft_wrap=True)


if __name__ == "__main__":
    main()
