"""The folder of an evaluation and its files."""

from collections.abc import Mapping
from itertools import chain
from pathlib import Path
from typing import Any

from sslzoo.config.folders import create_result_folder, slugify
from sslzoo.data.images import Images
from sslzoo.evaluation.images import get_labels
from sslzoo.evaluation.job import EvaluationJob
from sslzoo.evaluation.labels import split_and_draw
from sslzoo.evaluation.score import Score, Scores
from sslzoo.evaluation.summary import CLASSIFIERS
from sslzoo.report import plots
from sslzoo.runtime.environment import environment
from sslzoo.runtime.errors import UserError
from sslzoo.runtime.files import hash_files, write_csv, write_json, write_text

MAX_CONFUSION_CLASSES = 1000
"""Number of classes up to which a confusion matrix is drawn; with more, its cells other than 0 are listed."""


class ResultFolder:
    """The folder of an evaluation: environment.json, result.json, and the config and files of each protocol."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def create(cls, jobs: list[tuple[str, EvaluationJob]]) -> "ResultFolder":
        """Create a folder and write settings and environment into it; the default for a run is inside the run folder.

        Raises:
            UserError: the folder is not empty, or cannot be created.
        """
        job = jobs[0][1]
        path = job.folder
        output = job.run / "evaluations" if job.run is not None and job.output == Path("evaluations") else job.output
        try:
            if path is None:
                path = create_result_folder(output, f"{job.backbone.name}-{job.dataset.name}")
            else:
                path.mkdir(parents=True, exist_ok=True)
                if any(path.iterdir()):
                    raise UserError(f"--folder {path}: is not empty; name another one")
            for name, each in jobs:
                write_text(path / f"config-{slugify(Path(name).stem)}.yaml", each.as_yaml())
            write_json(path / "environment.json", environment())
        except OSError as error:
            raise UserError(f"--folder {path or output}: cannot be written: {error.strerror}") from error
        return cls(path)

    def write_result(self, result: Mapping[str, Any]) -> None:
        """Write result.json with the results so far and the SHA-256 of the other files."""
        file = self.path / "result.json"
        others = (path for path in self.path.iterdir() if path.is_file() and path != file)
        write_json(file, {**result, "sha256": hash_files(others)})

    def write_protocol(self, name: str, job: EvaluationJob, scores: Scores, train: Images) -> None:
        """Write the files of a protocol: accuracy per class, confusion matrices, and which labels were used."""
        stem = slugify(Path(name).stem)
        self._write_per_class(stem, scores, train.classes)
        for classifier, score in scores.by_classifier.items():
            title = (
                f"{job.backbone.name} on {job.dataset.name}, {CLASSIFIERS[classifier]}, {100 * score.accuracy:.1f} %"
            )
            self._write_confusion(f"confusion-{stem}-{classifier}", score, train.classes, title)
        if job.evaluation.few_labels:
            self._write_labels(stem, job, train)

    def _write_per_class(self, stem: str, scores: Scores, classes: list[str]) -> None:
        columns = [score.per_class for score in scores.by_classifier.values()]
        header = ["class", *scores.by_classifier]
        write_csv(self.path / f"per-class-{stem}.csv", [header, *zip(classes, *columns, strict=True)])

    def _write_confusion(self, name: str, score: Score, classes: list[str], title: str) -> None:
        if len(classes) > MAX_CONFUSION_CLASSES:
            cells = score.confusion.tocoo()
            places = zip(*(part.tolist() for part in (*cells.coords, cells.data)), strict=True)
            rows = ([classes[i], classes[j], count] for i, j, count in places)
            write_csv(self.path / f"{name}.csv", chain([["class", "predicted", "images"]], rows))
            return
        table = score.confusion.toarray()
        rows = ([row, *counts] for row, counts in zip(classes, table.tolist(), strict=True))
        write_csv(self.path / f"{name}.csv", chain([["class", *classes]], rows))
        plots.draw_confusion(table, classes, self.path / name, title=title)

    def _write_labels(self, stem: str, job: EvaluationJob, train: Images) -> None:
        held_out, draws = split_and_draw(get_labels(train), job.evaluation)
        content = {"held_out": train.ids[held_out].tolist(), "draws": [train.ids[draw].tolist() for draw in draws]}
        write_json(self.path / f"labels-{stem}.json", content)
