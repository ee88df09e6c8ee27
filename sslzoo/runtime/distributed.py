"""Communication between the processes of a run; with one process each function is the plain operation."""

import hashlib
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from sslzoo.runtime.counter_rng import permutation


def world_size() -> int:
    """Number of processes of the run."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Number of this process, 0 is the main one."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def gather(tensor: Tensor) -> Tensor:
    """(B, ...) of each process to (world * B, ...) on all, in rank order. Carries no gradient."""
    if world_size() == 1:
        return tensor.detach()
    parts = [torch.empty_like(tensor) for _ in range(world_size())]
    dist.all_gather(parts, tensor.detach().contiguous())
    return torch.cat(parts)


class _Gather(torch.autograd.Function):
    """All rows on all processes; the gradient of a row is the sum of those that it has on each."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        return gather(tensor)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        summed = gradients[0].contiguous().clone()
        dist.all_reduce(summed)
        return local_part(summed)


def gather_with_gradient(tensor: Tensor) -> Tensor:
    """(B, ...) of each process to (world * B, ...) on all, in rank order, through which gradient flows back.

    Averaged over processes, as DistributedDataParallel does, the gradients are those of the mean of all losses:
    a loss over local anchors needs no factor of the world size, nor does one over all rows that each process computes.
    """
    if world_size() == 1:
        return tensor
    gathered: Tensor = _Gather.apply(tensor)
    return gathered


class _SumOverProcesses(torch.autograd.Function):
    """Sum over processes; so is the gradient."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        summed = tensor.contiguous().clone()
        dist.all_reduce(summed)
        return summed

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        summed = gradients[0].contiguous().clone()
        dist.all_reduce(summed)
        return summed


def sum_with_gradient(tensor: Tensor) -> Tensor:
    """The sum over processes of a tensor that has one shape on all, through which gradient flows back."""
    if world_size() == 1:
        return tensor
    summed: Tensor = _SumOverProcesses.apply(tensor)
    return summed


def gather_rows(tensor: Tensor) -> Tensor:
    """(n, ...) of each process, n as it may be, to all rows on the CPU of each, in rank order. Carries no gradient."""
    mine = tensor.detach().cpu()
    if world_size() == 1:
        return mine
    parts: list[Any] = [None] * world_size()
    dist.all_gather_object(parts, mine)
    return torch.cat(parts)


def local_part(tensor: Tensor) -> Tensor:
    """The rows of this process in a tensor that `gather` made."""
    return tensor.chunk(world_size())[rank()]


@torch.no_grad()
def encode_shuffled(encode: Callable[[Tensor], Tensor], images: Tensor, *keys: int | Tensor) -> Tensor:
    """Encode a global batch in random order and put the results back (MoCo, section 3.3, "Shuffling BN").

    The statistics of batch norm then come from other groups of images for keys than for queries, so that
    they do not give away which key belongs to a query. The order is a function of `keys` alone: one process
    or many, whose batches together hold the same images, shuffle alike.

    Args:
        encode: the key encoder, (B, C, H, W) -> (B, D).
        images: (B, C, H, W), the batch of this process.
        keys: what the order is drawn from (seed, step, ...).

    Returns:
        (B, D), row i encodes image i.
    """
    everyone = gather(images)
    order = permutation(len(everyone), *keys, device=images.device)
    encoded = gather(encode(local_part(everyone[order])))
    return local_part(encoded[order.argsort()])


@torch.no_grad()
def average_norm_statistics(module: nn.Module) -> None:
    """Make the running statistics of batch norm the mean over processes, in one message."""
    if world_size() == 1:
        return
    norms = [part for part in module.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)]
    statistics = [s for norm in norms for s in (norm.running_mean, norm.running_var) if s is not None]
    if not statistics:
        return
    flat = torch.cat([s.flatten() for s in statistics])
    dist.all_reduce(flat)
    flat /= world_size()
    for statistic, mean in zip(statistics, torch.split(flat, [s.numel() for s in statistics]), strict=True):
        statistic.copy_(mean.view_as(statistic))


def state_digest(module: nn.Module) -> str:
    """A fingerprint of all parameters and buffers, 16 hexadecimal digits."""
    state = hashlib.sha256()
    for name, value in module.state_dict().items():
        state.update(name.encode() + value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return state.hexdigest()[:16]


def state_digests(module: nn.Module) -> list[str]:
    """The fingerprint of each process, in rank order; equal when nothing has drifted."""
    everyone: list[Any] = [state_digest(module)] * world_size()
    if world_size() > 1:
        dist.all_gather_object(everyone, everyone[0])
    return everyone
