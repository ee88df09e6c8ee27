"""Communication between the processes of a run; with one process each function is the plain operation."""

import hashlib
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from sslzoo.runtime.counter_rng import permutation


def world_size() -> int:
    """Return the number of processes of the run."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Return the rank of this process; 0 is the main process."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def gather(tensor: Tensor) -> Tensor:
    """Gather (B, ...) of each process into (world * B, ...) on all, in rank order, without gradient."""
    if world_size() == 1:
        return tensor.detach()
    parts = [torch.empty_like(tensor) for _ in range(world_size())]
    dist.all_gather(parts, tensor.detach().contiguous())
    return torch.cat(parts)


class _Gather(torch.autograd.Function):
    """Gather all rows on all processes; the gradient of a row is the sum of its gradients over processes."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        return gather(tensor)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        summed = gradients[0].contiguous().clone()
        dist.all_reduce(summed)
        return local_part(summed)


def gather_with_gradient(tensor: Tensor) -> Tensor:
    """Gather (B, ...) of each process into (world * B, ...) on all, in rank order, with gradient.

    After DistributedDataParallel averages over processes, the gradients are those of the mean of all losses. Neither a
    loss over local anchors nor a loss over all rows on every process needs a factor of the world size.
    """
    if world_size() == 1:
        return tensor
    gathered: Tensor = _Gather.apply(tensor)
    return gathered


class _SumOverProcesses(torch.autograd.Function):
    """Sum over processes; the gradient is summed as well."""

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
    """Sum a tensor over processes, with gradient; its shape is the same on all."""
    if world_size() == 1:
        return tensor
    summed: Tensor = _SumOverProcesses.apply(tensor)
    return summed


def gather_rows(tensor: Tensor) -> Tensor:
    """Gather (n, ...) of each process, where n may differ, on the CPU of all, in rank order, without gradient."""
    mine = tensor.detach().cpu()
    if world_size() == 1:
        return mine
    parts: list[Any] = [None] * world_size()
    dist.all_gather_object(parts, mine)
    return torch.cat(parts)


def local_part(tensor: Tensor) -> Tensor:
    """Return the rows of this process from the result of `gather`."""
    return tensor.chunk(world_size())[rank()]


@torch.no_grad()
def encode_shuffled(encode: Callable[[Tensor], Tensor], images: Tensor, *keys: int | Tensor) -> Tensor:
    """Encode a global batch in random order and restore the order (MoCo, section 3.3, "Shuffling BN").

    Keys and queries are then normalized with the statistics of different groups of images, so batch norm does not
    leak which key belongs to a query. The order is a function of `keys` alone: any number of processes that share the
    same global batch shuffle it identically.

    Args:
        encode: the key encoder, (B, C, H, W) -> (B, D).
        images: (B, C, H, W), the batch of this process.
        keys: keys of the random order (seed, step, ...).

    Returns:
        (B, D); row i is the embedding of image i.
    """
    everything = gather(images)
    order = permutation(len(everything), *keys, device=images.device)
    encoded = gather(encode(local_part(everything[order])))
    return local_part(encoded[order.argsort()])


@torch.no_grad()
def average_norm_statistics(module: nn.Module) -> None:
    """Average the running statistics of batch norm over processes, in one all-reduce."""
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
    """Return a digest of all parameters and buffers, 16 hexadecimal digits."""
    return state_sha256(module)[:16]


def state_sha256(module: nn.Module) -> str:
    """Return the SHA-256 of the names and values of all parameters and buffers, 64 hexadecimal digits."""
    state = hashlib.sha256()
    for name, value in module.state_dict().items():
        state.update(name.encode() + value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return state.hexdigest()


def state_digests(module: nn.Module) -> list[str]:
    """Return the digest of each process, in rank order; all are equal unless a process has drifted."""
    digests: list[Any] = [state_digest(module)] * world_size()
    if world_size() > 1:
        dist.all_gather_object(digests, digests[0])
    return digests
