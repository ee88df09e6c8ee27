"""Handwritten digits that come with scikit-learn: a data set without a download."""

import numpy as np
from datasets import ClassLabel, Dataset, Features, Image
from sklearn.datasets import load_digits

from sslzoo.data.sources import DATASETS, Source

_TRAIN = 1297


@DATASETS.register("digits")
class Digits(Source):
    """1,797 digits of 8 x 8 grayscale pixels: the first 1,297 are `train`, the last 500 are `test`.

    A part of the UCI set "Optical Recognition of Handwritten Digits" (Alpaydin and Kaynak 1998), 13 writers.
    The order is that of scikit-learn, in which the digits of each writer appear to be adjacent. So `test` contains
    mostly unseen writers, unlike a random split.
    """

    def load(self, split: str) -> Dataset:
        rows = {"train": slice(None, _TRAIN), "test": slice(_TRAIN, None)}.get(split)
        if rows is None:
            raise self.no_such_split(split, ["train", "test"])
        digits = load_digits()
        pixels = np.rint(digits.images[rows] * (255 / 16)).astype(np.uint8)
        features = Features(image=Image(), label=ClassLabel(names=[str(name) for name in digits.target_names]))
        return Dataset.from_dict({"image": list(pixels), "label": digits.target[rows]}, features=features)
