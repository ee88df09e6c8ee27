"""Handwritten digits that come with scikit-learn: a data set without a download."""

import numpy as np
from datasets import ClassLabel, Dataset, Features, Image
from sklearn.datasets import load_digits

from sslzoo.data.sources import DATASETS, Source

_SPLITS = {"train": range(1297), "test": range(1297, 1797)}


@DATASETS.register("digits")
class Digits(Source):
    """1,797 digits of 8 x 8 grayscale pixels: the first 1,297 are `train`, the last 500 are `test`.

    A part of the UCI set "Optical Recognition of Handwritten Digits" (Alpaydin and Kaynak 1998), 13 writers.
    The order is that of scikit-learn, in which the digits of each writer appear to be adjacent. So `test` contains
    mostly unseen writers, unlike a random split.
    """

    def list_splits(self) -> list[str]:
        return list(_SPLITS)

    def load(self, split: str) -> Dataset:
        names = split.split("+")
        if not set(names) <= set(_SPLITS):
            raise self.no_such_split(split, self.list_splits())
        rows = [row for name in names for row in _SPLITS[name]]
        digits = load_digits()
        pixels = np.rint(digits.images[rows] * (255 / 16)).astype(np.uint8)
        features = Features(image=Image(), label=ClassLabel(names=[str(name) for name in digits.target_names]))
        return Dataset.from_dict({"image": list(pixels), "label": digits.target[rows]}, features=features)
