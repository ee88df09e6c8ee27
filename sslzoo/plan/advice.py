"""Suggest flags and other changes that make a run faster."""

import os
from collections.abc import Iterator
from importlib.util import find_spec
from shutil import which
from typing import NamedTuple

import torch

from sslzoo.data.load import Data
from sslzoo.experiment.schema import Experiment
from sslzoo.plan.measure import AUGMENT, COMMUNICATION, DATA, Measurement
from sslzoo.runtime.distributed import world_size

MIN_SHARE = 0.1
"""Share of a step above which a part is worth a suggestion."""

MIN_COMPILE_SECONDS = 600
"""Training time in seconds above which compilation is worth its time."""

GROUPS = (DATA, AUGMENT, "compute", COMMUNICATION)


class Suggestion(NamedTuple):
    """Flags that may make a run faster."""

    flags: str
    """The flags, as on the command line."""
    changes: dict[str, object]
    """Values by setting, for `Experiment.model_copy`."""
    note: str
    """The effect on results."""


def group_shares(measured: Measurement) -> dict[str, float]:
    """Compute the shares of data, augment, compute and communication in a step."""
    total = sum(measured.parts.values())
    shares = dict.fromkeys(GROUPS, 0.0)
    for name, seconds in measured.parts.items():
        shares[name if name in shares else "compute"] += seconds / total
    return shares


def suggest_flags(
    experiment: Experiment, device: torch.device, shares: dict[str, float], training: float
) -> Iterator[Suggestion]:
    """Suggest flags that are worth measuring on this machine.

    Args:
        shares: shares of a step, from `group_shares`.
        training: estimated training time in seconds; compilation takes a minute or more.
    """
    on_cpu = device.type == "cpu"
    if experiment.precision == "fp32":
        yield Suggestion("--precision bf16", {"precision": "bf16"}, "encoders compute with 8 bits of mantissa")
    if on_cpu and not experiment.compile_augmentations and shares[AUGMENT] > MIN_SHARE and find_spec("numba"):
        yield Suggestion("--compile-augmentations true", {"compile_augmentations": True}, "views equal to rounding")
    if not experiment.compile and training > MIN_COMPILE_SECONDS and (not on_cpu or which("g++") or which("clang")):
        yield Suggestion("--compile", {"compile": True}, "equal to rounding")


def list_hints(experiment: Experiment, data: Data, device: torch.device, shares: dict[str, float]) -> Iterator[str]:
    """List changes that cannot be measured here."""
    dataset = experiment.dataset
    if shares[DATA] > MIN_SHARE:
        if not getattr(data.train, "decoded", False):
            yield (
                f"images are decoded on the fly: use more than --dataset.workers {dataset.workers}, a smaller "
                "--dataset.short-side, or --dataset.cache memory-map if the disk has room"
            )
        else:
            yield "training waits for decoded images: use a faster disk for --dataset.cache-dir, or more memory"
    if (
        device.type == "cpu"
        and shares[AUGMENT] > MIN_SHARE
        and not experiment.compile_augmentations
        and not find_spec("numba")
    ):
        yield "pip install numba, which --compile-augmentations auto uses"
    if shares[COMMUNICATION] > MIN_SHARE:
        yield "use fewer, larger steps: --accumulate with a larger --batch-size"
    cores = len(os.sched_getaffinity(0))
    if device.type == "cpu" and world_size() * torch.get_num_threads() < cores:
        yield f"{torch.get_num_threads()} threads on {cores} cores are in use: --threads 0 uses all"
