"""The verdict on a run: healthy, or a symptom, since when, and its usual causes."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sslzoo.health.measurement import Measurement
from sslzoo.health.symptoms import SYMPTOMS, Symptom

PATIENCE = 3
"""Number of consecutive measurements in which a symptom must appear."""

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
    """Step of the first measurement with the symptom; 0 if healthy."""
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
        self._streaks: dict[str, tuple[int, int]] = {}
        """Number of the latest consecutive measurements with each symptom, and the step of the first of them."""

    def add(self, measured: Measurement) -> Verdict:
        """Add a measurement with a later step, and return the verdict."""
        if self._first is None and measured.get("loss") != 0:  # it is 0 before prototypes are known
            self._first = measured
        if self._first is None or measured["step"] < self.start:
            return self.verdict
        shown = [(symptom, symptom.show(measured, self._first)) for symptom in SYMPTOMS]
        found = [self._judge(symptom, evidence, measured["step"]) for symptom, evidence in shown]
        self.verdict = next((verdict for verdict in found if verdict is not None), HEALTHY)
        return self.verdict

    def _judge(self, symptom: Symptom, evidence: str | None, step: int) -> Verdict | None:
        """Count a symptom, and return its verdict if it has lasted."""
        if evidence is None:
            self._streaks.pop(symptom.kind, None)
            return None
        count, since = self._streaks.get(symptom.kind, (0, step))
        self._streaks[symptom.kind] = count + 1, since
        return Verdict(symptom.kind, since, evidence, symptom.causes) if count + 1 >= PATIENCE else None


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
