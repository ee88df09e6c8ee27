"""Command-line arguments of `run.py augmentations`."""

from argparse import Namespace
from pathlib import Path

from sslzoo.config.arguments import ArgumentParser
from sslzoo.experiment.compose import compose
from sslzoo.experiment.schema import Experiment
from sslzoo.runtime.errors import UserError

HELP = """
Draw training images and the views that a method would be trained on. Accepts all flags of a training run, such as
--method dino --dataset cifar10 or --config RUN/config.yaml, and:

  --images N    number of images (default: 8)
  --epoch N     epoch of training whose views are drawn, from 0 (default: 0)
  --output FILE the figure, a .png file (default: augmentations-METHOD-DATASET.png)
"""
MAX_IMAGES = 64


def parse_request(words: list[str]) -> tuple[Namespace, Experiment]:
    """Parse the arguments of the command and the settings of the run.

    Raises:
        UserError: a flag or a value is invalid.
        SystemExit: after `--help`.
    """
    own = ArgumentParser(prog="run.py augmentations", add_help=False)
    own.add_argument("--images", type=int, default=8)
    own.add_argument("--epoch", type=int, default=0)
    own.add_argument("--output", type=Path)
    asked, flags = own.parse_known_args(words)
    if "--help" in flags or "-h" in flags:
        print(HELP)
    if not 1 <= asked.images <= MAX_IMAGES:
        raise UserError(f"--images {asked.images}: must be from 1 to {MAX_IMAGES}")
    if asked.epoch < 0:
        raise UserError(f"--epoch {asked.epoch}: must be 0 or above")
    if asked.output is not None and asked.output.suffix.lower() != ".png":
        raise UserError(f"--output {asked.output}: must end in .png")
    return asked, compose(flags, prog="run.py augmentations")
