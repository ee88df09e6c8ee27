"""The cache of decoded images is built once, by one process, and never used when it is incomplete."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sslzoo.data import cache
from sslzoo.data.cache import CachedImages, cache_root
from sslzoo.data.config import DatasetConfig
from sslzoo.data.images import EncodedImages
from sslzoo.data.load import load_data
from sslzoo.runtime.errors import UserError


def load(path, **settings):
    return load_data(DatasetConfig(path=str(path), **{"test": None, **settings})).train


def folders(root):
    return sorted(path.name for path in root.iterdir() if path.is_dir())


@pytest.fixture
def images(tmp_path, random_image):
    root = tmp_path / "images"
    root.mkdir()
    for number in range(150):
        Image.fromarray(random_image(4 + number % 3, 5)).save(root / f"{number:03d}.png")
    return root


@pytest.fixture
def built(monkeypatch):
    """Names of the splits that were decoded into the cache."""
    names = []
    build = cache._build
    monkeypatch.setattr(cache, "_build", lambda folder, images: (names.append(images.name), build(folder, images)))
    return names


def test_decoding_is_announced_once(images, capsys):
    for _ in range(2):
        load(images)
    assert capsys.readouterr().out.splitlines()[-1:] == [f"decoding {images} (train): 150 images, once"]


@pytest.mark.parametrize("same_size", [True, False])
def test_same_images_with_and_without_cache(images, same_size):
    limit = {"short_side": 4} if not same_size else {}
    if same_size:
        for file in images.iterdir():
            Image.open(file).crop((0, 0, 5, 4)).save(file)
    kept, fresh = load(images, **limit), load(images, **limit, cache="none")
    assert (type(kept), type(fresh)) == (CachedImages, EncodedImages)
    assert kept.fingerprint == fresh.fingerprint
    for indices in (np.arange(150), np.array([149, 0, 7, 7])):
        for one, other in zip(kept.gather(indices)[:4], fresh.gather(indices)[:4], strict=True):
            assert one.dtype == other.dtype
            np.testing.assert_array_equal(one, other)


def test_subsets_keep_ids_and_labels(class_folders):
    whole = load(class_folders)
    part = whole.subset(np.array([4, 1, 3])).subset(np.array([2, 0]))
    assert part.ids.tolist() == [3, 4]
    assert part.labels.tolist() == [1, 1]
    batch = part.gather(np.array([1]))
    np.testing.assert_array_equal(batch.pixels, whole.gather(np.array([4])).pixels)
    assert (batch.ids.tolist(), batch.labels.tolist()) == ([4], [1])
    assert len({whole.fingerprint, part.fingerprint, whole.subset(np.array([3])).fingerprint}) == 3


def test_cache_is_reused(images, built):
    load(images)
    load(images)
    assert len(built) == 1


def test_labels_do_not_change_the_cache(class_folders, built):
    load(class_folders)
    load(class_folders, unlabeled=True)
    assert len(built) == 1


@pytest.mark.parametrize(
    "settings",
    [
        {"short_side": 3},
        {"channels": 1, "mean": (0.5,), "std": (0.5,)},
        {"train": "train[:10]"},
        {"limit": 10},
    ],
)
def test_settings_that_change_the_pixels_change_the_fingerprint(images, settings):
    assert load(images).fingerprint != load(images, **settings).fingerprint


def test_changed_files_are_decoded_again(images, random_image):
    before = load(images)
    changed = random_image(5, 5)
    Image.fromarray(changed).save(images / "001.png")
    os.utime(images / "001.png", (1, 1))
    after = load(images)
    assert after.fingerprint != before.fingerprint
    np.testing.assert_array_equal(after.gather(np.array([1])).pixels[0].permute(1, 2, 0), changed)
    (images / "000.png").unlink()
    assert len(load(images)) == 149


def cut(content):
    return content[:-2]


def flip(content):
    return content[:-1] + bytes([content[-1] ^ 1])


def zero(content):
    return bytes(len(content))


@pytest.mark.parametrize("damage", [cut, flip, zero, lambda content: b""], ids=["cut", "flipped", "zeroed", "empty"])
@pytest.mark.parametrize("name", ["pixels.bin", "sizes.npy", "checksums.npy", "skipped.json", "meta.json"])
def test_damaged_folder_is_built_again(images, built, name, damage):
    first = load(images)
    expected = first.gather(np.arange(150)).pixels
    file = cache_root(DatasetConfig()) / first.fingerprint / name
    content = file.read_bytes()
    file.unlink()
    file.write_bytes(damage(content))
    np.testing.assert_array_equal(load(images).gather(np.arange(150)).pixels, expected)
    assert len(built) == 2


@pytest.mark.parametrize("content", ["{", "[]", '{"x": "y"}', '{"-1": "y"}', '{"1000": "y"}', "\xff"])
def test_damaged_list_of_skipped_images_is_written_again(images, content):
    settings = {"cache": "none", "max_skipped": 5}
    (images / "000.png").write_bytes(b"damaged")
    first = load(images, **settings)
    (file,) = cache_root(DatasetConfig()).glob("*.skipped.json")
    before = file.read_text()
    file.write_bytes(content.encode("latin-1"))
    np.testing.assert_array_equal(load(images, **settings).ids, first.ids)
    assert file.read_text() == before
    assert 0 not in first.ids


def test_large_cache_is_checked_when_an_image_is_read(images, built, monkeypatch):
    first = load(images, short_side=4)
    file = cache_root(DatasetConfig()) / first.fingerprint / "pixels.bin"
    file.write_bytes(zero(file.read_bytes()[:60]) + file.read_bytes()[60:])
    monkeypatch.setattr(cache, "_GIB", 0)
    opened = load(images, short_side=4, cache="memory-map")
    opened.gather(np.array([1, 149]))
    with pytest.raises(UserError, match=r"pixels\.bin: damaged at image 0; delete this folder, and its images are"):
        opened.gather(np.array([1, 0]))
    assert len(built) == 1


def test_all_images_of_a_large_cache_are_checked_when_they_are_stacked(class_folders, monkeypatch):
    first = load(class_folders)
    file = cache_root(DatasetConfig()) / first.fingerprint / "pixels.bin"
    file.write_bytes(flip(file.read_bytes()))
    monkeypatch.setattr(cache, "_GIB", 0)
    with pytest.raises(UserError, match=r"pixels\.bin: damaged at image 4"):
        load(class_folders, cache="memory-map").stacked()


def test_auto_caches_only_what_fits(images):
    assert isinstance(load(images, cache_gib=1e-9), EncodedImages)
    assert isinstance(load(images, cache_gib=1e-9, cache="memory-map"), CachedImages)
    assert isinstance(load(images, cache_gib=1e-9), CachedImages)  # the folder exists


def test_cache_root(monkeypatch, tmp_path):
    assert cache_root(DatasetConfig(cache_dir=tmp_path / "a")) == tmp_path / "a"
    monkeypatch.setenv("SSLZOO_CACHE", str(tmp_path / "b"))
    assert cache_root(DatasetConfig()) == tmp_path / "b"
    monkeypatch.delenv("SSLZOO_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "c"))
    assert cache_root(DatasetConfig()) == tmp_path / "c" / "sslzoo"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_root(DatasetConfig()) == tmp_path / ".cache" / "sslzoo"


def test_unwritable_folder_is_a_one_line_error(images, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"--dataset\.cache-dir .*file/cache: Not a directory; name another"):
        load(images, cache_dir=tmp_path / "file" / "cache")


def test_full_disk_is_a_one_line_error(images, tmp_path, monkeypatch):
    def full(file, images):
        file.write_bytes(b"some")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(cache, "_write_pixels", full)
    with pytest.raises(UserError, match=r"--dataset\.cache-dir .*: No space left on device; .*--dataset\.cache none"):
        load(images, cache_dir=tmp_path / "cache")
    assert folders(tmp_path / "cache") == []


PROGRAM = """
import hashlib, os, sys
import numpy as np
from sslzoo.data import cache
from sslzoo.data.config import DatasetConfig
from sslzoo.data.load import load_data

role, path = sys.argv[1:]
write = cache._write_pixels

def watched(file, images):
    print("decodes", flush=True)
    if role == "dies":
        file.write_bytes(b"half of it")
        os._exit(9)
    return write(file, images)

cache._write_pixels = watched
print("ready", flush=True)
sys.stdin.readline()
train = load_data(DatasetConfig(path=path, test=None)).train
print(hashlib.sha256(train.gather(np.arange(len(train))).pixels.numpy()).hexdigest(), train.fingerprint)
"""


@pytest.mark.long
def test_only_one_of_two_processes_decodes_after_a_third_died(images, tmp_path):
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path(cache.__file__).parents[2]),
        "HF_DATASETS_CACHE": str(tmp_path / "hf"),
        "SSLZOO_CACHE": str(tmp_path / "cache"),
        "OMP_NUM_THREADS": "1",
    }
    running = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM, role, str(images)],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for role in ("dies", "lives", "lives")
    ]
    try:
        for process in running:
            assert process.stdout.readline() == "ready\n"
        dead_out, _ = running[0].communicate("go\n", timeout=60)
        assert (running[0].returncode, dead_out.splitlines()[-1]) == (9, "decodes")
        (left,) = folders(tmp_path / "cache")
        assert left.endswith(".partial")
        for process in running[1:]:
            process.stdin.write("go\n")
            process.stdin.flush()
        outputs = []
        for process in running[1:]:
            out, errors = process.communicate(timeout=60)
            assert process.returncode == 0, errors
            outputs.append(out.splitlines())
    finally:
        for process in running:
            process.kill()
            process.wait()
    assert sum(line == "decodes" for output in outputs for line in output) == 1
    assert outputs[0][-1] == outputs[1][-1]
    assert folders(tmp_path / "cache") == [outputs[0][-1].split()[1]] == [left.removesuffix(".partial")]
