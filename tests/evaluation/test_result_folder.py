"""Files of an evaluation."""

import csv
from pathlib import Path

import pytest
import torch

from sslzoo.evaluation import folder as evaluation_folder
from sslzoo.evaluation.folder import ResultFolder
from sslzoo.evaluation.score import compute_score
from sslzoo.runtime.files import file_sha256, read_json


def test_cells_of_a_large_confusion_matrix_are_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rankings, truth = torch.tensor([[0], [0], [1], [0]]), torch.tensor([0, 0, 1, 2])
    score = compute_score([rankings], truth, 3, chosen={}, choice_accuracy=None, seed=0)
    classes = ["=ant", "bee", "cat"]
    for most, rows, files in (
        (3, [["class", "'=ant", "bee", "cat"], ["'=ant", "2", "0", "0"], ["bee", "0", "1", "0"]], 3),
        (2, [["class", "predicted", "images"], ["'=ant", "'=ant", "2"], ["bee", "bee", "1"]], 1),
    ):
        monkeypatch.setattr(evaluation_folder, "MAX_CONFUSION_CLASSES", most)
        path = tmp_path / str(most)
        path.mkdir()
        ResultFolder(path)._write_confusion("confusion", score, classes, "a protocol")
        with (path / "confusion.csv").open(newline="") as file:
            assert list(csv.reader(file))[:3] == rows
        assert len(list(path.iterdir())) == files


def test_result_contains_the_checksums_of_the_other_files(tmp_path: Path) -> None:
    (tmp_path / "per-class.csv").write_text("class,knn\n")
    for _ in range(2):
        ResultFolder(tmp_path).write_result({"device": "CPU"})
    assert read_json(tmp_path / "result.json") == {
        "device": "CPU",
        "sha256": {"per-class.csv": file_sha256(tmp_path / "per-class.csv")},
    }
