"""The verdict on a run is a function of its measurements."""

from collections.abc import Iterator
from typing import Any

import pytest

from sslzoo.health.measurement import Measurement
from sslzoo.health.symptoms import SYMPTOMS
from sslzoo.health.verdict import HEALTHY, MIN_START, WINDOW, Examination, Verdict, diagnose

TOTAL = 600
GOOD = {
    "loss": 4.0, "grad_norm": 1.0, "embedding_std": 0.8, "effective_rank": 22.0, "centered_rank": 20.0,
    "max_rank": 64.0, "feature_rank": 40.0, "separation": 0.7, "view_distance": 0.8, "trivial_loss": 5.0,
    "certainty": 0.5, "teacher_distance": 0.1,
}  # fmt: skip

SIGNS: dict[str, list[dict[str, float]]] = {
    "divergence": [{"loss": 80.0}, {"grad_norm": 500.0}],
    "complete collapse": [{"embedding_std": 0.02}, {"embedding_std": 0.3, "separation": 0.02}],
    "dimensional collapse": [
        {"effective_rank": 3.0},
        {"effective_rank": 1.2, "max_rank": 3.0},
        {"centered_rank": 4.0, "separation": 0.05},
        {"centered_rank": 7.1, "separation": 0.28},  # SimSiam without predictor
        {"feature_rank": 7.0},
    ],
    "equal views": [{"view_distance": 0.0}],
    "constant target": [{"prototypes_used": 1.1}],
    "uniform target": [{"certainty": 1e-5}, {"confidence": 1e-5}],
    "frozen teacher": [{"teacher_norm": 40.0, "teacher_distance": 0.2}],
    "distant teacher": [{"teacher_distance": 0.9}],
    "no learning": [
        {"loss": 4.995},
        {"loss": 5.005},
        {"loss": 5.8, "separation": 0.1},
        {"loss": 5.99, "separation": 0.1},
        {"grad_norm": 0.0},
        {"student_norm": 50.0, "loss": 5.99, "trivial_loss": 7.0},
    ],
}
"""What is measured in a run with each symptom."""


def measure(steps: range, signs: dict[str, float] | None = None, **first: float) -> list[Measurement]:
    """Create a measurement for each step; student and teacher move, and the first loss is 6."""
    norms = {"teacher_norm": 40.0, "student_norm": 50.0}
    history: list[dict[str, Any]] = [{"step": 10, **GOOD, **norms, "loss": 6.0, **first}]
    for step in steps:
        moved = {name: norm + step / 100 for name, norm in norms.items()}
        history.append({"step": step, **GOOD, **moved, **(signs or {})})
    return list(history)


def judge_prefixes(history: list[Measurement]) -> Iterator[Verdict]:
    """Judge the first measurement, the first two, and so on."""
    for count in range(1, len(history) + 1):
        yield diagnose(history[:count], TOTAL)


def test_there_are_signs_of_each_symptom() -> None:
    assert {symptom.kind for symptom in SYMPTOMS} == set(SIGNS)


@pytest.mark.parametrize(
    ("kind", "signs"), [(kind, signs) for kind, cases in SIGNS.items() for signs in cases], ids=lambda value: str(value)
)
def test_symptom_is_diagnosed_once_it_has_lasted(kind: str, signs: dict[str, float]) -> None:
    history = measure(range(300, 300 + 10 * WINDOW, 10), signs)
    *early, last = judge_prefixes(history)
    assert {verdict.kind for verdict in early} == {"healthy"}
    assert (last.kind, last.since) == (kind, 300)
    assert last.describe().startswith(f"{kind}: ")
    assert "since step 300; usual causes: " in last.describe()
    assert "\n" not in last.describe()


def test_run_without_symptoms_is_healthy() -> None:
    assert diagnose([], TOTAL) == HEALTHY
    assert {verdict.kind for verdict in judge_prefixes(measure(range(20, 600, 10)))} == {"healthy"}
    assert HEALTHY.describe() == "healthy"
    assert diagnose([{"step": 10 * n, "loss": 1.0} for n in range(1, 60)], TOTAL) == HEALTHY


def test_nothing_is_judged_during_the_first_steps() -> None:
    signs = SIGNS["complete collapse"][0]
    assert diagnose(measure(range(1, MIN_START), signs), 100) == HEALTHY
    assert diagnose(measure(range(100, 500, 10), signs), 10_000) == HEALTHY
    assert diagnose(measure(range(500, 530, 10), signs), 10_000).kind == "complete collapse"


def test_run_recovers_and_an_outlier_is_ignored() -> None:
    sick, good = measure(range(300, 340, 10), SIGNS["dimensional collapse"][0]), measure(range(340, 360, 10))[1:]
    kinds = [verdict.kind for verdict in judge_prefixes(sick + good)]
    assert kinds == ["healthy"] * 3 + ["dimensional collapse"] * 2 + ["healthy"] * 2
    assert {verdict.kind for verdict in judge_prefixes([*sick[:2], *good])} == {"healthy"}


def test_noise_does_not_hide_a_symptom() -> None:
    """One of three measurements is above the threshold, as the separation of VICReg without variance term."""
    history = [measure(range(300, 310))[0]]
    for step, separation in ((300, 0.08), (310, 0.17), (320, -0.1)):
        history += measure(range(step, step + 1), {"embedding_std": 0.25, "separation": separation})[1:]
    kinds = [verdict.kind for verdict in judge_prefixes(history)]
    assert kinds == ["healthy"] * 3 + ["complete collapse"]


def test_loss_that_passes_its_trivial_value_is_healthy() -> None:
    """That of SwAV starts above it."""
    history = [{"step": step, **GOOD, "loss": loss} for step, loss in ((20, 6.0), (300, 5.1), (310, 5.0), (320, 4.9))]
    assert {verdict.kind for verdict in judge_prefixes(history)} == {"healthy"}


def test_rank_of_features_that_was_never_high_is_healthy() -> None:
    """An untrained ViT has features of low rank."""
    assert diagnose(measure(range(300, 400, 10), {"feature_rank": 7.0}, feature_rank=9.0), TOTAL) == HEALTHY


def test_since_is_the_first_measurement_and_evidence_the_last() -> None:
    history = [*measure(range(300, 400, 10), {"effective_rank": 2.5}), {"step": 400, **GOOD, "effective_rank": 2.0}]
    verdict = diagnose(history, TOTAL)
    assert verdict.describe().startswith("dimensional collapse: rank 2.0 of 64, since step 300; usual causes: ")
    assert verdict.as_dict() == {
        "verdict": "dimensional collapse", "since": 300, "description": verdict.describe(),
    }  # fmt: skip


def test_first_of_several_symptoms_is_named() -> None:
    signs = {"loss": 5.0, "embedding_std": 0.01, "centered_rank": 1.0}
    assert diagnose(measure(range(300, 400, 10), signs), TOTAL).kind == "complete collapse"


@pytest.mark.parametrize(
    "signs",
    [
        {"loss": 4.98},  # 0.4 percent below the trivial value, as ReSSL early on
        {"loss": 5.0, "separation": 1.6},  # HCL passes the trivial value slowly
        {"embedding_std": 0.25, "separation": 0.3},  # MoCo early on
        {"loss": 0.3, "trivial_loss": 0.0},  # BYOL
        {"separation": 0.1},  # DINO early on: the loss falls
        {"embedding_std": 0.4, "separation": 0.05, "prototypes_used": 20.0},  # DINO: targets differ between images
        {"centered_rank": 3.0, "separation": 0.05, "prototypes_used": 20.0},
        {"loss": 5.99, "trivial_loss": 7.0, "separation": 0.27},  # CLSA early on
        {"view_distance": 0.05},
        {"confidence": 0.0, "positive_weight": 1.0},  # a target that has become that of MoCo
        {"teacher_distance": 0.0, "teacher_norm": 40.0},  # neither student nor teacher moves
        {"student_norm": 50.0},  # the loss falls: few parameters are trained
        {"prototypes_used": 7.0},
        {"centered_rank": 2.0, "separation": 0.25, "prototypes_used": 14.0},  # DINO
        {"centered_rank": 6.0, "separation": 0.5},  # MoCo
        {"loss": -200.0, "trivial_loss": -160.0},
        {"grad_norm": 90.0},
    ],
)
def test_harmless_measurements_are_healthy(signs: dict[str, float]) -> None:
    assert diagnose(measure(range(300, 400, 10), signs), TOTAL) == HEALTHY


def test_loss_of_zero_is_not_a_start() -> None:
    """That of DeepCluster v2 is 0 until the first k-means."""
    history = measure(range(20, 400, 10), {"loss": 3.7, "grad_norm": 2.3}, loss=0.0, grad_norm=0.0)
    assert diagnose(history, TOTAL) == HEALTHY


def test_examination_in_two_parts_equals_one() -> None:
    """A resumed run adds the earlier measurements first."""
    history = measure(range(300, 400, 10), SIGNS["divergence"][0])
    examination = Examination(TOTAL)
    for measured, verdict in zip(history, judge_prefixes(history), strict=True):
        assert examination.add(measured) == verdict
