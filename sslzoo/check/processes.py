"""The same steps on one process and on two, which must train alike."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor
from torch.multiprocessing.spawn import spawn

from sslzoo.check.battery import Fault
from sslzoo.check.tiny import Tiny, run
from sslzoo.runtime.distributed import average_norm_statistics, gather

WORLD, STEPS = 2, 3
ABSOLUTE, RELATIVE = 1e-5, 1e-4
"""Float32 sums taken in another order differ by this much; relative to the largest entry of a tensor."""


class Outcome(NamedTuple):
    """What some steps came to."""

    losses: list[float]
    """Mean over the global batch, of each step."""
    gradients: dict[str, Tensor]
    """Of the last step, averaged over processes."""
    state: dict[str, Tensor]
    """Weights, teacher, queue and all else, after the last step."""


def train(flags: Sequence[str]) -> Outcome:
    """A few steps of plain SGD on this process's share of every batch, gradients averaged as DDP does."""
    tiny = Tiny.of(*flags)
    method = tiny.method()
    losses = []
    for step in range(STEPS):
        method.before_epoch(step)
        output = run(method, tiny.sample(seed=step).local())
        method.zero_grad()
        torch.autograd.backward(output.loss)
        method.after_batch(output)
        method.before_step(step / STEPS)
        trained = {name: parameter for name, parameter in method.named_parameters() if parameter.grad is not None}
        gradients = {name: gather(p.grad[None]).mean(0) for name, p in trained.items() if p.grad is not None}
        with torch.no_grad():
            for name, parameter in trained.items():
                parameter.sub_(gradients[name], alpha=0.1)
        average_norm_statistics(method)
        method.after_step((step + 1) / STEPS)
        losses.append(gather(output.loss[None]).mean().item())
    return Outcome(losses, gradients, {name: value.clone() for name, value in method.state_dict().items()})


def train_on_two(cases: Sequence[Sequence[str]]) -> list[list[Outcome | str]]:
    """The outcome of each case on each of two gloo processes, `[case][process]`; a reason where a case fails."""
    if not cases:
        return []
    with tempfile.TemporaryDirectory() as folder:
        spawn(_process, (folder, cases), nprocs=WORLD)  # type: ignore[no-untyped-call]
        answers = [torch.load(Path(folder) / f"{rank}.pt", weights_only=False) for rank in range(WORLD)]
    return [list(outcomes) for outcomes in zip(*answers, strict=True)]


def _process(rank: int, folder: str, cases: Sequence[Sequence[str]]) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=WORLD)
    outcomes: list[Outcome | str] = []
    for flags in cases:
        try:
            outcomes.append(train(flags))
        except (
            Exception
        ) as error:  # a plug-in may fail in any way; where all processes fail alike, the next case can start
            outcomes.append(f"{type(error).__name__}: {str(error).partition(chr(10))[0]}")
    torch.save(outcomes, Path(folder) / f"{rank}.pt")
    dist.destroy_process_group()


def require_equal(one: Outcome, two: Sequence[Outcome | str]) -> None:
    """Both processes have what one process has, and exactly the same state.

    Raises:
        Fault: they do not; the first difference is named.
    """
    for rank, other in enumerate(two):
        if isinstance(other, str):
            raise Fault(f"process {rank} of {WORLD}: {other}")
        for what, ours, theirs in (
            ("loss", {"": torch.tensor(one.losses)}, {"": torch.tensor(other.losses)}),
            ("gradient", one.gradients, other.gradients),
            ("state", one.state, other.state),
        ):
            if ours.keys() != theirs.keys():
                raise Fault(f"{what}: not of the same tensors: {', '.join(sorted(ours.keys() ^ theirs.keys()))}")
            for name, value in ours.items():
                apart = _largest(theirs[name].double() - value.double())
                if not apart <= ABSOLUTE + RELATIVE * _largest(value.double()):
                    raise Fault(f"{what} {name}".rstrip() + f" on process {rank} of {WORLD}: {apart:.2g} off")
    first, second = two
    assert isinstance(first, Outcome)
    assert isinstance(second, Outcome)
    for name, value in first.state.items():
        if not torch.equal(value, second.state[name]):
            raise Fault(f"state {name}: the processes drift apart")


def _largest(values: Tensor) -> float:
    return values.abs().max().item() if values.numel() else 0.0
