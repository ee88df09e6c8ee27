"""Some steps of a run, timed: as they are, and part by part."""

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
from sslzoo.plan.clock import Clock, replace_method, wait
from sslzoo.runtime.distributed import world_size
from sslzoo.runtime.launch import run_on_main_process
from sslzoo.runtime.progress import Steps
from sslzoo.train.evaluator import Evaluator
from sslzoo.train.monitor import IntervalMeans
from sslzoo.train.run import peak_resident_bytes
from sslzoo.train.setup import create_learner, resolve_auto, start_accelerator
from sslzoo.train.step import Stepper

WARM = 2
"""Steps that are not counted: they compile, fill caches and start workers."""
LEAST, MOST = 3, 200
"""Steps that are counted, however long or short they are."""
PARTED = 10
"""Steps that are timed part by part, at most."""
COLLECTIVES = ("all_gather", "all_reduce")
"""Functions of torch.distributed by which the processes of sslzoo communicate."""

DATA, AUGMENT, FORWARD, KEYS, LOSS = "data", "augment", "forward", "key forward", "loss"
BACKWARD, CHECK, QUEUE, OPTIMIZER, TEACHER = "backward", "check of numbers", "queue", "optimizer", "teacher"
COMMUNICATION, REST = "communication", "rest"


@dataclass(frozen=True)
class Measured:
    """What some steps took."""

    steps: list[float]
    """Seconds of each step, in a row and undisturbed."""
    parts: dict[str, float]
    """Seconds of a step, part by part, the mean of other steps; their sum is more than a step undisturbed."""
    steps_per_epoch: int
    images: int
    """Of a step, over all processes."""
    host_bytes: int
    """The most that this process has held so far."""
    device_bytes: int | None
    """The most that it has held on the device; None on a CPU."""
    received: dict[str, int]
    """Bytes that a process receives from the others in a step, by what they are."""
    encoded_per_second: float | None
    """Images that all processes encode for evaluation; None where there are none."""

    @property
    def seconds(self) -> float:
        """Of a step, the median."""
        return statistics.median(self.steps)

    @property
    def images_per_second(self) -> float:
        """Training images a second, over all processes."""
        return self.images / self.seconds


class StepRunner:
    """The steps of a run, one after the other, without a folder: nothing is saved."""

    def __init__(self, experiment: Experiment, data: Data) -> None:
        AcceleratorState._reset_state()  # one process measures several precisions, one after the other
        self.accelerator: Accelerator = start_accelerator(experiment)
        experiment = resolve_auto(experiment, self.accelerator)
        self.experiment, self.data = experiment, data
        learner = create_learner(experiment, data, self.accelerator)
        self.evaluator = Evaluator(experiment, data, self.accelerator, Console(quiet=True))
        self.stepper = Stepper(experiment, data.train, learner, self.accelerator, IntervalMeans())
        self._batches: Iterator[Batch] = iter(())
        self._clock: Clock | None = None
        learner.model.train()

    def step(self) -> float:
        """Take a step; seconds."""
        wait(self.accelerator.device)
        began = time.perf_counter()
        epoch, place = divmod(self.stepper.step, self.stepper.per_epoch)
        if place == 0:
            self.stepper.method.before_epoch(epoch)
            self._batches = self.stepper.batches(epoch, skip=0)
        batches = self._batches if self._clock is None else self._clock.each(self._batches, DATA)
        self.stepper.optimize(batches, epoch)
        wait(self.accelerator.device)
        return time.perf_counter() - began

    def steps(self, seconds: float) -> list[float]:
        """Seconds of each step, for about so long; the first ones are left out."""
        *_, warm = (self.step() for _ in range(WARM))
        count = run_on_main_process(self.accelerator, lambda: min(MOST, max(LEAST, round(seconds / warm))))
        return [self.step() for _ in range(count)]

    def parts(self, count: int) -> dict[str, float]:
        """Mean seconds of a step by part, over some steps."""
        clock, stepper, method = Clock(self.accelerator.device), self.stepper, self.stepper.method
        stepper.captured = None  # a graph has no parts
        clock.watch(stepper, "views", AUGMENT)
        clock.watch(self.accelerator, "backward", BACKWARD)
        clock.watch(stepper.finite, "flags", CHECK)
        clock.watch(stepper, "step_optimizer", OPTIMIZER)
        clock.watch(method, "after_batch", QUEUE)
        clock.watch(method, "after_step", TEACHER)
        if not self.experiment.compile:  # a compiled pass is one chunk, and is among the rest
            clock.watch(method, "forward", FORWARD)
            if isinstance(teacher := getattr(method, "teacher", None), Teacher):
                clock.watch(teacher, "forward", KEYS)
            if isinstance(method, PairMethod):
                clock.watch(method, "in_chunks", LOSS)
        for collective in COLLECTIVES:
            clock.watch(dist, collective, COMMUNICATION)
        self._clock = clock
        try:
            whole = sum(self.step() for _ in range(count))
        finally:
            self._clock = None
            clock.stop()
        clock.seconds[REST] = whole - sum(clock.seconds.values())
        return {name: seconds / count for name, seconds in clock.seconds.items()}

    def received(self) -> dict[str, int]:
        """Bytes that a process receives from the others in a step, by what they are; empty on one process.

        An all-gather of b bytes brings (W - 1) b to each of W processes; an all-reduce of b bytes passes
        2 (W - 1) / W b around a ring. Torch averages gradients on its own: one all-reduce of all that is trained.
        """
        world = world_size()
        if world == 1:
            return {}
        ring = 2 * (world - 1) / world
        trained = sum(size(parameter) for parameter in self.stepper.method.parameters() if parameter.requires_grad)
        count = {"gradients": round(ring * trained)}

        def counted(name: str, call: Callable[..., object], share: float, argument: int) -> Callable[..., object]:
            def collective(*args: Any, **kwargs: Any) -> object:
                count[name] = count.get(name, 0) + round(share * size(args[argument]))
                return call(*args, **kwargs)

            return collective

        gathers = counted("keys and images", dist.all_gather, world - 1, 1)
        reduces = counted("statistics", dist.all_reduce, ring, 0)
        with replace_method(dist, "all_gather", gathers), replace_method(dist, "all_reduce", reduces):
            self.step()
        return count

    def encoded_per_second(self) -> float | None:
        """Images a second that all processes encode for evaluation; None without images to try it on."""
        images = self.data.labeled or self.data.test
        if images is None:
            return None
        some = images.subset(np.arange(min(len(images), self.experiment.batch_size * world_size())))
        began = time.perf_counter()
        self.evaluator.extract_features(
            self.stepper.method.student.backbone, some, Steps(self.evaluator.console, "", len(some))
        )
        return len(some) / (time.perf_counter() - began)


def size(tensor: Tensor) -> int:
    """Bytes of a tensor."""
    return tensor.numel() * tensor.element_size()


def measure(experiment: Experiment, data: Data, seconds: float) -> Measured:
    """Take some steps of a run, for about so long, and a few more part by part.

    Raises:
        UserError: as a run does before it starts.
        NonFiniteError: numbers are no longer finite.
    """
    course = StepRunner(experiment, data)
    steps = course.steps(seconds)
    return Measured(
        steps=steps,
        parts=course.parts(min(len(steps), PARTED)),
        steps_per_epoch=course.stepper.per_epoch,
        images=experiment.batch_size,
        host_bytes=peak_resident_bytes(),
        device_bytes=torch.cuda.max_memory_allocated() if course.accelerator.device.type == "cuda" else None,
        received=course.received(),
        encoded_per_second=course.encoded_per_second(),
    )
