"""Images that cannot be decoded are left out, counted and named, as many as the user allows."""

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


WAYS = [{"cache": "memory-map"}, {"cache": "none"}, {"cache": "none", "workers": 2}]


@pytest.mark.parametrize("settings", WAYS)
def test_the_rest_keeps_its_ids_labels_and_pixels(damaged, settings):
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


@pytest.mark.parametrize("settings", WAYS)
def test_once_looked_through_it_is_known(damaged, settings, monkeypatch):
    before = load(damaged, max_skipped=2, **settings)
    monkeypatch.setattr("sslzoo.data.cache._decoded", lambda *_: pytest.fail("decoded again"))
    again = load(damaged, max_skipped=2, **settings)
    assert sorted(again.skipped.messages) == sorted(before.skipped.messages)
    assert again.train.fingerprint == before.train.fingerprint
    with pytest.raises(UserError, match=r"^--dataset\.max-skipped 1: more cannot be decoded: .*row 1.*row 3"):
        load(damaged, max_skipped=1, **settings)


@pytest.mark.parametrize("settings", WAYS)
def test_a_data_set_none_of_which_can_be_decoded_is_refused(damaged, settings):
    for file in (damaged / "train").rglob("*.png"):
        file.write_bytes(b"")
    with pytest.raises(UserError, match=r"row 0 .*: cannot identify image file; nor can any other be decoded$"):
        load(damaged, max_skipped=9, **settings)


def test_a_mended_image_is_there_again(damaged, random_image):
    assert len(load(damaged, max_skipped=5).train) == 3
    for name in ("cat/1.png", "dog/0.png"):
        Image.fromarray(random_image()).save(damaged / "train" / name)
    data = load(damaged, max_skipped=5)
    assert (len(data.train), data.skipped.messages) == (5, [])


def test_none_is_left_out_unless_asked(damaged):
    with pytest.raises(
        UserError, match=r"row 1 .*; repair or remove it, or skip up to N .* with --dataset\.max-skipped N$"
    ):
        load(damaged)
    assert [path.name for path in cache_root(DatasetConfig()).iterdir() if path.is_dir()] == []
    train = load(damaged, cache="none").train  # which looks when it reads
    with pytest.raises(UserError, match=r"row 1 .*--dataset\.max-skipped N$"):
        list(ordered_batches(train, 2))


def test_too_many_end_it_before_anything_is_written(damaged):
    with pytest.raises(UserError, match=r"^--dataset\.max-skipped 1: more cannot"):
        load(damaged, max_skipped=1)
    assert [path.name for path in cache_root(DatasetConfig()).iterdir() if path.is_dir()] == []


def test_a_cache_that_cannot_be_written_is_done_without(damaged, tmp_path):
    (tmp_path / "file").write_text("")
    data = load(damaged, max_skipped=2, cache="none", cache_dir=tmp_path / "file" / "cache")
    assert (len(data.train), len(data.skipped.messages)) == (3, 2)


def test_one_that_goes_bad_later_is_told(damaged):
    train = load(damaged, max_skipped=9, cache="none").train
    (damaged / "train" / "cat" / "0.png").write_bytes(b"")
    with pytest.raises(UserError, match=r"row 0 .*; it was one when the data set was looked through$"):
        train.gather(np.array([0]))


def test_images_of_several_sizes(tmp_path, random_image):
    for number in range(6):
        Image.fromarray(random_image(4 + number, 5)).save(tmp_path / f"{number}.png")
    (tmp_path / "2.png").write_bytes(b"")
    kept = load(tmp_path, test=None, max_skipped=1).train
    fresh = load(tmp_path, test=None, max_skipped=1, cache="none").train
    assert isinstance(kept, CachedImages)
    for one, other in zip(kept.gather(np.arange(5)), fresh.gather(np.arange(5)), strict=True):
        np.testing.assert_array_equal(one, other)


def test_of_a_stream_another_of_the_batch_takes_the_place(damaged):
    settings = {"streaming": True, "epoch_images": 5, "test": None}
    data = load(damaged, max_skipped=2, **settings)
    for epoch in range(2):
        (batch,) = epoch_batches(data.train, seed=0, epoch=epoch, batch_size=5)
        assert len(set(batch.ids.tolist())) == 3
        images = {tuple(image.flatten().tolist()) for image in batch.pixels}
        assert len(images) == 3
    assert len(data.skipped.messages) == 2  # however often they come
    with pytest.raises(UserError, match=r"^--dataset\.max-skipped 1: more cannot be decoded: "):
        list(epoch_batches(load(damaged, max_skipped=1, **settings).train, seed=0, epoch=0, batch_size=5))


def test_a_stream_of_rows_without_files(tmp_path, random_image):
    whole = io.BytesIO()
    Image.fromarray(random_image()).save(whole, "PNG")
    cells = [{"bytes": content, "path": None} for content in (whole.getvalue(), b"one", b"two", b"one")]
    features = datasets.Features(image=datasets.Image())
    datasets.Dataset.from_dict({"image": cells}, features=features).to_parquet(tmp_path / "train.parquet")
    data = load(tmp_path, streaming=True, epoch_images=4, test=None, max_skipped=2)
    list(epoch_batches(data.train, seed=0, epoch=0, batch_size=4))
    assert len(data.skipped.messages) == 2
    assert all("a row of SHA-256 " in name for name in data.skipped.messages)
    assert all(
        name.endswith("not an image that can be decoded: cannot identify image file") for name in data.skipped.messages
    )
    with pytest.raises(UserError, match=r"nor can any other of its batch$"):
        list(
            epoch_batches(
                load(tmp_path, streaming=True, epoch_images=1, test=None, max_skipped=2, train="train[1:2]").train,
                seed=0,
                epoch=0,
                batch_size=1,
            )
        )
