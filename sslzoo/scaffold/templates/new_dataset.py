"""A custom data set."""

import numpy as np
from datasets import ClassLabel, Dataset, Features, Image
from sslzoo import DATASETS, Source


@DATASETS.register("new-dataset")
class NewDataset(Source):
    """Synthetic bars and squares on noise; replace them with your images."""

    def load(self, split: str) -> Dataset:
        """Load a split as a table with images and, optionally, labels.

        Images may also be paths of files, as in `{"image": ["a.jpg", "b.jpg"]}`.

        Raises:
            UserError: the split does not exist.
        """
        sizes = {"train": 512, "test": 128}
        if split not in sizes:
            raise self.no_such_split(split, list(sizes))
        random = np.random.default_rng(list(sizes).index(split))
        labels = random.integers(2, size=sizes[split])
        images = random.integers(128, size=(len(labels), 16, 16, 3), dtype=np.uint8)
        for image, label in zip(images, labels, strict=True):
            top, left = random.integers(1, 8, size=2)
            image[top : top + 8, left : left + (8 if label else 3)] += 128
        names = ClassLabel(names=["bar", "square"])
        columns = {"image": list(images), "label": labels}
        return Dataset.from_dict(columns, Features(image=Image(), label=names))
