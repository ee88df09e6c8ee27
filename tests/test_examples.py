"""The notebooks in `examples/` run, and their stored outputs are real and free of paths."""

import json
import os
import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

import sslzoo

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "examples").glob("*.ipynb"))


FEWER_EPOCHS = {"epochs=40": "epochs=3", "epochs=10": "epochs=2", "knn_every=10": "knn_every=2"}
"""Replacements that make the notebooks short enough for tests."""


def read_code_cells(file: Path) -> list[dict[str, Any]]:
    """Read the cells of code of a notebook."""
    cells = json.loads(file.read_text(encoding="utf-8"))["cells"]
    return [cell for cell in cells if cell["cell_type"] == "code"]


def test_there_are_notebooks() -> None:
    assert [file.stem for file in NOTEBOOKS] == ["train_on_your_folder", "write_your_own_loss"]


@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_stored_outputs_are_of_one_execution(file: Path) -> None:
    cells = read_code_cells(file)
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert {output["output_type"] for output in outputs} <= {"stream", "display_data", "execute_result"}
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert any("<table" in "".join(output.get("data", {}).get("text/html", "")) for output in outputs)
    for output in outputs:
        plain = output.get("text") or output["data"].get("text/plain", "")
        assert not re.search(r"(?:^|[\s'\"(=])/(?:tmp|home|root|work|Users)\b|Warning", "".join(plain)), plain


@pytest.mark.long
@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_notebook_runs(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [str(Path(sslzoo.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))
    monkeypatch.setenv("SSLZOO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "jupyter"))
    notebook = nbformat.read(file, as_version=4)
    for cell in notebook.cells:
        for epochs, fewer in FEWER_EPOCHS.items():
            cell.source = cell.source.replace(epochs, fewer)
    NotebookClient(notebook, timeout=1800, resources={"metadata": {"path": str(tmp_path)}}).execute()
    stored, executed = ([list(cell["outputs"]) for cell in cells] for cells in (
        read_code_cells(file), [cell for cell in notebook.cells if cell.cell_type == "code"]
    ))  # fmt: skip
    assert [bool(outputs) for outputs in executed] == [bool(outputs) for outputs in stored]


@pytest.mark.long
def test_first_block_of_the_page_gives_a_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (ROOT / "docs/python.md").read_text(encoding="utf-8")
    code = re.findall(r"^```python\n(.*?)^```", page, flags=re.MULTILINE | re.DOTALL)[0]
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(code, names)
    accuracy = names["run"].summary["test"]["trained"]["knn"]["accuracy"]
    assert accuracy > names["run"].summary["test"]["untrained"]["knn"]["accuracy"]
