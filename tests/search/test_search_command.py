"""End-to-end tests of `run.py search`: results, files, queries, and invalid input."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from search_names import HOSTILE

from sslzoo import Embeddings
from sslzoo.cli import main

Words = list[str]


def search(*words: str) -> Path:
    """Run the command; return its folder."""
    assert main(["search", *words, "--folder", "result"]) == 0
    return Path("result")


def read_csv(file: Path) -> list[list[str]]:
    """Read a CSV file without its header."""
    with file.open(encoding="utf-8", newline="") as content:
        return list(csv.reader(content))[1:]


def refuse(words: Words, capsys: Any) -> str:
    """Run a command that must fail; return its only line without `error: `."""
    capsys.readouterr()
    assert main(["search", *words]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    return lines[0].removeprefix("error: ")


def test_planted_duplicates_are_found(shared: Path, capsys: Any) -> None:
    folder = search("duplicates", str(shared / "features.npz"), "--threshold", "0.9999")
    groups = read_csv(folder / "groups.csv")
    assert {row[1] for row in groups} == {"ant/000.png", "ant/100.jpg", f"ant/{HOSTILE}"}
    assert {row[0] for row in groups} == {"1"}
    pairs = read_csv(folder / "pairs.csv")
    assert float(pairs[0][2]) == pytest.approx(1, abs=1e-6)
    assert {pairs[0][0], pairs[0][1]} == {"ant/000.png", f"ant/{HOSTILE}"}
    result = json.loads((folder / "result.json").read_text())
    assert (result["pairs"], result["groups"], result["redundant"]) == (3, 1, 2)
    shown = capsys.readouterr().out
    assert "(groups: 1, of 3 images; keeping one of each group removes 2)" in shown
    assert "page: result/index.html" in shown


def test_planted_outlier_is_first(shared: Path) -> None:
    folder = search("outliers", str(shared / "features.npz"), "--k", "5")
    rows = read_csv(folder / "outliers.csv")
    assert rows[0][:2] == ["1", "bee/200.png"]
    assert len(rows) == 33
    collection = Embeddings.load(shared / "features.npz")
    found = collection.outliers(5)
    assert float(rows[0][2]) == pytest.approx(float(found.distances[found.order[0]]))


def test_clusters_have_purity_and_nmi(shared: Path, capsys: Any) -> None:
    folder = search("clusters", str(shared / "features.npz"), "--clusters", "2", "--seed", "3")
    rows = read_csv(folder / "clusters.csv")
    found = Embeddings.load(shared / "features.npz").clusters(2, seed=3)
    assert [int(row[1]) - 1 for row in rows] == found.assignment.tolist()
    result = json.loads((folder / "result.json").read_text())
    assert (result["purity"], result["nmi"]) == (pytest.approx(found.purity), pytest.approx(found.nmi))
    assert f"(purity: {100 * result['purity']:.1f} %)" in capsys.readouterr().out


def test_neighbors_of_each_image(shared: Path) -> None:
    folder = search("nearest", str(shared / "features.npz"), "--k", "3", "--show", "4")
    rows = read_csv(folder / "nearest.csv")
    assert len(rows) == 33 * 3
    collection = Embeddings.load(shared / "features.npz")
    found = collection.nearest(k=3)
    assert [row[2] for row in rows[:3]] == [collection.get_name(place) for place in found.indices[0]]
    assert (folder / "index.html").read_text().count('<section class="entry">') == 4
    assert 0.5 < json.loads((folder / "result.json").read_text())["same_class"] <= 1


def test_neighbors_of_query_images(shared: Path, tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "queries").mkdir()
    Image.open(shared / "images/bee/005.png").save(tmp_path / "queries/mine.png")
    Image.open(shared / "images/ant/004.png").save(tmp_path / "other.png")
    (tmp_path / "list.txt").write_text("other.png\n")
    folder = search("nearest", str(shared / "features.npz"), "--query", "queries", "list.txt", "--k", "2")
    rows = read_csv(folder / "nearest.csv")
    assert [(row[1], row[2]) for row in rows if row[1] == "1"] == [("1", "bee/005.png"), ("1", "ant/004.png")]
    assert float(rows[0][3]) == pytest.approx(1, abs=1e-5)
    assert (folder / "index.html").read_text().count('src="data:image/png') == 2 * 3
    assert "images" not in capsys.readouterr().err


def test_images_are_embedded_first(shared: Path, capsys: Any) -> None:
    words = ["--untrained", "--backbone", "test_resnet", "--backbone.stem", "standard", "--img-size", "32"]
    words += ["--threads", "1", "--dataset.workers", "0", "--precision", "fp32", "--images", str(shared / "images")]
    folder = search("duplicates", *words, "--threshold", "0.9999")
    found = Embeddings.load(folder / "features.npz")
    np.testing.assert_array_equal(found.vectors, Embeddings.load(shared / "features.npz").vectors)
    assert len(read_csv(folder / "groups.csv")) == 3
    search("outliers", *words)  # the features are there already
    assert "contains these features already" in capsys.readouterr().out
    assert "name the file of their features by --output" in refuse(["outliers", *words], capsys)


def test_approximate_search_prints_its_recall(shared: Path, capsys: Any) -> None:
    folder = search("nearest", str(shared / "features.npz"), "--index", "approximate", "--k", "2")
    recall = json.loads((folder / "result.json").read_text())["recall"]
    assert 0.95 <= recall <= 1
    assert f"recall {recall:.3f}, measured against the exact search" in capsys.readouterr().out


def test_default_folder_is_new(shared: Path) -> None:
    for _ in range(2):
        assert main(["search", "outliers", str(shared / "features.npz")]) == 0
    assert len(list(Path("search").glob("outliers-features-*"))) == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nearst", "FEATURES"], "search nearst: no such search; did you mean nearest?"),
        (["nearest"], "search: no features; name a file that `embed` wrote, or weights and --images"),
        (["nearest", "gone.npz"], "features gone.npz: no such file"),
        (["nearest", "FEATURES", "--threshold", "0.9"], "--threshold: is an option of `search duplicates`"),
        (["duplicates", "FEATURES", "--threshold", "1.2"], "--threshold 1.2: must be a cosine similarity"),
        (["outliers", "FEATURES", "--k", "0"], "--k 0: must be at least 1"),
        (["clusters", "FEATURES", "--clusters", "99"], "--clusters 99: must be 1 to 33, the number of images"),
        (["nearest", "FEATURES", "--query", "gone.png"], "--query gone.png: no such file"),
        (["nearest", "FEATURES", "--index", "fast"], "invalid choice: 'fast'"),
        (["nearest", "FEATURES", "--kk", "5"], "--kk: no such option; did you mean --k?"),
        (["nearest", "FEATURES", "--k", "five"], "argument --k: invalid int value: 'five'"),
        (["nearest", "damaged.npz"], "features damaged.npz: not a readable file of features"),
    ],
)
def test_invalid_arguments_are_one_line_errors(words: Words, message: str, shared: Path, capsys: Any) -> None:
    Path("damaged.npz").write_bytes(b"PK damaged")
    words = [word.replace("FEATURES", str(shared / "features.npz")) for word in words]
    assert message in refuse(words, capsys)
    assert not Path("search").exists()


def test_queries_need_the_same_weights(shared: Path, capsys: Any, tmp_path: Path) -> None:
    collection = Embeddings.load(shared / "features.npz")
    collection.metadata["weights_sha256"] = "0" * 64
    collection.save(tmp_path / "changed.npz")
    query = str(shared / "images/bee/005.png")
    assert "was written with other weights than" in refuse(["nearest", "changed.npz", "--query", query], capsys)
    Embeddings(collection.vectors).save(tmp_path / "foreign.npz")
    assert "do not name their weights" in refuse(["nearest", "foreign.npz", "--query", query], capsys)
    search("outliers", "foreign.npz")
    assert "33 images were not found" in (Path("result") / "index.html").read_text()
