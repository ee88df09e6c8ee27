"""The page has all sections, loads nothing from the network, escapes values, and matches the CSV files."""

import base64
import csv
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml

from sslzoo.comparison.command import compare
from sslzoo.comparison.csv_files import write_records
from sslzoo.comparison.encode import encode_test
from sslzoo.comparison.neighbors import choose_queries, find_neighbors
from sslzoo.comparison.request import parse_request
from sslzoo.comparison.statistics import compare_pairs
from sslzoo.report.published import load_published

MakeRun = Callable[..., Path]
KNN = {"moco": (0.50, 0.52, 0.51), "ascl": (0.60, 0.63, 0.62), "ascl:hard": (0.49, 0.55, 0.50)}
UNSAFE_TEXT = "<script>alert(1)</script> $x$ | & *"


@pytest.fixture(scope="module")
def finished(write_run: MakeRun, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a comparison of three methods over three seeds; the device name contains markup."""
    root = tmp_path_factory.mktemp("runs")
    paths = []
    for label, accuracies in KNN.items():
        method, _, target = label.partition(":")
        words = ["--method", method, *(["--target", target] if target else []), "--dataset.name", "cifar10"]
        for seed, knn in enumerate(accuracies):
            name = f"{label}-{seed}".replace(":", "-")
            paths.append(write_run(root / name, words, seed=seed, knn=knn, linear=knn + 0.1, device=UNSAFE_TEXT))
    folder = root / "out <b>"
    assert compare(parse_request(["--runs", *map(str, paths), "--baseline", "moco", "--folder", str(folder)])) == 0
    return folder


class Reader(HTMLParser):
    """Collects tags, addresses and the text of table cells."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags = [""]
        self.addresses: list[str] = []
        self.tables: list[list[list[str]]] = []
        self.bold: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attributes if name in ("src", "href", "srcset", "data")]
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append([])
        if tag in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_data(self, data: str) -> None:
        if self.tags[-1] == "strong":
            self.bold.append(data)
        if self.tags[-1] in ("td", "th", "strong") and data.strip():
            self.tables[-1][-1][-1] += data


@pytest.mark.long
def test_page_has_all_sections_and_escapes_values(finished: Path) -> None:
    text = (finished / "report.html").read_text(encoding="utf-8")
    page = Reader(text)
    for part in ("results", "cost", "curves", "features", "neighbors", "settings", "published"):
        assert f'<section id="{part}">' in text
    assert "script" not in page.tags
    assert "b" not in page.tags
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    for address in page.addresses:
        assert address.startswith("data:image/") or (finished / address).is_file(), address
    assert not re.search(r"(?:url\(|@import|<link|<iframe)", text)
    assert sum(address.startswith("data:image/") for address in page.addresses) == 3 + len(KNN)
    results = page.tables[0]
    assert results[0][:4] == ["method", "loss", "seeds", "kNN (%)"]
    assert [row[0] for row in results[1:]] == [*KNN, "untrained", "raw pixels (8 px)"]
    assert results[2][3] == "61.7 ± 3.8"
    assert results[-1][3] == "25.0"
    assert "3 seeds detect only large differences" in text
    assert "not corrected for the number of rows" in text
    assert "differing settings" not in text
    ascl = compare_pairs(dict(enumerate(KNN["ascl"])), dict(enumerate(KNN["moco"])))
    assert ascl is not None
    assert ascl.significant
    assert f"{100 * ascl.mean:+.1f} ± {100 * (ascl.half_width or 0):.1f}" in page.bold
    assert results[3][4] not in page.bold  # ascl:hard differs by chance


def test_csv_and_markdown_match_the_page(finished: Path) -> None:
    with (finished / "report.csv").open(newline="", encoding="utf-8") as file:
        runs = list(csv.DictReader(file))
    assert [(run["label"], int(run["seed"])) for run in runs] == [(label, seed) for label in KNN for seed in range(3)]
    assert [float(run["knn_percent"]) / 100 for run in runs] == pytest.approx([k for ks in KNN.values() for k in ks])
    assert {run["device"] for run in runs} == {UNSAFE_TEXT}
    with (finished / "summary.csv").open(newline="", encoding="utf-8") as file:
        rows = {row["label"]: row for row in csv.DictReader(file)}
    found = compare_pairs(*({s: 100 * k for s, k in enumerate(KNN[label])} for label in ("ascl", "moco")))
    assert found is not None
    assert float(rows["ascl"]["knn_difference"]) == pytest.approx(found.mean)
    assert float(rows["ascl"]["knn_p"]) == pytest.approx(found.p)
    assert rows["moco"]["knn_p"] == ""
    text = (finished / "report.md").read_text(encoding="utf-8")
    lines = [[cell.strip(" *") for cell in line.split(" | ")] for line in text.splitlines() if line.startswith("| ")]
    cells = {line[0].strip("| "): line for line in lines[:8]}
    for label, row in rows.items():
        assert cells[label][3] == f"{float(row['knn_mean']):.1f} ± {float(row['knn_half_width']):.1f}"
    assert "\\<script\\>" in text
    for address in re.findall(r"\]\((images/[^)]+)\)", text):
        assert (finished / address).is_file()


def test_comparison_yaml_records_command_and_rows(finished: Path) -> None:
    record = yaml.safe_load((finished / "comparison.yaml").read_text(encoding="utf-8"))
    assert list(record["rows"]) == list(KNN)
    assert record["command"][0] == "--runs"


def test_page_notes_mixed_rows_and_different_devices(make_run: MakeRun, tmp_path: Path) -> None:
    paths = [
        make_run("a", ["--method", "moco"]),
        make_run("b", ["--method", "ascl", "--epochs", "3", "--img-size", "16"], device="another CPU"),
    ]
    assert compare(parse_request(["--runs", *map(str, paths), "--mixed", "--folder", str(tmp_path / "out")])) == 0
    page = Reader((tmp_path / "out" / "report.html").read_text(encoding="utf-8"))
    assert page.tables[0][0][1] == "differing settings"
    assert page.tables[0][2][1] == "epochs 3, img_size 16"
    assert [row[0] for row in page.tables[0][3:5]] == ["untrained, for moco", "untrained, for ascl"]
    assert page.tables[0][2][5:7] == ["+0.0 ± —", "n < 2"]
    text = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "their speeds cannot be compared" in text
    assert "MIXED" in text


def test_row_without_backbone_is_missing_in_figures_of_features(make_run: MakeRun, tmp_path: Path) -> None:
    path = make_run("a", ["--method", "moco"])
    (path / "backbone.safetensors").unlink()
    assert compare(parse_request(["--runs", str(path), "--folder", str(tmp_path / "out")])) == 0
    text = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "moco is missing in these figures: evaluate " in text
    assert "None, for the reason above" in text


def test_page_of_runs_without_scores_and_costs(make_run: MakeRun, tmp_path: Path) -> None:
    path = make_run("a", ["--method", "moco", "--knn-every", "0"])
    summary = json.loads((path / "summary.json").read_text())
    bare = {key: summary[key] for key in ("method", "epochs", "seed", "protocol", "backbone", "device")}
    (path / "summary.json").write_text(json.dumps(bare | {"test": {}}))
    (path / "metrics.jsonl").unlink()
    assert compare(parse_request(["--runs", str(path), "--folder", str(tmp_path / "out")])) == 0
    page = Reader((tmp_path / "out" / "report.html").read_text(encoding="utf-8"))
    assert page.tables[0][1][3] == "—"


def test_test_images_are_encoded_in_order(make_run: MakeRun) -> None:
    encoded = encode_test(make_run("a", ["--method", "moco"]))
    assert encoded.features.shape == (60, 8)
    assert encoded.labels.tolist() == encoded.images.labels.tolist()  # type: ignore[union-attr]
    queries = choose_queries(encoded.labels)
    assert encoded.labels[queries].tolist() == list(range(10))
    found = find_neighbors(encoded.features, queries)
    assert found.nearest.shape == (10, 8)
    unit = encoded.features / (encoded.features**2).sum(axis=1, keepdims=True) ** 0.5
    by_hand = [i for i in (-unit @ unit[queries[3]]).argsort(kind="stable").tolist() if i != queries[3]]
    assert found.nearest[3].tolist() == by_hand[:8]


def test_svg_figures_are_complete(finished: Path) -> None:
    text = (finished / "report.html").read_text(encoding="utf-8")
    for data in re.findall(r"data:image/svg\+xml;base64,([A-Za-z0-9+/=]+)", text):
        assert base64.b64decode(data).rstrip().endswith(b"</svg>")


@pytest.mark.parametrize(
    ("dataset", "method", "measure", "percent", "of_source"),
    [
        ("cifar10", "MoCo, symmetric", "kNN", "85.3", "notebook"),
        ("cifar10", "MoCo, asymmetric", "kNN", "82.6", "notebook"),
        ("cifar10", "BYOL", "kNN", "86.9", "lightly"),
        ("cifar10", "MoCo v3", "linear", "93.10", "solo-learn"),
        ("cifar100", "MoCo v2", "linear", "53.28", "Dual-temperature"),
        ("tiny-imagenet", "MNN", "linear", "50.70", "MNN"),
        ("imagenette", "SwAV", "kNN", "90.2", "lightly"),
    ],
)
def test_published_numbers_match_their_sources(
    dataset: str, method: str, measure: str, percent: str, of_source: str
) -> None:
    found = [r for r in load_published(dataset) if (r.method, r.measure) == (method, measure) and of_source in r.source]
    assert found[0].percent == percent
    assert "epochs" in found[0].setting


def test_digits_have_no_published_numbers() -> None:
    assert load_published("digits") == []


@pytest.mark.parametrize("value", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1"])
def test_text_in_csv_is_no_formula(value: str, tmp_path: Path) -> None:
    write_records(tmp_path / "a.csv", [{"label": value, "difference": -1.5}])
    with (tmp_path / "a.csv").open(newline="", encoding="utf-8") as file:
        assert list(csv.DictReader(file)) == [{"label": f"'{value}", "difference": "-1.5"}]


def test_changes_during_a_training_are_noted(make_run: MakeRun, tmp_path: Path) -> None:
    change = "step 9: split train had 24 images and now has 23"
    runs = [make_run("moco", ["--method", "moco"]), make_run("ascl", ["--method", "ascl"], changes=[change])]
    assert compare(parse_request(["--runs", *map(str, runs), "--folder", str(tmp_path / "out")])) == 0
    page = (tmp_path / "out" / "report.html").read_text()
    assert f"ascl, seed 0 changed during its training, which was continued with --resume-anyway: {change}." in page
    assert page.count("CHANGED: ") == 1
