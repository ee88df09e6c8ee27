"""Files of features: each format returns what was written, foreign files are read, damaged ones are one-line errors."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import faiss
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from sslzoo import Embeddings, UserError
from sslzoo.embedding import faiss_index
from sslzoo.embedding.files import write_features
from sslzoo.embedding.rows import Chunks, Rows, Vectors


def create_embeddings(count: int = 9, width: int = 5) -> Embeddings:
    generator = np.random.default_rng(0)
    return Embeddings(
        generator.standard_normal((count, width), dtype=np.float32),
        ids=np.arange(count) * 3,
        paths=[None if n == 2 else f"folder/ü {n}.png" for n in range(count)],
        labels=[-1 if n == 1 else n % 2 for n in range(count)],
        classes=["ant", "bee"],
        metadata={"weights": "some", "skipped": ["row 1"]},
    )


@pytest.mark.parametrize("name", ["a.npz", "a.parquet", "a.faiss"])
def test_each_format_returns_what_was_written(name: str, tmp_path: Path) -> None:
    written = create_embeddings()
    written.save(tmp_path / name)
    read = Embeddings.load(tmp_path / name)
    expected = written.vectors
    if name == "a.faiss":
        expected = expected / np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(read.vectors, expected, rtol=0, atol=1e-7 if name == "a.faiss" else 0)
    np.testing.assert_array_equal(read.ids, written.ids)
    np.testing.assert_array_equal(read.labels, written.labels)
    assert [path or None for path in read.paths or []] == written.paths
    assert (read.classes, read.metadata) == (written.classes, written.metadata)
    assert not list(tmp_path.glob("*.tmp"))


@pytest.mark.parametrize("name", ["a.npz", "a.parquet", "a.faiss"])
def test_same_features_are_the_same_bytes(name: str, tmp_path: Path) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        create_embeddings().save(tmp_path / folder / name)
    for file in (tmp_path / "one").iterdir():
        assert file.read_bytes() == (tmp_path / "two" / file.name).read_bytes()


@pytest.mark.parametrize("name", ["a.npz", "a.parquet"])
def test_patches_keep_their_shape(name: str, tmp_path: Path) -> None:
    vectors = np.random.default_rng(0).standard_normal((4, 6, 3), dtype=np.float32)
    Embeddings(vectors).save(tmp_path / name)
    read = Embeddings.load(tmp_path / name)
    np.testing.assert_array_equal(read.vectors, vectors)
    assert (read.labels, read.paths) == (None, None)
    with pytest.raises(UserError, match="written with --tokens"):
        read.nearest(k=1)


def test_numpy_and_pandas_and_faiss_read_the_files(tmp_path: Path) -> None:
    embeddings = create_embeddings()
    embeddings.save(tmp_path / "a.npz")
    with np.load(tmp_path / "a.npz") as arrays:
        np.testing.assert_array_equal(arrays["vectors"], embeddings.vectors)
        assert arrays["paths"][0] == "folder/ü 0.png"
        assert arrays["classes"].tolist() == ["ant", "bee"]
    embeddings.save(tmp_path / "a.parquet")
    table = pd.read_parquet(tmp_path / "a.parquet")
    np.testing.assert_array_equal(np.stack(table["vector"].to_list()), embeddings.vectors)
    assert table["label"].tolist()[2:4] == ["ant", "bee"]
    assert table["label"].isna().tolist() == [n == 1 for n in range(9)]
    embeddings.save(tmp_path / "a.faiss")
    index = faiss.read_index(str(tmp_path / "a.faiss"))
    similarities, found = index.search(index.reconstruct_n(0, 9), 1)
    assert found[:, 0].tolist() == list(range(9))
    np.testing.assert_allclose(similarities, 1, atol=1e-6)


def test_columns_are_one_per_dimension(tmp_path: Path) -> None:
    embeddings = create_embeddings()
    embeddings.save(tmp_path / "a.parquet", columns=True)
    table = pd.read_parquet(tmp_path / "a.parquet")
    assert list(table.columns) == ["id", "path", "label", "f0", "f1", "f2", "f3", "f4"]
    np.testing.assert_array_equal(table["f3"], embeddings.vectors[:, 3])
    np.testing.assert_array_equal(Embeddings.load(tmp_path / "a.parquet").vectors, embeddings.vectors)


def test_vectors_of_an_npz_file_are_mapped_into_memory(tmp_path: Path) -> None:
    embeddings = create_embeddings()
    embeddings.save(tmp_path / "a.npz")
    assert isinstance(Embeddings.load(tmp_path / "a.npz").vectors, np.memmap)
    assert not isinstance(Embeddings.load(tmp_path / "a.npz", memory_map=False).vectors, np.memmap)
    np.savez_compressed(tmp_path / "b.npz", vectors=embeddings.vectors.astype(np.float64))
    np.testing.assert_array_equal(Embeddings.load(tmp_path / "b.npz").vectors, embeddings.vectors)
    assert Embeddings.load(tmp_path / "b.npz").ids.tolist() == list(range(9))


@pytest.mark.parametrize("name", ["a.npz", "a.parquet", "a.faiss"])
def test_one_chunk_is_in_memory_at_a_time(name: str, tmp_path: Path) -> None:
    alive: list[int] = []

    class Watched(np.ndarray):
        def __array_finalize__(self, source: object) -> None:
            return

    def create_chunks() -> Iterator[Vectors]:
        import gc
        import weakref

        living: list[weakref.ref[Watched]] = []
        for _ in range(8):
            gc.collect()
            alive.append(sum(reference() is not None for reference in living))
            chunk = np.ones((3, 4), np.float32).view(Watched)
            living.append(weakref.ref(chunk))
            yield chunk
            del chunk

    write_features(tmp_path / name, Rows(np.arange(24), None, None, []), Chunks((24, 4), create_chunks()))
    assert len(Embeddings.load(tmp_path / name)) == 24
    assert max(alive) <= 1  # the one that is being written


def test_parquet_has_a_row_group_per_chunk(tmp_path: Path) -> None:
    parts = [np.ones((3, 4), np.float32)] * 5
    write_features(tmp_path / "a.parquet", Rows(np.arange(15), None, None, []), Chunks((15, 4), parts))
    assert pq.ParquetFile(tmp_path / "a.parquet").num_row_groups == 5


def test_other_versions_of_faiss_build_the_index_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    embeddings = create_embeddings()
    embeddings.save(tmp_path / "a.faiss")
    monkeypatch.setattr(faiss_index, "_create_header", lambda faiss, width, count: b"of another version")
    embeddings.save(tmp_path / "b.faiss")
    assert (tmp_path / "a.faiss").read_bytes() == (tmp_path / "b.faiss").read_bytes()


@pytest.mark.parametrize("name", ["a.npz", "a.parquet", "a.faiss"])
@pytest.mark.parametrize("damage", ["empty", "half", "text"])
def test_damaged_file_is_a_one_line_error(name: str, damage: str, tmp_path: Path) -> None:
    create_embeddings(200, 64).save(tmp_path / name)
    content = (tmp_path / name).read_bytes()
    damaged = {"empty": b"", "half": content[: len(content) // 2], "text": b"not features"}[damage]
    (tmp_path / name).write_bytes(damaged)
    with pytest.raises(UserError, match=f"features .*{name}: not a readable file of features"):
        Embeddings.load(tmp_path / name)


def test_unknown_ending_names_the_possible_ones(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"a\.csv: must end in \.npz, \.parquet or \.faiss$"):
        create_embeddings().save(tmp_path / "a.csv")
    with pytest.raises(UserError, match="no such file"):
        Embeddings.load(tmp_path / "b.npz")
    assert list(tmp_path.iterdir()) == []


def test_lengths_must_agree() -> None:
    with pytest.raises(UserError, match="labels: has 2 values, and there are 3 vectors"):
        Embeddings(np.ones((3, 2)), labels=[0, 1])


def test_missing_faiss_is_a_one_line_error(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['faiss'] = None\n"
        "from sslzoo.cli import main\n"
        "sys.exit(main(['embed', '--untrained', '--dataset', 'digits', '--output', 'a.faiss']))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert done.stderr.strip() == (
        "error: --output a.faiss: needs FAISS; pip install faiss-cpu, or pip install 'sslzoo[search]'"
    )
    assert list(tmp_path.iterdir()) == []
