"""Files and folders of a comparison."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from sslzoo.comparison.cells import Cell
from sslzoo.config.folders import slugify
from sslzoo.config.layers import dump_layer
from sslzoo.runtime.errors import UserError

ROOT = Path("comparisons")
"""Parent of the default folders."""
MAX_NAME_LENGTH = 100
"""Characters of a default folder's name."""


class ComparisonFolder:
    """Paths of a comparison's files."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.record = path / "comparison.yaml"
        self.images = path / "images"
        self.html, self.markdown = path / "report.html", path / "report.md"
        self.runs_csv, self.rows_csv = path / "report.csv", path / "summary.csv"

    def run_path(self, cell: Cell) -> Path:
        """Run folder of a cell."""
        return self.path / "runs" / cell.name

    def with_run_folder(self, cell: Cell) -> Cell:
        """Return the cell with its run folder set in its config."""
        return replace(cell, experiment=cell.experiment.model_copy(update={"run_folder": self.run_path(cell)}))

    def config_path(self, cell: Cell) -> Path:
        """Config with which a cell's run starts."""
        return self.path / "configs" / f"{cell.name}.yaml"

    def log_path(self, cell: Cell) -> Path:
        """Output of a cell's run."""
        return self.path / "logs" / f"{cell.name}.log"

    def create(self, record: dict[str, Any]) -> None:
        """Create the folder or reuse that of an earlier comparison, and write comparison.yaml.

        Raises:
            UserError: the folder contains other files, or it cannot be written.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            if any(self.path.iterdir()) and not self.record.is_file():
                raise UserError(f"--folder {self.path}: is not empty and contains no comparison (no comparison.yaml)")
            self.record.write_text(dump_layer(record), encoding="utf-8")
        except OSError as error:
            raise UserError(f"--folder {self.path}: cannot be written: {error.strerror}") from error


def default_folder(dataset: str, labels: Sequence[str]) -> Path:
    """Default folder of these rows; the same command finds its folder again."""
    return ROOT / slugify("-".join([dataset, *labels]))[:MAX_NAME_LENGTH]
