"""A test split is held out of labeled images that have none, by file name and seed."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sslzoo.data import held_out
from sslzoo.data.config import DatasetConfig
from sslzoo.data.folder import Listing, list_folder
from sslzoo.data.held_out import choose_test_images
from sslzoo.data.load import Data, load_data

ANIMALS = {"cat": 30, "dog": 20, "emu": 3}


@pytest.fixture
def animals(tmp_path, random_image) -> Path:
    """A folder with a folder of images for each class, and no splits."""
    root = tmp_path / "animals"
    for name, count in ANIMALS.items():
        (root / name).mkdir(parents=True)
        for number in range(count):
            Image.fromarray(random_image()).save(root / name / f"{number}.png")
    return root


def load(path: Path, **settings: object) -> Data:
    return load_data(DatasetConfig(path=str(path), test=None, **settings))


def names_of(path: Path, images) -> set[str]:
    """Names of the files of these images, which have the ids of the sorted listing."""
    listed = list_folder(path).images
    return {listed[row] for row in images.ids}


def test_labeled_folder_without_test_split_gets_one(animals: Path) -> None:
    data = load(animals)
    train, test = names_of(animals, data.train), names_of(animals, data.test)
    assert data.labeled is data.train
    assert train.isdisjoint(test)
    assert len(train | test) == sum(ANIMALS.values())
    assert 5 <= len(test) <= 18
    assert {name.partition("/")[0] for name in test} == set(ANIMALS)
    assert sum(name.startswith("emu/") for name in test) == 1
    assert data.held_out.describe() == "20 % of the labeled images, held out by file name and seed 0"
    pixels = data.test.gather(np.arange(len(data.test))).pixels
    assert pixels.shape[0] == len(test)


def test_split_depends_on_seed_and_names_only(animals: Path, tmp_path: Path, monkeypatch) -> None:
    first = names_of(animals, load(animals).test)
    assert names_of(animals, load(animals, cache="none").test) == first
    assert names_of(animals, load(animals, test_seed=1).test) != first
    moved = shutil.copytree(animals, tmp_path / "moved")
    assert names_of(moved, load(moved).test) == first

    def list_backwards(folder: Path) -> Listing:
        listing = list_folder(folder)
        return Listing(listing.images[::-1], listing.suffixes, listing.has_metadata, listing.fingerprint + "backwards")

    monkeypatch.setattr("sslzoo.data.huggingface.list_folder", list_backwards)
    backwards = load(animals)
    listed = list_folder(animals).images[::-1]
    assert {listed[row] for row in backwards.test.ids} == first


def test_images_keep_their_side_when_others_are_added(animals: Path, random_image) -> None:
    before = names_of(animals, load(animals).test)
    for number in range(100, 140):
        Image.fromarray(random_image()).save(animals / "cat" / f"{number}.png")
    after = names_of(animals, load(animals).test)
    old = {name for name in after if len(Path(name).stem) < 3}
    assert old == before
    assert len(after) > len(before)


def test_no_split_is_held_out_without_labels_or_share_or_with_a_tiny_class(animals: Path, random_image) -> None:
    for settings in ({"unlabeled": True}, {"test_share": 0}):
        data = load(animals, **settings)
        assert (data.test, data.held_out) == (None, None)
        assert len(data.train) == sum(ANIMALS.values())
    (animals / "fox").mkdir()
    for number in range(held_out.MIN_IMAGES - 1):
        Image.fromarray(random_image()).save(animals / "fox" / f"{number}.png")
    data = load(animals)
    assert (data.test, data.held_out) == (None, None)


def test_rows_without_file_names_are_chosen_by_row(tmp_path: Path) -> None:
    data = load_data(DatasetConfig(source="digits", channels=1, mean=(0.5,), std=(0.5,), test=None, test_limit=50))
    assert data.held_out.by == "row"
    assert len(data.test) == 50
    assert set(data.train.ids).isdisjoint(data.test.ids)
    assert len(data.train) < 1297 - 200


def test_images_without_label_stay_in_training(class_folders: Path) -> None:
    data = load(class_folders, train="train+test", labeled="test", cache="none")
    assert data.labeled is not data.train
    assert len(data.train) == 10  # another split than the labeled one
    shutil.rmtree(class_folders / "train" / "dog")  # the split `train` has one folder, so no labels
    for number in range(3, 6):
        shutil.copy(class_folders / "test" / "dog" / "0.png", class_folders / "test" / "dog" / f"{number}.png")
    data = load(class_folders, train="train+test", cache="none")
    assert len(data.labeled) < len(data.train)
    assert len(data.train) + len(data.test) == 3 + 3 + 5
    assert data.test.labels is not None
    assert (data.test.labels >= 0).all()


def test_share_is_met_and_order_of_images_does_not_matter() -> None:
    keys = [f"class/{number}.png" for number in range(20_000)]
    labels = np.arange(20_000) % 10
    chosen = choose_test_images(keys, labels, share=0.2, seed=0)
    assert chosen.mean() == pytest.approx(0.2, abs=0.01)
    order = np.random.default_rng(0).permutation(20_000)
    again = choose_test_images([keys[place] for place in order], labels[order], share=0.2, seed=0)
    assert np.array_equal(again, chosen[order])
    assert choose_test_images(keys, labels, share=1e-9, seed=0).sum() == 10
    assert choose_test_images(keys, labels, share=1 - 1e-9, seed=0).sum() == 20_000 - 2 * 10
