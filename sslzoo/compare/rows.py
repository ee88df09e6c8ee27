"""Finished runs, read from their folders and gathered into the rows of a table."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from sslzoo.compare.agreement import Settings, check_agreement, find_differences, format_setting, settings_of
from sslzoo.experiment.compose import compose
from sslzoo.experiment.schema import Experiment
from sslzoo.method.base import METHODS
from sslzoo.runtime.errors import UserError, near_misses
from sslzoo.train.folder import RunFolder

Encoder = Literal["trained", "untrained", "raw pixels"]
Classifier = Literal["knn", "linear"]


@dataclass(frozen=True)
class Run:
    """A finished run."""

    folder: Path
    experiment: Experiment
    summary: Mapping[str, Any]
    """summary.json."""
    environment: Mapping[str, Any]
    """environment.json."""
    records: tuple[Mapping[str, Any], ...]
    """Lines of metrics.jsonl."""

    @property
    def seed(self) -> int:
        """Of weights, order and views."""
        return self.experiment.seed

    def percent(self, encoder: Encoder, classifier: Classifier) -> float | None:
        """Accuracy on the test split in percent; None where it was not scored."""
        for name, scores in self.summary.get("test", {}).items():
            if _encoder(name) == encoder and classifier in scores:
                return 100 * float(scores[classifier]["accuracy"])
        return None

    def encoder_name(self, encoder: Encoder) -> str:
        """What the summary calls an encoder, as `raw pixels (8 px)`."""
        names = [name for name in self.summary.get("test", {}) if _encoder(name) == encoder]
        return names[0] if names else encoder


def _encoder(name: str) -> Encoder:
    if name.startswith("raw pixels"):
        return "raw pixels"
    return "trained" if name == "trained" else "untrained"


@dataclass(frozen=True)
class Row:
    """The runs of one method that differ in their seed alone."""

    label: str
    runs: tuple[Run, ...]
    """In the order of their seeds."""

    @property
    def settings(self) -> Settings:
        """What its runs have in common."""
        return settings_of(self.runs[0].experiment)

    def percents(self, encoder: Encoder, classifier: Classifier) -> dict[int, float]:
        """Accuracies in percent by seed."""
        scored = {run.seed: run.percent(encoder, classifier) for run in self.runs}
        return {seed: value for seed, value in scored.items() if value is not None}


@dataclass(frozen=True)
class Comparison:
    """Content of the page."""

    rows: tuple[Row, ...]
    baseline: Row
    axes: tuple[str, ...]
    """Settings in which rows may differ, besides method, target and loss."""
    command: str
    """What repeats it."""
    missing: tuple[str, ...] = ()
    """Runs that were asked for and did not finish, in words."""

    @property
    def runs(self) -> list[Run]:
        """Of all rows."""
        return [run for row in self.rows for run in row.runs]


def read_run(path: Path, experiment: Experiment | None = None) -> Run:
    """A finished run.

    Args:
        experiment: its config, where that is known.

    Raises:
        UserError: it is not a finished run, or its files are damaged.
    """
    folder = RunFolder(path)
    for file in (folder.config, folder.summary):
        if not file.is_file():
            raise UserError(f"{path}: not a finished run (it has no {file.name})")
    environment = _read_json(folder.environment) if folder.environment.is_file() else {}
    experiment = experiment or compose(["--config", str(folder.config)])
    return Run(path, experiment, _read_json(folder.summary), environment, tuple(folder.records()))


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not readable as JSON: {error}") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: holds a {type(content).__name__}, not a mapping")
    return content


def rows_of(runs: Sequence[Run]) -> list[Row]:
    """Group runs that differ in their seed alone into rows, labeled by method, target and other differing settings.

    Raises:
        UserError: two runs of a row have the same seed.
    """
    groups: list[tuple[Settings, list[Run]]] = []
    for run in runs:
        settings = settings_of(run.experiment)
        members = next((members for known, members in groups if known == settings), None)
        if members is None:
            groups.append((settings, [run]))
            continue
        for other in members:
            if other.seed == run.seed:
                raise UserError(f"{run.folder}: is the same run as {other.folder}, seed {run.seed}")
        members.append(run)
    names = [_name(members[0].experiment) for _, members in groups]
    rows = []
    for name, (settings, members) in zip(names, groups, strict=True):
        namesakes = [other for other, (known, _) in zip(names, groups, strict=True) if other == name]
        label = name
        if len(namesakes) > 1:
            alike = [known for other, (known, _) in zip(names, groups, strict=True) if other == name]
            label = " ".join([name, *(f"{key}={format_setting(settings.get(key))}" for key in find_differences(alike))])
        rows.append(Row(label, tuple(sorted(members, key=lambda run: run.seed))))
    return rows


def _name(experiment: Experiment) -> str:
    """`ascl`, or `ascl:hard` with a target that the method does not come with."""
    name = experiment.method.name
    if experiment.target is None or experiment.target.name == METHODS.get(name).default_target:
        return name
    return f"{name}:{experiment.target.name}"


def check_rows(rows: Sequence[Row], axes: Sequence[str]) -> None:
    """Whether rows of finished runs belong in one table.

    Raises:
        UserError: they do not.
    """
    check_agreement({str(row.runs[0].folder): row.settings for row in rows}, axes)


def find_baseline(labels: Sequence[str], asked: str | None) -> str:
    """The label that others are compared with.

    Raises:
        UserError: there is no such label.
    """
    if asked is None:
        return labels[0]
    if asked not in labels:
        raise UserError(f"--baseline {asked}: no row has that label{near_misses(asked, labels)}")
    return asked
