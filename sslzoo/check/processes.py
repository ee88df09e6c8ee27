"""Compare the same training steps on one process and on two."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor
from torch.multiprocessing.spawn import spawn

from sslzoo.check.battery import CheckError
from sslzoo.check.tiny import Tiny, run
from sslzoo.runtime.distributed import average_norm_statistics, gather

WORLD, STEPS = 2, 3
ABSOLUTE, RELATIVE = 1e-5, 1e-4
"""Tolerances of float32 sums in another order; `RELATIVE` to the largest entry of a tensor."""


class Outcome(NamedTuple):
    """Losses, gradients and state after some training steps."""

    losses: list[float]
    """Mean over the global batch, one per step."""
    gradients: dict[str, Tensor]
    """Gradients of the last step, averaged over processes."""
    state: dict[str, Tensor]
    """The `state_dict` after the last step: weights, teacher, queue and so on."""


def train(flags: Sequence[str]) -> Outcome:
    """Train a few steps of plain SGD on this process's share of each batch; gradients are averaged as in DDP."""
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
        trainable = {name: parameter for name, parameter in method.named_parameters() if parameter.grad is not None}
        gradients = {name: gather(p.grad[None]).mean(0) for name, p in trainable.items() if p.grad is not None}
        with torch.no_grad():
            for name, parameter in trainable.items():
                parameter.sub_(gradients[name], alpha=0.1)
        average_norm_statistics(method)
        method.after_step((step + 1) / STEPS)
        losses.append(gather(output.loss[None]).mean().item())
    return Outcome(losses, gradients, {name: value.clone() for name, value in method.state_dict().items()})


def train_on_two_processes(cases: Sequence[Sequence[str]]) -> list[list[Outcome | str]]:
    """Train each case on two gloo processes.

    Returns:
        The outcome by case and process, `[case][process]`; an error message if the case failed.
    """
    if not cases:
        return []
    with tempfile.TemporaryDirectory() as folder:
        spawn(_process, (folder, cases), nprocs=WORLD)  # type: ignore[no-untyped-call]
        results = [torch.load(Path(folder) / f"{rank}.pt", weights_only=False) for rank in range(WORLD)]
    return [list(outcomes) for outcomes in zip(*results, strict=True)]


def _process(rank: int, folder: str, cases: Sequence[Sequence[str]]) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=WORLD)
    outcomes: list[Outcome | str] = []
    for flags in cases:
        try:
            outcomes.append(train(flags))
        except Exception as error:  # a custom part may raise anything; the next case runs if all processes failed
            outcomes.append(f"{type(error).__name__}: {str(error).partition(chr(10))[0]}")
    torch.save(outcomes, Path(folder) / f"{rank}.pt")
    dist.destroy_process_group()


def require_equal(one: Outcome, two: Sequence[Outcome | str]) -> None:
    """Require that both processes match one process within tolerance, and that their states are bit-identical.

    Raises:
        CheckError: they differ; the message names the first difference.
    """
    for rank, other in enumerate(two):
        if isinstance(other, str):
            raise CheckError(f"process {rank} of {WORLD}: {other}")
        for what, ours, theirs in (
            ("loss", {"": torch.tensor(one.losses)}, {"": torch.tensor(other.losses)}),
            ("gradient", one.gradients, other.gradients),
            ("state", one.state, other.state),
        ):
            if ours.keys() != theirs.keys():
                raise CheckError(f"{what}: different tensors: {', '.join(sorted(ours.keys() ^ theirs.keys()))}")
            for name, value in ours.items():
                difference = _max_abs(theirs[name].double() - value.double())
                if not difference <= ABSOLUTE + RELATIVE * _max_abs(value.double()):
                    raise CheckError(
                        f"{what} {name}".rstrip() + f" on process {rank} of {WORLD}: off by {difference:.2g}"
                    )
    first, second = two
    assert isinstance(first, Outcome)
    assert isinstance(second, Outcome)
    for name, value in first.state.items():
        if not torch.equal(value, second.state[name]):
            raise CheckError(f"state {name}: differs between the processes")


def _max_abs(values: Tensor) -> float:
    return values.abs().max().item() if values.numel() else 0.0
