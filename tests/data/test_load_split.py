"""One split without decoding: its images, paths and labels, batches without undecodable images, and listed files."""

from pathlib import Path

import datasets
import numpy as np
import pytest
from PIL import Image

from sslzoo.data import DATASETS, Source
from sslzoo.data.config import DatasetConfig
from sslzoo.data.files import load_files, read_list
from sslzoo.data.load import load_split, load_table
from sslzoo.data.loader import decodable_batches
from sslzoo.runtime.errors import UserError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six images, the third of which is damaged."""
    for number in range(6):
        file = tmp_path / "images" / ("ant", "bee")[number % 2] / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8 + number, 8), (10 * number, 0, 0)).save(file)
    (tmp_path / "images/ant/4.png").write_bytes(b"damaged")
    return tmp_path / "images"


def config_of(folder: Path, **settings: object) -> DatasetConfig:
    return DatasetConfig(path=str(folder), max_skipped=None, **settings)


def test_folder_is_loaded_without_decoding(folder: Path) -> None:
    images = load_split(config_of(folder), "all")
    assert images.list_paths().to_pylist() == [f"{folder}/{name}" for name in
        ("ant/0.png", "ant/2.png", "ant/4.png", "bee/1.png", "bee/3.png", "bee/5.png")]  # fmt: skip
    assert images.labels is not None
    assert [images.classes[label] for label in images.labels] == ["ant"] * 3 + ["bee"] * 3
    assert images.skipped.messages == []
    few = load_split(config_of(folder, limit=2), "train")
    assert [path.partition("images/")[2][:3] for path in few.list_paths().to_pylist()] == ["ant", "bee"]


@pytest.mark.parametrize("workers", [0, 2])
def test_undecodable_images_are_left_out_of_batches(folder: Path, workers: int) -> None:
    images = load_split(config_of(folder), "train")
    chunks = [np.array([0, 1]), np.array([2]), np.array([2, 3, 4])]
    batches = list(decodable_batches(images, chunks, workers=workers))
    assert [None if batch is None else batch.ids.tolist() for batch, _ in batches] == [[0, 1], None, [3, 4]]
    assert [len(errors) for _, errors in batches] == [0, 1, 1]
    assert f"row 2 ({folder}/ant/4.png): not an image that can be decoded" in batches[1].errors[0]
    assert batches[2].batch is not None
    assert batches[2].batch.sizes.tolist() == [[8, 9], [8, 11]]


def test_all_splits_of_digits() -> None:
    config = DatasetConfig(source="digits")
    assert len(load_split(config, "all")) == len(load_split(config, "train+test")) == 1797
    with pytest.raises(UserError, match=r"train tset: no such split; digits has train, test"):
        load_split(config, "tset")
    assert load_split(config, "test").list_paths().null_count == 500


def test_splits_of_a_table_are_listed(tmp_path: Path) -> None:
    for split, count in (("train", 3), ("test", 2)):
        features = datasets.Features(image=datasets.Image())
        table = datasets.Dataset.from_dict({"image": [np.zeros((4, 4, 3), np.uint8)] * count}, features=features)
        table.to_parquet(tmp_path / f"{split}.parquet")
    assert len(load_split(DatasetConfig(path=str(tmp_path)), "all")) == 5


def test_source_without_a_list_of_splits_is_an_error(tmp_path: Path) -> None:
    @DATASETS.register("unlisted")
    class Unlisted(Source):
        def load(self, split: str) -> datasets.Dataset:
            raise NotImplementedError

    try:
        with pytest.raises(UserError, match="--split all: the source unlisted does not list its splits; name one"):
            load_split(DatasetConfig(source="unlisted"), "all")
    finally:
        del DATASETS._classes["unlisted"]


def test_paths_follow_selected_rows(folder: Path) -> None:
    files = sorted(str(file) for file in folder.rglob("*.png"))
    table = datasets.Dataset.from_dict({"image": files}, features=datasets.Features(image=datasets.Image()))
    images = load_table(table.select([4, 1, 3]), DatasetConfig())
    assert images.list_paths().to_pylist() == [files[4], files[1], files[3]]


def test_listed_files_keep_their_order(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = ["images/bee/5.png", "images/ant/0.png", str(folder / "bee/1.png")]
    images = load_files(names, DatasetConfig())
    assert images.list_paths().to_pylist() == [f"{folder}/bee/5.png", f"{folder}/ant/0.png", f"{folder}/bee/1.png"]
    assert images.gather(np.array([0, 2])).sizes.tolist() == [[8, 13], [8, 9]]
    before = images.fingerprint
    Image.new("RGB", (9, 9)).save(folder / "bee/5.png")
    assert load_files(names, DatasetConfig()).fingerprint != before
    for name in ("gone.png", "images", "https://example.org/a.png"):
        with pytest.raises(UserError, match=f"--images {name}: no such file"):
            load_files([name], DatasetConfig())


def test_list_of_paths(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("a.png\n\n b c.png \n", encoding="utf-8")
    assert read_list(tmp_path / "list.txt") == ["a.png", "b c.png"]
    (tmp_path / "list.txt").write_text("\n")
    with pytest.raises(UserError, match="contains no path; write one per line"):
        read_list(tmp_path / "list.txt")
    (tmp_path / "list.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match="cannot be read"):
        read_list(tmp_path / "list.txt")
