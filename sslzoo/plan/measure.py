"""Measure some steps of a run, as a whole and part by part."""

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from rich.console import Console
from torch import Tensor

from sslzoo.data.batch import Batch
from sslzoo.data.load import Data
from sslzoo.experiment.schema import Experiment
from sslzoo.method.pair import PairMethod
from sslzoo.modules.momentum import Teacher
from sslzoo.plan.clock import Clock, replace_method, synchronize
from sslzoo.runtime.distributed import world_size
from sslzoo.runtime.launch import run_on_main_process
from sslzoo.runtime.progress import Steps
from sslzoo.training.evaluator import Evaluator
from sslzoo.training.monitor import IntervalMeans
from sslzoo.training.record import peak_resident_bytes
from sslzoo.training.setup import create_learner, resolve_auto, start_accelerator
from sslzoo.training.step import Stepper

WARMUP_STEPS = 2
"""Steps before the measurement: they compile, fill caches and start workers."""
MIN_STEPS, MAX_STEPS = 3, 200
"""Limits of the number of measured steps."""
MAX_PART_STEPS = 10
"""Largest number of steps that are measured part by part."""
COLLECTIVES = ("all_gather", "all_reduce")
"""Functions of torch.distributed with which sslzoo communicates."""

DATA, AUGMENT, FORWARD, KEYS, LOSS = "data", "augment", "forward", "key forward", "loss"
BACKWARD, NAN_CHECK, QUEUE, OPTIMIZER, TEACHER = "backward", "NaN check", "queue", "optimizer", "teacher"
COMMUNICATION, REST = "communication", "rest"


@dataclass(frozen=True)
class Measurement:
    """Time, memory and communication of some steps."""

    steps: list[float]
    """Seconds of each step, without a clock."""
    parts: dict[str, float]
    """Mean seconds per step by part, from other steps; their sum exceeds the time of a step without a clock."""
    steps_per_epoch: int
    images: int
    """Images per step, over all processes."""
    host_bytes: int
    """Peak host memory of this process."""
    device_bytes: int | None
    """Peak device memory of this process; None on a CPU."""
    received: dict[str, int]
    """Bytes that a process receives from the others per step, by kind."""
    encoded_per_second: float | None
    """Images per second that all processes encode for evaluation; None without labeled or test images."""

    @property
    def seconds(self) -> float:
        """Median seconds per step."""
        return statistics.median(self.steps)

    @property
    def images_per_second(self) -> float:
        """Training images per second, over all processes."""
        return self.images / self.seconds


class StepRunner:
    """Runs training steps without a run folder; nothing is saved."""

    def __init__(self, experiment: Experiment, data: Data) -> None:
        AcceleratorState._reset_state()  # a process measures several precisions in turn
        self.accelerator: Accelerator = start_accelerator(experiment)
        experiment = resolve_auto(experiment, self.accelerator)
        self.experiment, self.data = experiment, data
        learner = create_learner(experiment, data, self.accelerator)
        self.evaluator = Evaluator(experiment, data, self.accelerator, Console(quiet=True))
        self.stepper = Stepper(experiment, data.train, learner, self.accelerator, IntervalMeans())
        self._batches: Iterator[Batch] = iter(())
        self._clock: Clock | None = None
        learner.model.train()

    def run_step(self) -> float:
        """Run a step and return its seconds."""
        synchronize(self.accelerator.device)
        start = time.perf_counter()
        epoch, index = divmod(self.stepper.step, self.stepper.steps_per_epoch)
        if index == 0:
            self.stepper.method.before_epoch(epoch)
            self._batches = self.stepper.batches.load_epoch(epoch)
        batches = self._batches if self._clock is None else self._clock.time_items(self._batches, DATA)
        self.stepper.train_step(batches, epoch)
        synchronize(self.accelerator.device)
        return time.perf_counter() - start

    def time_steps(self, seconds: float) -> list[float]:
        """Seconds of each step after the warm-up, for about `seconds` in total."""
        *_, last = (self.run_step() for _ in range(WARMUP_STEPS))
        count = run_on_main_process(self.accelerator, lambda: min(MAX_STEPS, max(MIN_STEPS, round(seconds / last))))
        return [self.run_step() for _ in range(count)]

    def time_parts(self, count: int) -> dict[str, float]:
        """Mean seconds per step by part, over `count` steps."""
        clock, stepper, method = Clock(self.accelerator.device), self.stepper, self.stepper.method
        stepper.captured_pass = None  # a CUDA graph has no parts
        clock.time_calls(stepper.batches, "create_views", AUGMENT)
        clock.time_calls(self.accelerator, "backward", BACKWARD)
        clock.time_calls(stepper.finite_check, "compute_flags", NAN_CHECK)
        clock.time_calls(stepper, "step_optimizer", OPTIMIZER)
        clock.time_calls(method, "after_batch", QUEUE)
        clock.time_calls(method, "after_step", TEACHER)
        if not self.experiment.compile:  # a compiled pass has no parts and counts as the rest
            clock.time_calls(method, "forward", FORWARD)
            if isinstance(teacher := getattr(method, "teacher", None), Teacher):
                clock.time_calls(teacher, "forward", KEYS)
            if isinstance(method, PairMethod):
                clock.time_calls(method, "score_in_chunks", LOSS)
        for collective in COLLECTIVES:
            clock.time_calls(dist, collective, COMMUNICATION)
        self._clock = clock
        try:
            total = sum(self.run_step() for _ in range(count))
        finally:
            self._clock = None
            clock.stop()
        clock.seconds[REST] = total - sum(clock.seconds.values())
        return {name: seconds / count for name, seconds in clock.seconds.items()}

    def count_received_bytes(self) -> dict[str, int]:
        """Bytes that a process receives from the others per step, by kind; empty on one process.

        In an all-gather of b bytes, each of W processes receives (W - 1) b; in a ring all-reduce, 2 (W - 1) / W b.
        DDP averages the gradients itself, in an all-reduce of all trainable parameters.
        """
        world = world_size()
        if world == 1:
            return {}
        ring = 2 * (world - 1) / world
        trainable = sum(
            count_bytes(parameter) for parameter in self.stepper.method.parameters() if parameter.requires_grad
        )
        count = {"gradients": round(ring * trainable)}

        def count_call(name: str, call: Callable[..., object], share: float, argument: int) -> Callable[..., object]:
            def collective(*args: Any, **kwargs: Any) -> object:
                count[name] = count.get(name, 0) + round(share * count_bytes(args[argument]))
                return call(*args, **kwargs)

            return collective

        gathers = count_call("keys and images", dist.all_gather, world - 1, 1)
        reduces = count_call("statistics", dist.all_reduce, ring, 0)
        with replace_method(dist, "all_gather", gathers), replace_method(dist, "all_reduce", reduces):
            self.run_step()
        return count

    def measure_encoding(self) -> float | None:
        """Images per second that all processes encode for evaluation; None without labeled or test images."""
        images = self.data.labeled or self.data.test
        if images is None:
            return None
        sample = images.subset(np.arange(min(len(images), self.experiment.batch_size * world_size())))
        start = time.perf_counter()
        self.evaluator.extract_features(
            self.stepper.method.student.backbone, sample, Steps(self.evaluator.console, "", len(sample))
        )
        return len(sample) / (time.perf_counter() - start)


def count_bytes(tensor: Tensor) -> int:
    """Number of bytes of a tensor."""
    return tensor.numel() * tensor.element_size()


def measure(experiment: Experiment, data: Data, seconds: float) -> Measurement:
    """Measure steps of a run for about `seconds`, and a few more part by part.

    Raises:
        UserError: a setting is invalid.
        NonFiniteError: a step produced NaN or Inf.
    """
    runner = StepRunner(experiment, data)
    steps = runner.time_steps(seconds)
    return Measurement(
        steps=steps,
        parts=runner.time_parts(min(len(steps), MAX_PART_STEPS)),
        steps_per_epoch=runner.stepper.steps_per_epoch,
        images=experiment.batch_size,
        host_bytes=peak_resident_bytes(),
        device_bytes=torch.cuda.max_memory_allocated() if runner.accelerator.device.type == "cuda" else None,
        received=runner.count_received_bytes(),
        encoded_per_second=runner.measure_encoding(),
    )
