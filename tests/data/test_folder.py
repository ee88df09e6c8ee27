"""Local folders: splits, labels and changes of images; local data opens no connection and no file elsewhere."""

import os
import socket
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import EpsImagePlugin, Image

from sslzoo.data.config import DatasetConfig
from sslzoo.data.folder import ImageFolder, list_folder
from sslzoo.data.load import load_data
from sslzoo.runtime.errors import UserError
from sslzoo.runtime.progress import LineTimer


def touch(root, *paths):
    """Create empty files, which are listed but not decoded."""
    for path in paths:
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    return ImageFolder(root, list_folder(root))


def load(path, **settings):
    return load_data(DatasetConfig(path=str(path), **{"test": None, **settings}))


def read_stream(path):
    stream = load(path, streaming=True, epoch_images=1).train
    list(stream.epoch_batches(seed=0, epoch=0, batch_size=1, batches=1, rank=0, world=1, start=0, threads=0))


@pytest.fixture
def no_connection(monkeypatch):
    """Fail on any connection."""
    attempts = []

    def refuse(*arguments, **_):
        attempts.append(arguments)
        raise OSError("no network in this test")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    yield
    assert attempts == []


@pytest.mark.parametrize(
    ("paths", "splits"),
    [
        (["b.png", "a.JPG", "c/d.jpeg"], {"train": ["a.JPG", "b.png", "c/d.jpeg"]}),
        (["test-1.png", "train-2.png"], {"train": ["test-1.png", "train-2.png"]}),
        (["cat/1.png", "test/1.png"], {"train": ["cat/1.png", "test/1.png"]}),
        (["Training/1.png", "Val/1.png"], {"train": ["Training/1.png"], "validation": ["Val/1.png"]}),
        (["train/1.png", "unlabeled/1.png"], {"train": ["train/1.png"], "unlabeled": ["unlabeled/1.png"]}),
        (["test/1.png", "dev/1.png"], {"test": ["test/1.png"], "validation": ["dev/1.png"]}),
        (["train/1.png", "2.png"], {"train": ["train/1.png"]}),
        (["test/1.png", "2.png"], {"train": ["2.png", "test/1.png"]}),
        ([".hidden/1.png", "__MACOSX/1.png", ".1.png", "notes.txt", "1.png"], {"train": ["1.png"]}),
    ],
)
def test_splits_are_folders_at_the_top(tmp_path, paths, splits):
    assert touch(tmp_path, *paths).splits == splits


@pytest.mark.parametrize(
    ("paths", "classes"),
    [
        (["1.png", "2.png"], {}),
        (["cat/1.png", "cat/2.png"], {}),
        (["cat/1.png", "dog/2.png"], {"train": ["cat", "dog"]}),
        (["cat/1.png", "dog/deep/2.png"], {}),
        (["cat/1.png", "2.png"], {}),
        (["a/cat/1.png", "b/dog/2.png", "b/cat/3.png"], {"train": ["cat", "dog"]}),
        (["train/cat/1.png", "train/dog/1.png", "unlabeled/1.png"], {"train": ["cat", "dog"]}),
    ],
)
def test_classes_are_folders_of_equal_depth(tmp_path, paths, classes):
    assert touch(tmp_path, *paths).classes == classes


def test_table_of_several_splits(tmp_path):
    images = touch(
        tmp_path, "train/dog/1.png", "train/cat/2.png", "unlabeled/3.png", "test/cat/4.png", "test/owl/5.png"
    )
    table = images.load("train+unlabeled+test[1:]").cast_column("image", datasets.Image(decode=False))
    assert table.features["label"].names == ["cat", "dog", "owl"]
    assert table["label"][:] == [0, 1, None, 2]
    names = ["train/cat/2.png", "train/dog/1.png", "unlabeled/3.png", "test/owl/5.png"]
    assert [cell["path"] for cell in table["image"]] == [str(tmp_path / name) for name in names]


def test_labels_of_a_split_and_none_of_another(tmp_path, random_image):
    for name in ("train/cat/1.png", "train/dog/2.png", "unlabeled/3.png"):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random_image()).save(file)
    data = load(tmp_path, train="train+unlabeled")
    assert (data.classes, data.train.labels.tolist()) == (["cat", "dog"], [0, 1, -1])
    assert data.labeled.labels.tolist() == [0, 1]


def test_fingerprint_changes_with_every_change_of_an_image(tmp_path):
    touch(tmp_path, "a.png", "b.png")
    seen = [list_folder(tmp_path).fingerprint]
    assert list_folder(tmp_path).fingerprint == seen[0]
    touch(tmp_path, "notes.txt")
    assert list_folder(tmp_path).fingerprint == seen[0]
    for change in (
        lambda: (tmp_path / "a.png").write_bytes(b"1"),
        lambda: os.utime(tmp_path / "a.png", ns=(1, 1)),
        lambda: (tmp_path / "a.png").rename(tmp_path / "c.png"),
        lambda: (tmp_path / "c.png").unlink(),
        lambda: touch(tmp_path, "deep/d.png"),
    ):
        change()
        seen.append(list_folder(tmp_path).fingerprint)
    assert len(set(seen)) == len(seen)


def test_links_to_folders_are_followed_once(tmp_path):
    touch(tmp_path / "elsewhere", "1.png")
    touch(tmp_path / "set", "cat/2.png")
    (tmp_path / "set" / "dog").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "set" / "cat" / "up").symlink_to(tmp_path / "set")
    assert list_folder(tmp_path / "set").images == ["cat/2.png", "dog/1.png"]


def test_name_that_is_not_utf8_is_an_error(tmp_path):
    (tmp_path / os.fsdecode(b"\xff.png")).touch()
    with pytest.raises(UserError, match=r"the file name \\udcff\.png is not valid UTF-8; rename it"):
        load(tmp_path)


def test_a_long_walk_reports_its_progress(tmp_path, monkeypatch, capsys):
    touch(tmp_path, *(f"{number}.png" for number in range(2500)))
    monkeypatch.setattr(LineTimer, "is_due", lambda self: True)
    list_folder(tmp_path)
    assert [line.split(": ")[1] for line in capsys.readouterr().out.splitlines()] == [
        "1,000 images so far",
        "2,000 images so far",
    ]


def test_a_folder_is_walked_once(class_folders, monkeypatch):
    walked = []
    scandir = os.scandir

    def count(path):
        walked.append(Path(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", count)
    load(class_folders, test="test", cache="none")
    assert sorted(path for path in walked if path.is_relative_to(class_folders)) == sorted(
        [class_folders, *(path for path in class_folders.rglob("*") if path.is_dir())]
    )


def test_changed_image_is_decoded_again(tmp_path, random_image):
    before, after = random_image(), random_image()
    Image.fromarray(before).save(tmp_path / "0.png")
    load(tmp_path)
    Image.fromarray(after).save(tmp_path / "0.png")
    pixels = load(tmp_path).train.gather(np.arange(1)).pixels[0].permute(1, 2, 0).numpy()
    np.testing.assert_array_equal(pixels, after)


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("http://localhost:9/1.png", "its path is a URL, and a local data set reads local files only"),
        ("zip://1.png::http://localhost:9/a.zip", "its path is a URL, and a local data set reads local files only"),
        ("../secret.png", "its path leads out of the data set's folder"),
        ("{outside}", "its path leads out of the data set's folder"),
        ("pipe.png", "no such regular file"),
        ("/dev/zero", "its path leads out of the data set's folder"),
        ("missing.png", "no such regular file"),
        ("", "the cell has neither bytes nor a path"),
    ],
)
def test_paths_in_a_table_stay_in_its_folder(tmp_path, random_image, no_connection, path, message, streaming):
    folder = tmp_path / "set"
    folder.mkdir()
    os.mkfifo(folder / "pipe.png")
    Image.fromarray(random_image()).save(tmp_path / "secret.png")
    cells = [{"bytes": None, "path": path.format(outside=tmp_path / "secret.png")}]
    pq.write_table(pa.table({"image": cells}), folder / "train.parquet")
    with pytest.raises(UserError, match=f"not an image that can be decoded: {message}"):
        read_stream(folder) if streaming else load(folder)


def test_paths_in_a_table_are_relative_to_its_folder(tmp_path, random_image, monkeypatch):
    pixels = random_image()
    (tmp_path / "set" / "images").mkdir(parents=True)
    Image.fromarray(pixels).save(tmp_path / "set" / "images" / "1.png")
    pq.write_table(pa.table({"image": [{"bytes": None, "path": "images/1.png"}]}), tmp_path / "set" / "train.parquet")
    monkeypatch.chdir(tmp_path)
    for path in ("set/train.parquet", "set/*.parquet"):
        gathered = load(path).train.gather(np.arange(1)).pixels[0].permute(1, 2, 0).numpy()
        np.testing.assert_array_equal(gathered, pixels)


def test_metadata_file_cannot_name_files_elsewhere(tmp_path, random_image, no_connection):
    folder = tmp_path / "set"
    folder.mkdir()
    Image.fromarray(random_image()).save(tmp_path / "secret.png")
    Image.fromarray(random_image()).save(folder / "1.png")
    for name in ("../secret.png", "http://localhost:9/1.png"):
        (folder / "metadata.csv").write_text(f"file_name,label\n{name},1\n")
        with pytest.raises(UserError):
            load(folder)


def test_readme_cannot_name_remote_files(tmp_path, random_image, no_connection):
    Image.fromarray(random_image()).save(tmp_path / "1.png")
    readme = "---\nconfigs:\n- config_name: default\n  data_files: http://localhost:9/train.parquet\n---\n"
    (tmp_path / "README.md").write_text(readme)
    assert len(load(tmp_path).train) == 1
    (tmp_path / "1.png").unlink()
    features = datasets.Features(image=datasets.Image())
    datasets.Dataset.from_dict({"image": [random_image()]}, features=features).to_parquet(tmp_path / "train.parquet")
    assert len(load(tmp_path).train) == 1


def test_configuration_of_a_readme_is_read_on_request(tmp_path, random_image):
    features = datasets.Features(image=datasets.Image())
    for name, count in (("few", 1), ("many", 3)):
        table = datasets.Dataset.from_dict({"image": [random_image() for _ in range(count)]}, features=features)
        table.to_parquet(tmp_path / f"{name}.parquet")
    configs = "\n".join(f"- config_name: {name}\n  data_files: {name}.parquet" for name in ("few", "many"))
    (tmp_path / "README.md").write_text(f"---\nconfigs:\n{configs}\n---\n")
    assert len(load(tmp_path, subset="many").train) == 3
    with pytest.raises(UserError, match=r"--dataset\.subset manny: .*with such a configuration; did you mean many\?"):
        load(tmp_path, subset="manny")
    (tmp_path / "README.md").unlink()
    with pytest.raises(UserError, match=r"has no README\.md .* configuration \(`--dataset\.subset None` reads all"):
        load(tmp_path, subset="many")


def test_postscript_is_not_opened(tmp_path, random_image, monkeypatch):
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *_, **__: pytest.fail("started another program"))
    Image.fromarray(random_image()).save(tmp_path / "1.eps")
    (tmp_path / "1.eps").rename(tmp_path / "1.png")
    with pytest.raises(UserError, match="cannot identify image file"):
        load(tmp_path)


@pytest.mark.parametrize("kind", ["pipe", "broken link"])
def test_entry_that_is_no_regular_file_is_named(tmp_path, random_image, kind):
    Image.fromarray(random_image()).save(tmp_path / "0.png")
    if kind == "pipe":
        os.mkfifo(tmp_path / "1.png")
    else:
        (tmp_path / "1.png").symlink_to(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"row 1 \(.*1\.png\): not an image .*: no such regular file"):
        load(tmp_path)
    assert len(load(tmp_path, max_skipped=1).train) == 1
