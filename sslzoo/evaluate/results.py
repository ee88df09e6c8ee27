"""What an evaluation says and leaves behind."""

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from rich.table import Table

from sslzoo.config.folders import create_result_folder, slugify, write_json
from sslzoo.data.images import Images
from sslzoo.evaluate.job import STANDARD, Job
from sslzoo.evaluate.labels import held_out_and_drawn
from sslzoo.evaluate.quality import Quality, quality_rows
from sslzoo.evaluate.score import Scores
from sslzoo.evaluate.subject import Subject
from sslzoo.evaluate.summary import CLASSIFIERS, percent
from sslzoo.evaluate.transform import Transform
from sslzoo.modules.backbones import resolve_name
from sslzoo.report import plots
from sslzoo.runtime.environment import device_name, environment
from sslzoo.runtime.errors import UserError

SHORT = {"temperature": "t", "weight_decay": "decay", "c": "C"}


class ResultFolder:
    """The folder of an evaluation: config.yaml, environment.json, result.json, and files of each protocol."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def create(cls, jobs: list[tuple[str, Job]]) -> "ResultFolder":
        """A new folder with the settings and the environment in it; one of a run is made inside of the run's.

        Raises:
            UserError: the folder holds something already, or cannot be made.
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
                (path / f"config-{slugify(Path(name).stem)}.yaml").write_text(each.as_yaml(), encoding="utf-8")
            write_json(path / "environment.json", environment())
        except OSError as error:
            raise UserError(f"--folder {path or output}: cannot be written: {error.strerror}") from error
        return cls(path)

    def write(self, result: Mapping[str, Any]) -> None:
        """result.json, as far as it has come."""
        write_json(self.path / "result.json", result)

    def write_protocol(self, name: str, job: Job, scores: Scores, subject: Subject) -> None:
        """Accuracy of each class, confusions as numbers and images, and the labels that were used where few were."""
        classes, stem = subject.train.classes, slugify(Path(name).stem)
        with (self.path / f"per-class-{stem}.csv").open("w", newline="", encoding="utf-8") as file:
            rows = csv.writer(file)
            rows.writerow(["class", *scores.by_classifier])
            columns = [score.per_class for score in scores.by_classifier.values()]
            rows.writerows(zip(classes, *columns, strict=True))
        for classifier, score in scores.by_classifier.items():
            path = self.path / f"confusion-{stem}-{classifier}"
            with path.with_name(f"{path.name}.csv").open("w", newline="", encoding="utf-8") as file:
                rows = csv.writer(file)
                rows.writerow(["class", *classes])
                rows.writerows([row, *counts] for row, counts in zip(classes, score.confusion.tolist(), strict=True))
            title = (
                f"{job.backbone.name} on {job.dataset.name}, {CLASSIFIERS[classifier]}, {100 * score.accuracy:.1f} %"
            )
            plots.draw_confusion(score.confusion, classes, path, title=title)
        if job.evaluation.few_labels:
            assert subject.train.labels is not None
            held_out, draws = held_out_and_drawn(torch.from_numpy(subject.train.labels), job.evaluation)
            ids = subject.train.ids
            content = {"held_out": ids[held_out].tolist(), "draws": [ids[draw].tolist() for draw in draws]}
            (self.path / f"labels-{stem}.json").write_text(json.dumps(content) + "\n", encoding="utf-8")


def facts(job: Job, train: Images, test: Images, weights: str, transform: Transform, processes: int) -> dict[str, Any]:
    """What a result is about."""
    return {
        "backbone": resolve_name(job.backbone, job.img_size or 224),
        "weights": weights,
        "run": None if job.run is None else str(job.run),
        "dataset": job.dataset.name,
        "train_images": 0 if train is test else len(train),
        "test_images": len(test),
        "classes": len(test.classes),
        "transform": str(transform),
        "precision": job.precision,
        "device": device_name(),
        "processes": processes,
    }


def describe_protocol(job: Job, scores: Scores, test_images: int) -> str:
    """How the numbers of a protocol came about."""
    config = job.evaluation
    if config.labels_per_class is not None:
        labels = f"{config.labels_per_class} of each class"
    elif config.labels_share is not None:
        labels = f"{100 * config.labels_share:g} % of each class"
    else:
        labels = "all"
    drawn = f", mean ± standard deviation of {scores.draws} draws" if scores.draws > 1 else ""
    choosing = any(score.choice_accuracy is not None for score in scores.by_classifier.values())
    choice = (
        f"settings chosen on {100 * config.holdout:g} % of train that is held out, seed {config.seed}"
        if choosing
        else f"no setting chosen, seed {config.seed}"
    )
    return (
        f"labels: {labels}, {scores.labels:,}{drawn}; {choice}; {test_images:,} test images, used once; "
        "interval: 95 %, bootstrap over test images"
    )


def results_table(protocols: Mapping[str, Scores]) -> Table:
    """A line for each protocol and classifier."""
    table = Table(box=None, pad_edge=False, title="Test accuracy (%)", title_justify="left", title_style="bold")
    table.add_column("protocol")
    for column in ("top-1", "95 % interval", "top-5", "held out"):
        table.add_column(column, justify="right")
    table.add_column("settings")
    for name, scores in protocols.items():
        for classifier, score in scores.by_classifier.items():
            table.add_row(
                row_name(name, classifier, len(scores.by_classifier)),
                percent(score),
                " - ".join(f"{100 * end:.1f}" for end in score.interval),
                "" if score.top5 is None else f"{100 * score.top5:.1f}",
                "" if score.choice_accuracy is None else f"{100 * score.choice_accuracy:.1f}",
                ", ".join(f"{SHORT.get(key, key)} {value:g}" for key, value in score.chosen.items()),
            )
    return table


def quality_table(quality: Quality) -> Table:
    """A line for each measure of the representation."""
    table = Table(box=None, pad_edge=False, title="Representation", title_justify="left", title_style="bold")
    for column in ("measure", "value", "what it says"):
        table.add_column(column)
    for row in quality_rows(quality):
        table.add_row(row.name, row.value, row.meaning)
    return table


def row_name(protocol: str, classifier: str, classifiers: int) -> str:
    """What a line is called: by the classifier where the protocol says no more, else by both."""
    if protocol in (STANDARD, classifier):
        return CLASSIFIERS[classifier]
    return protocol if classifiers == 1 else f"{protocol}, {CLASSIFIERS[classifier]}"
