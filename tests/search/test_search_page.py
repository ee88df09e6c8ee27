"""The page of a search loads nothing, escapes names, and shows thumbnails."""

import base64
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from search_names import HOSTILE

from sslzoo import Embeddings
from sslzoo.cli import main
from sslzoo.search.thumbnails import Thumbnails, create_data_uri


class Elements(HTMLParser):
    """Collects the elements of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.parametrize("kind", ["nearest", "duplicates", "outliers", "clusters"])
def test_page_loads_nothing_and_escapes_names(kind: str, shared: Path, tmp_path: Path) -> None:
    more = ["--threshold", "0.9999"] if kind == "duplicates" else []
    assert main(["search", kind, str(shared / "features.npz"), "--folder", str(tmp_path / "result"), *more]) == 0
    text = (tmp_path / "result/index.html").read_text(encoding="utf-8")
    assert "http://" not in text
    assert "https://" not in text
    page = Elements(text)
    assert {tag for tag, _ in page.found} & {"script", "link", "iframe", "object", "form", "a"} == set()
    assert "@import" not in text
    assert "url(" not in text
    for tag, attributes in page.found:
        assert not [name for name in attributes if name.startswith("on")]
        if tag == "img":
            assert (attributes["src"] or "").startswith("data:image/")
    names = [attributes["alt"] for tag, attributes in page.found if tag == "img"]
    assert f"ant/{HOSTILE}" in names
    policy = next(a["content"] for tag, a in page.found if tag == "meta" and "http-equiv" in a)
    assert policy == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def test_page_has_thumbnails_of_files(shared: Path, tmp_path: Path) -> None:
    thumbnails = Thumbnails(Embeddings.load(shared / "features.npz"))
    uri = thumbnails.create(0)
    assert uri is not None
    image = Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))
    np.testing.assert_array_equal(np.asarray(image), np.asarray(Image.open(shared / "images/ant/000.png")))


def test_thumbnails_are_small() -> None:
    for shape in ((3, 900, 300), (1, 300, 900), (3, 8, 8)):
        uri = create_data_uri(np.zeros(shape, np.uint8))
        image = Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))
        assert max(image.size) == min(128, max(shape[1:]))
        assert re.match("data:image/png" if shape[1] == 8 else "data:image/jpeg", uri)


def test_thumbnails_come_from_the_data_set(tmp_path: Path) -> None:
    words = [
        "--untrained",
        "--backbone",
        "resnet10t",
        "--backbone.kwargs",
        "{channels: [8, 8, 8, 8]}",
        "--threads",
        "1",
    ]
    more = ["--dataset", "digits", "--dataset.limit", "40", "--dataset.workers", "0", "--split", "test"]
    assert main(["embed", *words, *more, "--output", str(tmp_path / "d.parquet")]) == 0
    collection = Embeddings.load(tmp_path / "d.parquet")
    assert Thumbnails(collection).create(3) is not None
    collection.metadata["identity"]["images"] = "other"
    assert Thumbnails(collection).create(3) is None


def test_missing_images_are_counted(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    gone = Embeddings(generator.standard_normal((5, 4)), paths=[f"gone/{n}.png" for n in range(5)])
    gone.save(tmp_path / "gone.npz")
    assert main(["search", "outliers", str(tmp_path / "gone.npz"), "--folder", str(tmp_path / "result")]) == 0
    text = (tmp_path / "result/index.html").read_text(encoding="utf-8")
    assert text.count("not found</span>") == 5
    assert "5 images were not found where they had been embedded" in text
