"""A data set of your own: where images come from."""

import numpy as np
from datasets import ClassLabel, Dataset, Features, Image
from sslzoo.data.sources import DATASETS, Source


@DATASETS.register("new-dataset")
class NewDataset(Source):
    """Bars and squares on noise, made up: put images of your own in their place."""

    def load(self, split: str) -> Dataset:
        """A split as a table with a column of images, and one of labels if there are.

        An image may also be a path to a file, as in `{"image": ["a.jpg", "b.jpg"]}`.

        Raises:
            UserError: there is no such split.
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
