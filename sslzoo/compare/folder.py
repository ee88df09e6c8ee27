"""The folder of a comparison: what it holds and under which names."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from sslzoo.compare.cells import Cell
from sslzoo.config.folders import slugify
from sslzoo.config.layers import dump_layer
from sslzoo.runtime.errors import UserError

ROOT = Path("comparisons")
"""Where folders are made that were not asked for by name."""
LONGEST = 100
"""Letters of such a folder's name."""


class ComparisonFolder:
    """Paths of a comparison's files."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.record = path / "comparison.yaml"
        self.images = path / "images"
        self.html, self.markdown = path / "report.html", path / "report.md"
        self.runs_csv, self.rows_csv = path / "report.csv", path / "summary.csv"

    def run(self, cell: Cell) -> Path:
        """Folder of a cell's run."""
        return self.path / "runs" / cell.name

    def placed(self, cell: Cell) -> Cell:
        """The cell with its run folder in its config."""
        return replace(cell, experiment=cell.experiment.model_copy(update={"run_folder": self.run(cell)}))

    def config(self, cell: Cell) -> Path:
        """The config that a cell's run is started with."""
        return self.path / "configs" / f"{cell.name}.yaml"

    def log(self, cell: Cell) -> Path:
        """What a cell's run prints."""
        return self.path / "logs" / f"{cell.name}.log"

    def open(self, record: dict[str, Any]) -> None:
        """Make the folder, or take the one of an earlier comparison, and write down what is compared.

        Raises:
            UserError: something else is in it, or it cannot be written.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            if any(self.path.iterdir()) and not self.record.is_file():
                raise UserError(f"--folder {self.path}: is not empty, and holds no comparison (no comparison.yaml)")
            self.record.write_text(dump_layer(record), encoding="utf-8")
        except OSError as error:
            raise UserError(f"--folder {self.path}: cannot be written: {error.strerror}") from error


def default_folder(dataset: str, labels: Sequence[str]) -> Path:
    """The same for the same rows, so that the same command finds what it began."""
    return ROOT / slugify("-".join([dataset, *labels]))[:LONGEST]
