"""The settings of an embedding."""

from pathlib import Path
from typing import Annotated

import tyro

from sslzoo.evaluation.job import EncoderJob


class EmbeddingJob(EncoderJob):
    """Write the features of images to a file: .npz, .parquet or .faiss."""

    images: Annotated[tuple[str, ...], tyro.conf.Suppress] = ()
    """A folder of images, image files, or a text file with a path on each line; empty for the images of `dataset`.
    Given as `--images PATH ...`."""
    split: str | None = None
    """Split of the data set: a name, an expression such as `train+test`, or `all`; None uses all images of a folder
    that `--images` names, otherwise `dataset.train`."""
    output: Path | None = None
    """File of the features. Its ending chooses the format: .npz, .parquet or .faiss."""
    tokens: bool = False
    """Write one feature for each patch of a vision transformer, or each place in the feature map of a convolutional
    network, instead of one for each image: (N, P, D)."""
    columns: bool = False
    """Parquet: write a column for each dimension, `f0`, `f1`, ..., instead of one column of lists."""
