"""Images: sources, decoding, caches, order and augmentation."""

from sslzoo.data.sources import DATASETS, Source

__all__ = ["DATASETS", "Source"]
