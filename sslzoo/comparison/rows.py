"""Read finished runs from their folders and group them into rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from sslzoo.comparison.agreement import Settings, check_agreement, comparable_settings, find_differences, format_setting
from sslzoo.comparison.summary import validate_summary
from sslzoo.experiment.compose import compose
from sslzoo.experiment.schema import Experiment
from sslzoo.method.base import METHODS
from sslzoo.runtime.errors import UserError, near_misses
from sslzoo.runtime.files import read_json, require_unchanged
from sslzoo.training.folder import RunFolder

Encoder = Literal["trained", "untrained", "raw pixels"]
Classifier = Literal["knn", "linear"]


@dataclass(frozen=True)
class Run:
    """A finished run."""

    folder: Path
    experiment: Experiment
    summary: Mapping[str, Any]
    """Content of summary.json."""
    environment: Mapping[str, Any]
    """Content of environment.json."""
    records: tuple[Mapping[str, Any], ...]
    """Records of metrics.jsonl."""

    @property
    def seed(self) -> int:
        """Seed of the run."""
        return self.experiment.seed

    def percent(self, encoder: Encoder, classifier: Classifier) -> float | None:
        """Accuracy on the test split in percent; None if it was not evaluated."""
        for name, scores in self.summary.get("test", {}).items():
            if _encoder_kind(name) == encoder and classifier in scores:
                return 100 * float(scores[classifier]["accuracy"])
        return None

    def encoder_name(self, encoder: Encoder) -> str:
        """Name of an encoder in the summary, such as `raw pixels (8 px)`."""
        names = [name for name in self.summary.get("test", {}) if _encoder_kind(name) == encoder]
        return names[0] if names else encoder


def _encoder_kind(name: str) -> Encoder:
    if name.startswith("raw pixels"):
        return "raw pixels"
    return "trained" if name == "trained" else "untrained"


@dataclass(frozen=True)
class Row:
    """Runs that differ only in their seed."""

    label: str
    runs: tuple[Run, ...]
    """Runs in the order of their seeds."""

    @property
    def settings(self) -> Settings:
        """Settings that its runs share."""
        return comparable_settings(self.runs[0].experiment)

    def percents(self, encoder: Encoder, classifier: Classifier) -> dict[int, float]:
        """Accuracies in percent by seed."""
        scored = {run.seed: run.percent(encoder, classifier) for run in self.runs}
        return {seed: value for seed, value in scored.items() if value is not None}


@dataclass(frozen=True)
class Comparison:
    """Rows of a comparison, and how they are compared."""

    rows: tuple[Row, ...]
    baseline: Row
    axes: tuple[str, ...]
    """Settings in which rows may differ, besides method, target and loss."""
    command: str
    """Command that repeats the comparison."""
    missing: tuple[str, ...] = ()
    """Descriptions of requested runs that did not finish."""

    @property
    def runs(self) -> list[Run]:
        """Runs of all rows."""
        return [run for row in self.rows for run in row.runs]


def read_run(path: Path, experiment: Experiment | None = None) -> Run:
    """Read a finished run.

    Args:
        experiment: its config, if already composed.

    Raises:
        UserError: the run is not finished, or its files are damaged.
    """
    folder = RunFolder(path)
    for file in (folder.config, folder.summary):
        if not file.is_file():
            raise UserError(f"{path}: not a finished run (it has no {file.name})")
    require_unchanged(folder.summary, *(file.name for file in (folder.config, folder.metrics, folder.environment)))
    environment = read_json(folder.environment) if folder.environment.is_file() else {}
    experiment = experiment or compose(["--config", str(folder.config)])
    summary = read_json(folder.summary)
    validate_summary(folder.summary, summary)
    return Run(path, experiment, summary, environment, tuple(folder.read_metrics()))


def group_runs(runs: Sequence[Run]) -> list[Row]:
    """Group runs that differ only in their seed into rows, labeled by method, target and differing settings.

    Raises:
        UserError: two runs of a row have the same seed.
    """
    groups: list[tuple[Settings, list[Run]]] = []
    for run in runs:
        settings = comparable_settings(run.experiment)
        members = next((members for known, members in groups if known == settings), None)
        if members is None:
            groups.append((settings, [run]))
            continue
        for other in members:
            if other.seed == run.seed:
                raise UserError(f"{run.folder}: is the same run as {other.folder}, seed {run.seed}")
        members.append(run)
    names = [_row_name(members[0].experiment) for _, members in groups]
    rows = []
    for name, (settings, members) in zip(names, groups, strict=True):
        namesakes = [other for other, (known, _) in zip(names, groups, strict=True) if other == name]
        label = name
        if len(namesakes) > 1:
            configs = [known for other, (known, _) in zip(names, groups, strict=True) if other == name]
            label = " ".join(
                [name, *(f"{key}={format_setting(settings.get(key))}" for key in find_differences(configs))]
            )
        rows.append(Row(label, tuple(sorted(members, key=lambda run: run.seed))))
    return rows


def _row_name(experiment: Experiment) -> str:
    """Name such as `ascl`, or `ascl:hard` if the target is not the default of the method."""
    name = experiment.method.name
    if experiment.target is None or experiment.target.name == METHODS.get(name).default_target:
        return name
    return f"{name}:{experiment.target.name}"


def check_rows(rows: Sequence[Row], axes: Sequence[str]) -> None:
    """Check that rows of finished runs can be compared in one table.

    Raises:
        UserError: a setting differs that must be equal.
    """
    check_agreement({str(row.runs[0].folder): row.settings for row in rows}, axes)


def find_baseline(labels: Sequence[str], requested: str | None) -> str:
    """Return the label of the baseline: the requested one, or the first.

    Raises:
        UserError: no row has that label.
    """
    if requested is None:
        return labels[0]
    if requested not in labels:
        raise UserError(f"--baseline {requested}: no row has that label{near_misses(requested, labels)}")
    return requested
