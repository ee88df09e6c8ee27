"""Features of a frozen encoder."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from sslzoo.data.batch import Batch
from sslzoo.data.images import Images
from sslzoo.data.loader import ordered_batches
from sslzoo.runtime.errors import UserError

PIXELS_ON_CPU, IMAGES_ON_CPU = 1 << 18, (8, 64)
"""Pixels of a view that a CPU encodes at once, and the smallest and the largest number of images."""


@torch.inference_mode()
def extract_features(
    encoder: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], accelerator: Accelerator
) -> tuple[Tensor, Tensor]:
    """Extract the features of all images, in order, in the accelerator's precision.

    Args:
        encoder: (B, C, H, W) -> (B, D), on the accelerator's device; runs in evaluation mode.
        batches: pairs of images (B, C, H, W) and labels (B,).

    Returns:
        Features (N, D) float32 and labels (N,) int64, both on the CPU.

    Raises:
        UserError: features are NaN or Inf.
    """
    features, labels = [], []
    with evaluation_mode(encoder):
        for images, classes in batches:
            features.append(encode_view(encoder, images.to(accelerator.device), accelerator).cpu())
            require_finite_features(features[-1])
            labels.append(classes.cpu())
    return torch.cat(features), torch.cat(labels)


@torch.inference_mode()
def encode_images(
    encoder: nn.Module,
    images: Images,
    create_views: Callable[[Batch], Iterable[Tensor]],
    accelerator: Accelerator,
    *,
    batch_size: int,
    workers: int,
) -> Iterator[Tensor]:
    """Encode all images in order; yields (B, D) float32 on the CPU for each batch.

    The encoder runs in the accelerator's precision; views are created in float32, as in training.

    Args:
        encoder: (B, C, H, W) -> (B, D); runs in evaluation mode.
        create_views: creates views (B, C, H, W) of a batch of stored images; their features are averaged.
        workers: processes that decode images that are not stored decoded.
    """
    with evaluation_mode(encoder):
        for batch in ordered_batches(images, batch_size, workers=workers):
            yield encode_batch(encoder, batch, create_views, accelerator)


@torch.inference_mode()
def encode_batch(
    encoder: Callable[[Tensor], Tensor],
    batch: Batch,
    create_views: Callable[[Batch], Iterable[Tensor]],
    accelerator: Accelerator,
) -> Tensor:
    """Encode each stored image of a batch; see `encode_images`.

    Returns:
        What `encoder` returns, for example (B, D), as float32 on the CPU.
    """
    total, count = torch.zeros(()), 0
    for count, view in enumerate(create_views(batch.to(accelerator.device)), start=1):
        features = encode_view(encoder, view, accelerator)
        total = features if count == 1 else total + features
    return (total if count == 1 else total / count).cpu()


def encode_view(encoder: Callable[[Tensor], Tensor], view: Tensor, accelerator: Accelerator) -> Tensor:
    """Encode a view (B, C, H, W) without gradient in the accelerator's precision; returns float32 on its device.

    A CPU encodes a few images at once, whose activations fit into memory that it uses again and again; for larger ones
    the system provides and clears new memory in each layer, which takes longer than the layer.
    """
    fewest, most = IMAGES_ON_CPU
    pixels = view.shape[-2] * view.shape[-1]
    size = max(fewest, min(most, PIXELS_ON_CPU // pixels)) if view.device.type == "cpu" else len(view)
    with accelerator.autocast():
        return torch.cat([encoder(part) for part in torch.split(view, size)]).float()


def require_finite_features(features: Tensor) -> None:
    """Check that features (B, D) are finite.

    Raises:
        UserError: some are NaN or Inf.
    """
    if not bool(features.isfinite().all()):
        images = int((~features.isfinite().all(dim=1)).sum())
        raise UserError(
            f"features: NaN or Inf for {images} of {len(features)} images of a batch; the weights are damaged, or the "
            "encoder overflows; compare with --precision fp32"
        )


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Set evaluation mode within the context; on exit, restore the mode of every module."""
    with restore_modes(model):
        model.eval()
        yield


@contextmanager
def restore_modes(model: nn.Module) -> Iterator[None]:
    """Restore the mode of every module, training or evaluation, on exit."""
    modes = [(module, module.training) for module in model.modules()]
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
