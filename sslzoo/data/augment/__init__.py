"""Batched augmentation: settings, sampling of parameters, torch operations and compiled kernels."""

from sslzoo.data.augment.config import Augmentation

__all__ = ["Augmentation"]
