"""Batched augmentation: settings, parameter sampling, torch operations and compiled kernels."""

from sslzoo.data.augment.config import Augmentation

__all__ = ["Augmentation"]
