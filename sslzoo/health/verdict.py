"""The verdict on a run: healthy, or a symptom, since when, and its usual causes."""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from sslzoo.health.measurement import Measurement
from sslzoo.health.symptoms import SYMPTOMS

WINDOW = 3
"""Number of the latest measurements whose medians must show a symptom, besides the last of them."""

START_FRACTION = 0.05
"""Fraction of training before which nothing is judged: warm-up, early embeddings and a queue of random keys."""

MIN_START = 30
"""Optimizer steps before which nothing is judged, however short the training."""


@dataclass(frozen=True)
class Verdict:
    """A verdict on the health of a run."""

    kind: str
    """`healthy`, or the kind of a symptom."""
    since: int
    """Step of the first of the measurements whose medians show the symptom; 0 if healthy."""
    evidence: str
    """The latest measurement of the symptom in words, such as `rank 4.0 of 64`."""
    causes: str
    """Usual causes of the symptom."""

    @property
    def is_healthy(self) -> bool:
        """Whether there is no symptom."""
        return self.kind == HEALTHY.kind

    def describe(self) -> str:
        """Describe the verdict in one line."""
        if self.is_healthy:
            return self.kind
        return f"{self.kind}: {self.evidence}, since step {self.since}; usual causes: {self.causes}"

    def as_dict(self) -> dict[str, Any]:
        """Return the verdict as plain values for summary.json."""
        return {"verdict": self.kind, "since": self.since, "description": self.describe()}


HEALTHY = Verdict("healthy", 0, "", "")
"""The verdict on a run without symptoms."""


class Examination:
    """Judges measurements one after the other; the verdict is a function of all measurements so far."""

    def __init__(self, total_steps: int) -> None:
        """
        Args:
            total_steps: optimizer steps of the whole training.
        """
        self.start = max(MIN_START, START_FRACTION * total_steps)
        self.verdict = HEALTHY
        self._first: Measurement | None = None
        self._latest: deque[Measurement] = deque(maxlen=WINDOW)

    def add(self, measured: Measurement) -> Verdict:
        """Add a measurement with a later step, and return the verdict."""
        if self._first is None and measured.get("loss") != 0:  # it is 0 before prototypes are known
            self._first = measured
        if self._first is None or measured["step"] < self.start:
            return self.verdict
        self._latest.append(measured)
        if len(self._latest) == WINDOW:
            self.verdict = self._judge(self._first)
        return self.verdict

    def _judge(self, first: Measurement) -> Verdict:
        """Return the verdict on the latest measurements."""
        last, typical = self._latest[-1], take_medians(self._latest)
        for symptom in SYMPTOMS:
            evidence = symptom.show(last, first)
            if evidence is not None and symptom.show(typical, first) is not None:
                lasts = symptom.kind == self.verdict.kind
                since = self.verdict.since if lasts else self._latest[0]["step"]
                return Verdict(symptom.kind, since, evidence, symptom.causes)
        return HEALTHY


def take_medians(measurements: Sequence[Measurement]) -> Measurement:
    """Return the median of each number that all measurements have; a single outlier changes nothing."""
    return {
        name: median(measured[name] for measured in measurements)
        for name, value in measurements[-1].items()
        if isinstance(value, int | float) and all(name in measured for measured in measurements)
    }


def diagnose(history: Iterable[Measurement], total_steps: int) -> Verdict:
    """Return the verdict on a run.

    Args:
        history: measurements in the order of their steps.
        total_steps: optimizer steps of the whole training.
    """
    examination = Examination(total_steps)
    for measured in history:
        examination.add(measured)
    return examination.verdict
