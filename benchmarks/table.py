"""All comparisons in one run: views, decoding, a training step, the loss, evaluation, each beside named peers.

    pip install '.[bench]'
    python benchmarks/table.py
    python benchmarks/table.py --threads 2 --batch 128

Every ratio is of things that ran in turn in this run. It takes some ten minutes on one core; the parts are commands of
their own: augment.py, decode.py, step.py, loss.py, evaluation.py.
"""

import argparse
from importlib.metadata import version

import augment
import decode
import evaluation
import loss
import step
import torch
from rich.console import Console
from rounds import show

from sslzoo.environment import commit, device_name

PACKAGES = ("torch", "torchvision", "timm", "lightly", "kornia", "numba", "scikit-learn")


def main() -> None:
    """Print all tables, and what they depend on."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=64, help="pictures of the training step")
    parser.add_argument("--threads", type=int, default=1)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    console = Console(width=120)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    for size, pictures in ((32, 256), (224, 16)):
        show(console, augment.comparison(pictures, size), augment.REPEATS)
    decode.report(console)
    step.report(console, asked.batch, asked.threads)
    for queue in (4096, 65536):
        show(console, loss.comparison(256, queue, device), loss.REPEATS)
    evaluation.report(console, 20_000, 2_000)
    versions = ", ".join(f"{package} {version(package)}" for package in PACKAGES)
    console.print(f"{versions}; {device_name()}, {asked.threads} threads; commit {commit()}", soft_wrap=True)


if __name__ == "__main__":
    main()
