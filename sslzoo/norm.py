"""Batch norm over groups of a batch, as several small GPUs would do it, and over the batches of all processes."""

import torch
import torch.distributed as dist
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from sslzoo.distributed import sum_with_gradient, world_size


class SplitBatchNorm2d(nn.BatchNorm2d):
    """Batch norm whose training statistics come from each of `splits` groups of the batch on its own.

    Groups are consecutive pictures, so that two processes with half the splits each form the groups that one
    process would. Running statistics are the mean over groups; in evaluation it is
    plain batch norm. Parameters and buffers have the names of the module that it replaces. It also stands in for
    timm's BatchNormAct2d, whose activation it takes along.

    Source: the MoCo authors' CIFAR notebook, which imitates eight GPUs on one this way.
    """

    def __init__(self, norm: nn.BatchNorm2d, splits: int) -> None:
        super().__init__(
            norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats,
        )  # fmt: skip
        self.load_state_dict(norm.state_dict())
        self.splits = splits
        self.drop = getattr(norm, "drop", nn.Identity())
        self.act = getattr(norm, "act", nn.Identity())

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same.

        Raises:
            ValueError: in training, B is not a multiple of `splits`.
        """
        normalised = self._split_norm(x) if self.training else super().forward(x)
        activated: Tensor = self.act(self.drop(normalised))
        return activated

    def _split_norm(self, x: Tensor) -> Tensor:
        if len(x) % self.splits:
            raise ValueError(f"a batch of {len(x)} pictures does not divide into {self.splits} groups of batch norm")
        grouped = rearrange(x, "(s b) c h w -> b (s c) h w", s=self.splits)
        mean, var = self._repeat(self.running_mean), self._repeat(self.running_var)
        out = F.batch_norm(
            grouped,
            mean,
            var,
            self._repeat(self.weight),
            self._repeat(self.bias),
            True,
            self.momentum or 0.0,
            self.eps,
        )
        if self.running_mean is not None and self.running_var is not None:
            with torch.no_grad():
                self.running_mean.copy_(mean.view(self.splits, -1).mean(0))  # type: ignore[union-attr]
                self.running_var.copy_(var.view(self.splits, -1).mean(0))  # type: ignore[union-attr]
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
        return rearrange(out, "b (s c) h w -> (s b) c h w", s=self.splits)

    def _repeat(self, per_channel: Tensor | None) -> Tensor | None:
        return None if per_channel is None else per_channel.repeat(self.splits)


def split_batch_norm(model: nn.Module, splits: int) -> nn.Module:
    """Replace every two-dimensional batch norm of a model by one that works in groups.

    Args:
        splits: groups of the batch over all processes, of which each process has its share; 1 changes nothing.
    """
    if splits > 1:
        for name, child in model.named_children():
            if isinstance(child, nn.BatchNorm2d):
                setattr(model, name, SplitBatchNorm2d(child, splits // world_size()))
            else:
                split_batch_norm(child, splits)
    return model


class GlobalBatchNorm(nn.modules.batchnorm._BatchNorm):
    """Batch norm whose training statistics come from the batches of all processes, on any device.

    Torch's SyncBatchNorm, which is faster, takes no tensors of a CPU. Parameters and buffers are those of the module
    that it replaces, and the activation of timm's BatchNormAct2d is taken along.
    """

    def __init__(self, norm: nn.modules.batchnorm._BatchNorm) -> None:
        super().__init__(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
        self.weight, self.bias = norm.weight, norm.bias
        self.running_mean, self.running_var = norm.running_mean, norm.running_var
        self.num_batches_tracked = norm.num_batches_tracked
        self.drop = getattr(norm, "drop", nn.Identity())
        self.act = getattr(norm, "act", nn.Identity())

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, ...) to the same."""
        normalised = self._global_norm(x.float()).to(x.dtype) if self.training else super().forward(x)
        activated: Tensor = self.act(self.drop(normalised))
        return activated

    def _global_norm(self, x: Tensor) -> Tensor:
        rows = x.transpose(0, 1).flatten(1)
        sums = sum_with_gradient(torch.stack([rows.sum(dim=1), torch.full_like(rows[:, 0], rows.shape[1])]))
        count, shape = sums[1, 0], (-1, *[1] * (x.dim() - 2))
        mean = sums[0] / count
        var = sum_with_gradient((rows - mean[:, None]).square().sum(dim=1)) / count
        if self.running_mean is not None and self.running_var is not None:
            with torch.no_grad():
                self.running_mean.lerp_(mean, self.momentum or 0.0)
                self.running_var.lerp_(var * count / (count - 1), self.momentum or 0.0)
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
        out = (x - mean.view(shape)) * (var + self.eps).rsqrt().view(shape)
        return out if self.weight is None else out * self.weight.view(shape) + self.bias.view(shape)

    def _check_input_dim(self, x: Tensor) -> None:
        if x.dim() < 2:
            raise ValueError(f"batch norm takes (B, C, ...), not {tuple(x.shape)}")


def synchronise_batch_norm(model: nn.Module) -> nn.Module:
    """With several processes, let plain batch norm see the batches of all; what works in groups stays as it is."""
    if world_size() == 1:
        return model
    for name, child in model.named_children():
        if isinstance(child, SplitBatchNorm2d):
            continue
        if isinstance(child, nn.modules.batchnorm._BatchNorm):
            setattr(model, name, _over_processes(child))
        else:
            synchronise_batch_norm(child)
    return model


def _over_processes(norm: nn.modules.batchnorm._BatchNorm) -> nn.Module:
    if "nccl" not in dist.get_backend():
        return GlobalBatchNorm(norm)
    from timm.layers import convert_sync_batchnorm

    converted: nn.Module = convert_sync_batchnorm(norm)
    return converted


def has_batch_norm(model: nn.Module) -> bool:
    """Whether any statistics of a batch enter the model's output in training."""
    return any(isinstance(part, nn.modules.batchnorm._BatchNorm) for part in model.modules())
