"""All comparisons in one run: views, decoding, a training step, the loss, evaluation, each beside named peers.

    pip install '.[bench]'
    python benchmarks/table.py
    python benchmarks/table.py --threads 2 --batch 128

Every ratio is of things that ran in turn in this run. It takes some ten minutes on one core; the parts are commands of
their own: augment.py, decode.py, step.py, loss.py, evaluation.py.
"""

from importlib.metadata import version

import augment
import decode
import evaluation
import loss
import step
from rich.console import Console
from rounds import arguments, show

from sslzoo.runtime.environment import commit, device_name

PACKAGES = ("torch", "torchvision", "timm", "lightly", "kornia", "numba", "scikit-learn")


def main() -> None:
    """Print all tables, and what they depend on."""
    asked = arguments(__doc__, batch=64)
    console = Console(width=120)
    for size, images in ((32, 256), (224, 16)):
        show(console, augment.comparison(images, size), augment.REPEATS)
    decode.report(console)
    step.report(console, asked.batch, asked.threads)
    for queue in (4096, 65536):
        show(console, loss.comparison(256, queue), loss.REPEATS)
    evaluation.report(console, 20_000, 2_000)
    versions = ", ".join(f"{package} {version(package)}" for package in PACKAGES)
    console.print(f"{versions}; {device_name()}, {asked.threads} threads; commit {commit()}", soft_wrap=True)


if __name__ == "__main__":
    main()
