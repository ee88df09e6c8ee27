"""Undecodable images are skipped, counted and named, up to the limit that the user sets."""

import io

import datasets
import numpy as np
import pytest
from PIL import Image

from sslzoo.data.cache import CachedImages, cache_root
from sslzoo.data.config import DatasetConfig
from sslzoo.data.load import load_data
from sslzoo.data.loader import epoch_batches, ordered_batches
from sslzoo.runtime.errors import UserError


@pytest.fixture
def damaged(class_folders):
    """The class folders, with an empty and a truncated image among the five of train."""
    (class_folders / "train" / "cat" / "1.png").write_bytes(b"")
    file = class_folders / "train" / "dog" / "0.png"
    file.write_bytes(file.read_bytes()[:-40])
    return class_folders


def load(path, **settings):
    return load_data(DatasetConfig(path=str(path), **settings))


CACHES = [{"cache": "memory-map"}, {"cache": "none"}, {"cache": "none", "workers": 2}]


@pytest.mark.parametrize("settings", CACHES)
def test_other_images_keep_their_ids_labels_and_pixels(damaged, settings):
    whole = [np.asarray(Image.open(damaged / "train" / name)) for name in ("cat/0.png", "cat/2.png", "dog/1.png")]
    data = load(damaged, max_skipped=2, **settings)
    train = data.train
    assert (train.ids.tolist(), train.labels.tolist(), len(train)) == ([0, 2, 4], [0, 0, 1], 3)
    (batch,) = ordered_batches(train, 8, workers=settings.get("workers", 0))
    np.testing.assert_array_equal(batch.pixels.permute(0, 2, 3, 1).numpy(), np.stack(whole))
    assert (batch.ids.tolist(), batch.labels.tolist()) == ([0, 2, 4], [0, 0, 1])
    assert len(data.test) == 5
    first, second = sorted(data.skipped.messages)
    assert first.startswith(f"{damaged} (train), row 1 ({damaged}/train/cat/1.png): not an image that can be decoded: ")
    assert second.startswith(f"{damaged} (train), row 3 ({damaged}/train/dog/0.png): ")


@pytest.mark.parametrize("settings", CACHES)
def test_skipped_images_are_found_only_once(damaged, settings, monkeypatch):
    before = load(damaged, max_skipped=2, **settings)
    monkeypatch.setattr("sslzoo.data.cache._decode_all", lambda *_: pytest.fail("decoded again"))
    again = load(damaged, max_skipped=2, **settings)
    assert sorted(again.skipped.messages) == sorted(before.skipped.messages)
    assert again.train.fingerprint == before.train.fingerprint
    with pytest.raises(UserError, match=r"^--dataset\.max-skipped 1: more cannot be decoded: .*row 1.*row 3"):
        load(damaged, max_skipped=1, **settings)


@pytest.mark.parametrize("settings", CACHES)
def test_data_set_without_decodable_images_is_an_error(damaged, settings):
    for file in (damaged / "train").rglob("*.png"):
        file.write_bytes(b"")
    with pytest.raises(UserError, match=r"row 0 .*: cannot identify image file; no other image can be decoded either$"):
        load(damaged, max_skipped=9, **settings)


def test_repaired_images_are_used_again(damaged, random_image):
    assert len(load(damaged, max_skipped=5).train) == 3
    for name in ("cat/1.png", "dog/0.png"):
        Image.fromarray(random_image()).save(damaged / "train" / name)
    data = load(damaged, max_skipped=5)
    assert (len(data.train), data.skipped.messages) == (5, [])


def test_no_image_is_skipped_by_default(damaged):
    with pytest.raises(
        UserError, match=r"row 1 .*; repair or remove it, or skip up to N .* with --dataset\.max-skipped N$"
    ):
        load(damaged)
    assert [path.name for path in cache_root(DatasetConfig()).iterdir() if path.is_dir()] == []
    train = load(damaged, cache="none").train  # images are decoded when they are read
    with pytest.raises(UserError, match=r"row 1 .*--dataset\.max-skipped N$"):
        list(ordered_batches(train, 2))


def test_too_many_undecodable_images_leave_no_cache(damaged):
    with pytest.raises(UserError, match=r"^--dataset\.max-skipped 1: more cannot"):
        load(damaged, max_skipped=1)
    assert [path.name for path in cache_root(DatasetConfig()).iterdir() if path.is_dir()] == []


def test_unwritable_cache_is_not_used(damaged, tmp_path):
    (tmp_path / "file").write_text("")
    data = load(damaged, max_skipped=2, cache="none", cache_dir=tmp_path / "file" / "cache")
    assert (len(data.train), len(data.skipped.messages)) == (3, 2)


def test_image_damaged_after_the_check_is_an_error(damaged):
    train = load(damaged, max_skipped=9, cache="none").train
    (damaged / "train" / "cat" / "0.png").write_bytes(b"")
    with pytest.raises(UserError, match=r"row 0 .*; it could be decoded when the data set was checked$"):
        train.gather(np.array([0]))


def test_skipping_among_images_of_several_sizes(tmp_path, random_image):
    for number in range(6):
        Image.fromarray(random_image(4 + number, 5)).save(tmp_path / f"{number}.png")
    (tmp_path / "2.png").write_bytes(b"")
    kept = load(tmp_path, test=None, max_skipped=1).train
    fresh = load(tmp_path, test=None, max_skipped=1, cache="none").train
    assert isinstance(kept, CachedImages)
    for one, other in zip(kept.gather(np.arange(5)), fresh.gather(np.arange(5)), strict=True):
        np.testing.assert_array_equal(one, other)


def test_stream_replaces_undecodable_images_by_others_of_the_batch(damaged):
    settings = {"streaming": True, "epoch_images": 5, "test": None}
    data = load(damaged, max_skipped=2, **settings)
    for epoch in range(2):
        (batch,) = epoch_batches(data.train, seed=0, epoch=epoch, batch_size=5)
        assert len(set(batch.ids.tolist())) == 3
        images = {tuple(image.flatten().tolist()) for image in batch.pixels}
        assert len(images) == 3
    assert len(data.skipped.messages) == 2  # each is counted once
    with pytest.raises(UserError, match=r"^--dataset\.max-skipped 1: more cannot be decoded: "):
        list(epoch_batches(load(damaged, max_skipped=1, **settings).train, seed=0, epoch=0, batch_size=5))


def test_stream_names_rows_without_files_by_their_digest(tmp_path, random_image):
    whole = io.BytesIO()
    Image.fromarray(random_image()).save(whole, "PNG")
    cells = [{"bytes": content, "path": None} for content in (whole.getvalue(), b"one", b"two", b"one")]
    features = datasets.Features(image=datasets.Image())
    datasets.Dataset.from_dict({"image": cells}, features=features).to_parquet(tmp_path / "train.parquet")
    data = load(tmp_path, streaming=True, epoch_images=4, test=None, max_skipped=2)
    list(epoch_batches(data.train, seed=0, epoch=0, batch_size=4))
    assert len(data.skipped.messages) == 2
    assert all("a row of SHA-256 " in message for message in data.skipped.messages)
    assert all(
        message.endswith("not an image that can be decoded: cannot identify image file")
        for message in data.skipped.messages
    )
    with pytest.raises(UserError, match=r"no other image of its batch can be decoded either$"):
        list(
            epoch_batches(
                load(tmp_path, streaming=True, epoch_images=1, test=None, max_skipped=2, train="train[1:2]").train,
                seed=0,
                epoch=0,
                batch_size=1,
            )
        )
