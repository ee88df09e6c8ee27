"""Ways to make a run faster: measured where possible, suggested otherwise."""

import os
from collections.abc import Iterator
from importlib.util import find_spec
from shutil import which
from typing import NamedTuple

import torch

from sslzoo.data.load import Data
from sslzoo.experiment.schema import Experiment
from sslzoo.plan.measure import AUGMENT, COMMUNICATION, DATA, Measured
from sslzoo.runtime.distributed import world_size

WORTH_IT = 0.1
"""Share of a step below which a part is not worth a word."""

LONG = 600
"""Seconds of a training that is worth compiling for."""

GROUPS = (DATA, AUGMENT, "compute", COMMUNICATION)


class Suggestion(NamedTuple):
    """A change that may help."""

    flags: str
    """As the user would give them."""
    changes: dict[str, object]
    """The settings that they change."""
    note: str
    """What else it changes."""


def groups(measured: Measured) -> dict[str, float]:
    """Shares of a step of data, augment, compute and communication."""
    whole = sum(measured.parts.values())
    shares = dict.fromkeys(GROUPS, 0.0)
    for name, seconds in measured.parts.items():
        shares[name if name in shares else "compute"] += seconds / whole
    return shares


def suggestions(
    experiment: Experiment, device: torch.device, shares: dict[str, float], training: float
) -> Iterator[Suggestion]:
    """Changes that are worth measuring on this machine.

    Args:
        training: seconds of the whole run as it is; to compile takes a minute or more.
    """
    on_cpu = device.type == "cpu"
    if experiment.precision == "fp32":
        yield Suggestion("--precision bf16", {"precision": "bf16"}, "encoders calculate with 8 bits of mantissa")
    if on_cpu and not experiment.compile_augmentations and shares[AUGMENT] > WORTH_IT and find_spec("numba"):
        yield Suggestion("--compile-augmentations true", {"compile_augmentations": True}, "views equal to rounding")
    if not experiment.compile and training > LONG and (not on_cpu or which("g++") or which("clang")):
        yield Suggestion("--compile", {"compile": True}, "equal to rounding")


def hints(experiment: Experiment, data: Data, device: torch.device, shares: dict[str, float]) -> Iterator[str]:
    """What to do that is not tried here."""
    dataset = experiment.dataset
    if shares[DATA] > WORTH_IT:
        if not getattr(data.train, "decoded", False):
            yield (
                f"images are decoded as they are read: more than --dataset.workers {dataset.workers}, a smaller "
                "--dataset.short-side, or --dataset.cache memory-map where there is disk for it"
            )
        else:
            yield "decoded images are waited for: a faster disk for --dataset.cache-dir, or more memory"
    if (
        device.type == "cpu"
        and shares[AUGMENT] > WORTH_IT
        and not experiment.compile_augmentations
        and not find_spec("numba")
    ):
        yield "pip install numba, which --compile-augmentations auto makes the views with"
    if shares[COMMUNICATION] > WORTH_IT:
        yield "fewer, larger steps: --accumulate with a larger --batch-size"
    cores = len(os.sched_getaffinity(0))
    if device.type == "cpu" and world_size() * torch.get_num_threads() < cores:
        yield f"{torch.get_num_threads()} threads of {cores} cores are used: --threads 0 takes all"
