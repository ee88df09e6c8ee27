"""Batch norm over chunks of a batch, which emulates several small GPUs, and over the batches of all processes."""

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._triton import has_triton_package

from sslzoo.modules.layers import is_frozen
from sslzoo.runtime.distributed import sum_with_gradient, world_size


class SplitBatchNorm2d(nn.BatchNorm2d):
    """Batch norm that normalizes each of `splits` chunks of the batch with its own statistics in training.

    Chunks are consecutive images, so two processes with half the splits each have the same chunks as one process.
    Running statistics are the mean over chunks; evaluation is plain batch norm. Parameters and buffers have the same
    names as in the replaced module, and the activation of timm's BatchNormAct2d is kept.

    Each chunk is a slice of the batch, so the memory format does not change and no activation is copied. On a GPU,
    Triton kernels compute all chunks, the residual sum and the ReLU at once; for torch.compile the chunks are an
    additional dimension.

    Source: the MoCo authors' CIFAR notebook, which emulates eight GPUs on one in this way.
    """

    def __init__(self, norm: nn.BatchNorm2d, splits: int) -> None:
        super().__init__(
            norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats,
        )  # fmt: skip
        self.load_state_dict(norm.state_dict())
        self.splits = splits
        self.drop = getattr(norm, "drop", nn.Identity())
        self.act = getattr(norm, "act", nn.Identity())

    def forward(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """(B, C, H, W) to the same, in the same memory format.

        Args:
            residual: (B, C, H, W), added before the activation.

        Raises:
            ValueError: in training, B is not a multiple of `splits`.
        """
        if not self.training:
            return self._activate(super().forward(x), residual)
        if len(x) % self.splits:
            raise ValueError(f"a batch of {len(x)} images cannot be divided into {self.splits} chunks of batch norm")
        compiling = torch.compiler.is_compiling()
        if x.is_cuda and has_triton_package() and not compiling:
            return self._normalize_by_kernel(x, residual)
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
        if compiling:
            return self._activate(self._normalize_together(x), residual)
        return self._activate(self._normalize_each(x) if self.splits > 1 else self._normalize_whole(x), residual)

    def _activate(self, normalized: Tensor, residual: Tensor | None) -> Tensor:
        if residual is not None:
            normalized = normalized + residual
        activated: Tensor = self.act(self.drop(normalized))
        return activated

    def _normalize_by_kernel(self, x: Tensor, residual: Tensor | None) -> Tensor:
        """Normalize with `sslzoo.modules.triton_batch_norm`, including residual sum and activation if it is ReLU."""
        from sslzoo.modules.triton_batch_norm import split_batch_norm  # Triton is optional

        relu = isinstance(self.act, nn.ReLU) and isinstance(self.drop, nn.Identity)
        normalized = split_batch_norm(
            x,
            self.weight,
            self.bias,
            self.running_mean,
            self.running_var,
            splits=self.splits,
            momentum=self.momentum or 0.0,
            eps=self.eps,
            relu=relu,
            residual=residual if relu else None,
            batches=self.num_batches_tracked,
        )
        return normalized if relu else self._activate(normalized, residual)

    def _normalize_whole(self, x: Tensor) -> Tensor:
        """Normalize the whole batch."""
        return F.batch_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias, True, self.momentum or 0.0, self.eps
        )  # fmt: skip

    def _normalize_each(self, x: Tensor) -> Tensor:
        """Normalize each chunk with separate running statistics, and average these."""
        means, variances = self._repeat(self.running_mean), self._repeat(self.running_var)
        chunks = [
            F.batch_norm(chunk, mean, variance, self.weight, self.bias, True, self.momentum or 0.0, self.eps)
            for chunk, mean, variance in zip(x.chunk(self.splits), means, variances, strict=True)
        ]
        if self.running_mean is not None and self.running_var is not None:
            with torch.no_grad():
                self.running_mean.copy_(torch.stack(means).mean(dim=0))  # type: ignore[arg-type]
                self.running_var.copy_(torch.stack(variances).mean(dim=0))  # type: ignore[arg-type]
        return torch.cat(chunks)

    def _normalize_together(self, x: Tensor) -> Tensor:
        """Normalize all chunks with elementary operations on (splits, B / splits, C, H, W), in float32."""
        chunks = x.view(self.splits, -1, *x.shape[1:]).float()
        variance, mean = torch.var_mean(chunks, dim=(1, 3, 4), correction=0, keepdim=True)
        normalized = (chunks - mean) * (variance + self.eps).rsqrt()
        if self.weight is not None:
            normalized = normalized * self.weight[:, None, None] + self.bias[:, None, None]
        if self.running_mean is not None and self.running_var is not None:
            count = chunks[0, :, 0].numel()
            with torch.no_grad():
                self.running_mean.lerp_(mean.mean(dim=0).flatten(), self.momentum or 0.0)
                unbiased = variance.mean(dim=0).flatten() * (count / max(1, count - 1))
                self.running_var.lerp_(unbiased, self.momentum or 0.0)
        return normalized.flatten(0, 1).to(x.dtype)

    def _repeat(self, per_channel: Tensor | None) -> list[Tensor | None]:
        if per_channel is None:
            return [None] * self.splits
        return [*per_channel.repeat(self.splits, 1)]


def split_batch_norm(model: nn.Module, splits: int) -> nn.Module:
    """Replace every BatchNorm2d of a model by SplitBatchNorm2d, except in frozen layers.

    With one chunk, which is the whole batch, norms are replaced on a single process only; several processes use
    `synchronize_batch_norm`.

    Args:
        splits: number of chunks of the global batch; each process has an equal number of them.
    """
    if splits > 1 or world_size() == 1:
        for name, child in model.named_children():
            if is_frozen(child):
                continue
            if isinstance(child, nn.BatchNorm2d) and (splits > 1 or child.momentum is not None):
                setattr(model, name, SplitBatchNorm2d(child, splits // world_size()))
            else:
                split_batch_norm(child, splits)
    return model


class GlobalBatchNorm(nn.modules.batchnorm._BatchNorm):
    """Batch norm with the training statistics of all processes, on any device.

    Torch's SyncBatchNorm is faster but does not support CPU tensors. Parameters and buffers are those of the replaced
    module, and the activation of timm's BatchNormAct2d is kept.
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
        normalized = self._global_norm(x.float()).to(x.dtype) if self.training else super().forward(x)
        activated: Tensor = self.act(self.drop(normalized))
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
            raise ValueError(f"batch norm expects (B, C, ...), not {tuple(x.shape)}")


def synchronize_batch_norm(model: nn.Module) -> nn.Module:
    """With several processes, replace plain batch norm by one over all processes; keep it if split or frozen."""
    if world_size() == 1:
        return model
    for name, child in model.named_children():
        if isinstance(child, SplitBatchNorm2d) or is_frozen(child):
            continue
        if isinstance(child, nn.modules.batchnorm._BatchNorm):
            setattr(model, name, _synchronize_norm(child))
        else:
            synchronize_batch_norm(child)
    return model


def _synchronize_norm(norm: nn.modules.batchnorm._BatchNorm) -> nn.Module:
    if "nccl" not in dist.get_backend():
        return GlobalBatchNorm(norm)
    from timm.layers import convert_sync_batchnorm

    converted: nn.Module = convert_sync_batchnorm(norm)
    return converted


def has_batch_norm(model: nn.Module) -> bool:
    """Whether the model has a batch norm, so that its output depends on the batch in training."""
    return any(isinstance(part, nn.modules.batchnorm._BatchNorm) for part in model.modules())
