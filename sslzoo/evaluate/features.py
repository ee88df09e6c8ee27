"""Features of a frozen encoder."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


@torch.inference_mode()
def extract(encoder: nn.Module, images: Iterable[tuple[Tensor, Tensor]], device: torch.device) -> tuple[Tensor, Tensor]:
    """Features of all pictures, in their order.

    Args:
        encoder: (B, C, H, W) -> (B, D); in evaluation mode meanwhile, each of its modules as it was afterwards.
        images: pairs of pictures (B, C, H, W) and labels (B,).
        device: where the encoder is.

    Returns:
        Features (N, D) float32 and labels (N,) int64, both on the CPU.
    """
    features, labels = [], []
    with evaluating(encoder):
        for pictures, classes in images:
            features.append(encoder(pictures.to(device)).float().cpu())
            labels.append(classes.cpu())
    return torch.cat(features), torch.cat(labels)


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
