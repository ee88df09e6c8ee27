"""Tests of the data set."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from sslzoo import DATASETS, compose, load_data

PLUGIN = str(Path(__file__).with_name("new_dataset.py"))
FLAGS = ["--plugin", PLUGIN, "--dataset", "new-dataset"]
CONFIG = compose(FLAGS).dataset
SOURCE = DATASETS.get("new-dataset")(CONFIG)


def load_images(split: str) -> list[NDArray[np.uint8]]:
    """Load all images of a split."""
    return [np.asarray(row) for row in SOURCE.load(split)["image"]]


def test_splits_load_for_training() -> None:
    data = load_data(CONFIG.model_copy(update={"cache": "none"}))
    assert len(data.train) == 512
    assert data.test is not None
    assert len(data.test) == 128
    assert data.classes == ["bar", "square"]


def test_images_are_equal_in_each_call() -> None:
    assert np.array_equal(load_images("test"), load_images("test"))


def test_train_and_test_share_no_image() -> None:
    train, test = load_images("train"), load_images("test")
    assert not {*map(bytes, train)} & {*map(bytes, test)}


def test_unknown_split_is_an_error() -> None:
    with pytest.raises(ValueError, match="no such split"):
        SOURCE.load("trian")
