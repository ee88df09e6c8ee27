"""Data sets: sources, decoding, cache, loaders and augmentation."""

from sslzoo.data.sources import DATASETS, Source

__all__ = ["DATASETS", "Source"]
