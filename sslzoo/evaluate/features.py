"""Features of a frozen encoder."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from sslzoo.data.batch import Batch
from sslzoo.data.images import Images
from sslzoo.data.loader import ordered_batches


@torch.inference_mode()
def extract_features(
    encoder: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], accelerator: Accelerator
) -> tuple[Tensor, Tensor]:
    """Features of all images, in their order, in the accelerator's arithmetic.

    Args:
        encoder: (B, C, H, W) -> (B, D), on the accelerator's device; in evaluation mode meanwhile, each of its modules
            as it was afterwards.
        batches: pairs of images (B, C, H, W) and labels (B,).

    Returns:
        Features (N, D) float32 and labels (N,) int64, both on the CPU.
    """
    features, labels = [], []
    with evaluating(encoder):
        for images, classes in batches:
            with accelerator.autocast():
                encoded = encoder(images.to(accelerator.device))
            features.append(encoded.float().cpu())
            labels.append(classes.cpu())
    return torch.cat(features), torch.cat(labels)


@torch.inference_mode()
def encode(
    encoder: nn.Module,
    images: Images,
    view: Callable[[Batch], Tensor],
    accelerator: Accelerator,
    *,
    batch_size: int,
    workers: int,
) -> Iterator[Tensor]:
    """What the encoder makes of a view of each image, in their order: (B, D) float32 on the CPU, batch by batch.

    The encoder works in the accelerator's arithmetic, the view in float32 as in training.

    Args:
        encoder: (B, C, H, W) -> (B, D), in evaluation mode meanwhile.
        view: images as they are stored to (B, C, H, W).
        workers: processes that decode images which are not kept decoded.
    """
    with evaluating(encoder):
        for stored in ordered_batches(images, batch_size, workers=workers):
            seen = view(stored.to(accelerator.device))
            with accelerator.autocast():
                features = encoder(seen)
            yield features.float().cpu()


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode for a while; every module returns to the mode that it had."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
