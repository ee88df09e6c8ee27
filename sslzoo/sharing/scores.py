"""Rows of the table of scores on a model card."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sslzoo.evaluation.summary import CLASSIFIERS
from sslzoo.sharing.finished import FinishedRun


@dataclass(frozen=True)
class ScoreRow:
    """The accuracy of a classifier on an encoder."""

    dataset: str
    encoder: str
    classifier: str
    accuracy: str
    """In percent, with the standard deviation over draws if there are several."""
    interval: str
    """95 % confidence interval over test images, in percent."""


def list_scores(run: FinishedRun) -> list[ScoreRow]:
    """List the scores at the end of the run, then those of each later evaluation of it."""
    name, rows = run.experiment.dataset.name, list[ScoreRow]()
    for encoder, scores in run.summary.get("test", {}).items():
        rows += _list_classifiers(name, encoder, scores)
    for result in run.evaluations:
        for protocol, scores in result.get("protocols", {}).items():
            rows += _list_classifiers(str(result.get("dataset")), "trained", scores, protocol)
    return rows


def list_protocols(run: FinishedRun) -> list[str]:
    """List how the scores were measured."""
    protocols = [f"{run.experiment.dataset.name}, end of the run: {run.summary['protocol']}"]
    for result in run.evaluations:
        for name, scores in result.get("protocols", {}).items():
            protocols.append(f"{result.get('dataset')}, {name}: {scores.get('how')}")
    return protocols


def _list_classifiers(
    dataset: str, encoder: str, scores: Mapping[str, Any], protocol: str | None = None
) -> Iterator[ScoreRow]:
    for classifier, score in scores.items():
        if not isinstance(score, Mapping) or "accuracy" not in score:
            continue
        name = CLASSIFIERS.get(classifier, classifier)
        spread = "" if score.get("std") is None else f" ± {100 * score['std']:.1f}"
        interval = " to ".join(f"{100 * end:.1f}" for end in score.get("interval") or ())
        shown = name if protocol in (None, "standard", classifier) else f"{name} ({protocol})"
        yield ScoreRow(dataset, encoder, shown, f"{100 * score['accuracy']:.1f}{spread}", interval)
