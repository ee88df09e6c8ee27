"""The order of images is complete, repeatable, partitioned over processes, and resumable."""

from itertools import chain

import datasets
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from sslzoo.data.batch import Batch
from sslzoo.data.config import DatasetConfig
from sslzoo.data.images import Images
from sslzoo.data.load import load_data
from sslzoo.data.loader import batches_per_epoch, epoch_batches, ordered_batches
from sslzoo.data.threads import threaded_map
from sslzoo.runtime.errors import UserError


class Numbers(Images):
    """n images of one pixel, whose value is the position of the image."""

    decoded = True

    def __init__(self, n):
        self.ids, self.labels, self.classes, self.channels, self.fingerprint = (
            np.arange(n),
            None,
            [],
            1,
            str(n),
        )

    def gather(self, indices):
        pixels = torch.from_numpy(indices.astype(np.uint8)).reshape(-1, 1, 1, 1)
        return self._batch(pixels, torch.ones(len(indices), 2, dtype=torch.int64), indices)


def ids(batches):
    return [batch.ids.tolist() for batch in batches]


def flat(lists):
    return list(chain.from_iterable(lists))


epochs = st.fixed_dictionaries({"seed": st.integers(0, 5), "epoch": st.integers(0, 5)})


@given(n=st.integers(1, 120), batch_size=st.integers(1, 8), world=st.integers(1, 5), where=epochs)
def test_processes_partition_the_global_batches(n, batch_size, world, where):
    if n < batch_size * world:
        with pytest.raises(UserError, match=f"--batch-size {batch_size}.* needs {batch_size * world} images.* {n};"):
            epoch_batches(Numbers(n), batch_size=batch_size, world=world, **where)
        return
    parts = [
        ids(epoch_batches(Numbers(n), batch_size=batch_size, rank=rank, world=world, **where)) for rank in range(world)
    ]
    assert {len(part) for part in parts} == {batches_per_epoch(n, batch_size, world)}
    joined = [flat(shares) for shares in zip(*parts, strict=True)]
    single = ids(epoch_batches(Numbers(n), batch_size=batch_size * world, **where))
    assert joined == single
    seen = flat(joined)
    assert len(set(seen)) == len(seen) == n // (batch_size * world) * batch_size * world
    assert set(seen) <= set(range(n))


@given(start=st.integers(0, 12), world=st.integers(1, 3), where=epochs)
def test_start_gives_the_rest_of_the_epoch(start, world, where):
    settings = {"batch_size": 4, "rank": world - 1, "world": world, **where}
    whole = ids(epoch_batches(Numbers(50), **settings))
    assert ids(epoch_batches(Numbers(50), start=start, **settings)) == whole[start:]


def test_epochs_and_seeds_differ_and_repeat():
    orders = {
        (seed, epoch): tuple(flat(ids(epoch_batches(Numbers(64), seed=seed, epoch=epoch, batch_size=8))))
        for seed in range(3)
        for epoch in range(3)
    }
    assert len(set(orders.values())) == 9
    assert list(orders[1, 2]) == flat(ids(epoch_batches(Numbers(64), seed=1, epoch=2, batch_size=8)))
    assert all(sorted(order) == list(range(64)) for order in orders.values())


@given(n=st.integers(1, 40), batch_size=st.integers(1, 50))
def test_evaluation_sees_every_image_once_in_order(n, batch_size):
    batches = ids(ordered_batches(Numbers(n), batch_size))
    assert flat(batches) == list(range(n))
    assert all(len(batch) == batch_size for batch in batches[:-1])


@pytest.mark.parametrize("workers", [0, 2])
def test_cached_and_decoded_batches_are_the_same(class_folders, workers):
    config = DatasetConfig(path=str(class_folders), test=None)
    kept = load_data(config).train
    fresh = load_data(config.model_copy(update={"cache": "none"})).train
    expected = list(epoch_batches(kept, seed=0, epoch=1, batch_size=2))
    found = list(epoch_batches(fresh, seed=0, epoch=1, batch_size=2, workers=workers))
    assert len(found) == 2
    for one, other in zip(found, expected, strict=True):
        assert isinstance(one, Batch)
        for part, other_part in zip(one, other, strict=True):
            torch.testing.assert_close(part, other_part, rtol=0, atol=0)


def test_worker_reports_a_damaged_image_in_one_line(class_folders):
    (class_folders / "train" / "dog" / "1.png").write_bytes(b"no image")
    train = load_data(DatasetConfig(path=str(class_folders), test=None, cache="none")).train
    with pytest.raises(UserError, match=r"row 4 \(.*1\.png\): not an image") as error:
        list(ordered_batches(train, 2, workers=1))
    assert "\n" not in str(error.value)
    assert str(error.value).startswith(str(class_folders))


def test_threaded_map_is_ordered_bounded_and_stops():
    consumed = []
    results = threaded_map(lambda x: -x, (consumed.append(x) or x for x in range(100)), threads=3, ahead=4)
    assert [next(results) for _ in range(10)] == [-x for x in range(10)]
    assert len(consumed) <= 15
    results.close()
    assert len(consumed) <= 15
    with pytest.raises(ZeroDivisionError):
        list(threaded_map(lambda x: 1 // x, [1, 0, 1]))


@pytest.fixture
def shards(tmp_path, random_image):
    """Four parquet files of 6 labeled images for train, first pixel = the row's number; 5 for test."""
    features = datasets.Features(image=datasets.Image(), label=datasets.ClassLabel(names=["a", "b"]))
    for split, files, rows in (("train", 4, 6), ("test", 1, 5)):
        for file in range(files):
            images = [random_image() for _ in range(rows)]
            for row, image in enumerate(images):
                image[0, 0] = file * rows + row
            columns = {"image": images, "label": [row % 2 for row in range(rows)]}
            path = tmp_path / f"{split}-{file:05d}-of-{files:05d}.parquet"
            datasets.Dataset.from_dict(columns, features=features).to_parquet(path)
    return tmp_path


def streamed(shards, **settings):
    defaults = {"epoch_images": 24, "shuffle_buffer": 8}
    return load_data(DatasetConfig(path=str(shards), streaming=True, **{**defaults, **settings}))


def rows_of(batches):
    return [batch.pixels[:, 0, 0, 0].tolist() for batch in batches]


@pytest.mark.parametrize("world", [1, 2, 3])
def test_stream_shares_all_images_without_overlap(shards, world):
    train = streamed(shards).train
    assert len(train) == 24
    settings = {"seed": 0, "epoch": 0, "batch_size": 4, "world": world}
    parts = [list(epoch_batches(train, rank=rank, **settings)) for rank in range(world)]
    assert {len(part) for part in parts} == {24 // (4 * world)}
    seen = flat(flat(rows_of(part)) for part in parts)
    assert sorted(seen) == list(range(24))
    assert sorted(flat(flat(ids(part)) for part in parts)) == list(range(24))
    labels = torch.cat([batch.labels for part in parts for batch in part])
    assert labels.tolist() == [row % 6 % 2 for row in seen]


def test_stream_repeats_resumes_and_reshuffles(shards):
    train = streamed(shards).train
    order = {
        (seed, epoch): rows_of(epoch_batches(train, seed=seed, epoch=epoch, batch_size=4))
        for seed, epoch in ((0, 0), (0, 1), (1, 0))
    }
    assert len({str(rows) for rows in order.values()}) == 3
    again = epoch_batches(train, seed=0, epoch=1, batch_size=4, start=2, workers=3)
    assert rows_of(again) == order[0, 1][2:]


def test_stream_that_ends_early_is_an_error(shards):
    train = streamed(shards, epoch_images=30).train
    with pytest.raises(UserError, match=r"--dataset\.epoch-images 30: .* ended after about 24; use at most 20"):
        list(epoch_batches(train, seed=0, epoch=0, batch_size=5))


def test_streaming_evaluates_on_tables(shards):
    data = streamed(shards, test_limit=3, labeled="train", limit=7)
    assert (len(data.test), len(data.labeled), data.classes) == (3, 7, ["a", "b"])
    assert data.labeled.labels.tolist() == [0, 1, 0, 1, 0, 1, 0]
    assert rows_of(ordered_batches(data.labeled, 4)) == [[0, 1, 2, 3], [4, 5, 6]]
    assert streamed(shards, test=None).test is None
    assert streamed(shards, test=None).labeled is None


def test_streams_of_folders_and_missing_splits(tmp_path, random_image, class_folders):
    data = streamed(class_folders, epoch_images=4, test_limit=2)
    batches = list(epoch_batches(data.train, seed=0, epoch=0, batch_size=4))
    assert (len(batches), batches[0].pixels.shape) == (1, (4, 3, 6, 8))
    joined = streamed(class_folders, train="train+test", epoch_images=10, test=None).train
    assert len(list(epoch_batches(joined, seed=0, epoch=0, batch_size=10))) == 1
    with pytest.raises(UserError, match=r"--dataset\.train trian: no such split; .* has train, test"):
        streamed(class_folders, train="trian")
    (class_folders / "train" / "cat" / "0.png").write_bytes(b"no image")
    Image.fromarray(random_image()).save(class_folders / "train" / "cat" / "9.png")
    with pytest.raises(UserError, match=r"a row \(.*0\.png\): not an image"):
        list(epoch_batches(streamed(class_folders, epoch_images=6).train, seed=0, epoch=0, batch_size=6))
