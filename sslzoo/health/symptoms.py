"""Symptoms of a run that does not learn, each recognized in a single measurement."""

import math
from collections.abc import Callable
from typing import NamedTuple

from sslzoo.health.measurement import Measurement

COLLAPSED_STD = 0.1
"""Largest standard deviation of collapsed embeddings; evenly spread ones have 1."""

CONTRACTED_STD = 0.5
"""Standard deviation below which embeddings are collapsing if they do not tell images apart at all."""

INDISTINCT_SEPARATION = 0.15
"""Separation below which embeddings do not tell images apart: about 0 on average, with a noise of 1 / sqrt(B)."""

COLLAPSED_RANK = 0.05
"""Largest effective rank of collapsed embeddings, as a fraction of the possible rank; see also `MIN_RANK`."""

MIN_RANK = 1.5
"""Effective rank below which embeddings have collapsed, whatever the possible rank."""

LOW_RANK = 0.125
"""Largest rank about the mean, as a fraction of the possible rank, of embeddings that also have a `LOW_SEPARATION`.

A low rank alone does no harm: DINO on the digits has a rank of 2 of 64 and learns."""

LOW_SEPARATION = 0.3
"""Largest separation of embeddings that have lost the differences between images."""

TRIVIAL_LOSS = 0.002
"""Distance from its trivial value below which a loss is trivial, as a fraction of that value, at least of 1."""

DISTINCT_SEPARATION = 1.0
"""Separation above which an encoder recognizes images; a loss with its trivial value then passes it by chance."""

UNLEARNED_SEPARATION = 0.3
"""Separation below which an encoder does not recognize images if its loss is above the trivial one; untrained encoders
have 0.1 to 0.2 on strong views."""

CONSTANT_SEPARATION = 0.2
"""The same if the loss is constant."""

CONSTANT_LOSS = 0.01
"""Decrease of the loss since its first value below which it is constant, as a fraction of that value, at least of 1."""

EXPLODED_LOSS = 3.0
"""Increase of the loss over its first value, in multiples of that value's size, at which a run has diverged."""

EXPLODED_GRADIENT = 100.0
"""Increase of the gradient norm over its first value at which a run has diverged."""

DISTANT_TEACHER = 0.7
"""Distance of student and teacher, relative to the norm of the teacher, at which they have lost each other."""

UNCHANGED_NORM = 1e-6
"""Change of the norm of the student's parameters, relative to the first norm, below which they do not change."""

MOVED_STUDENT = 0.01
"""Distance of student and teacher at which a teacher that has not moved at all is frozen."""

EQUAL_VIEWS = 0.01
"""Root mean square difference of two views, in standard deviations of the pixels, below which they are equal."""

COLLAPSED_FEATURE_RANK = 10.0
"""Rank about the mean below which the backbone's features have lost most directions, if they had twice as many.

Features need few directions to tell a few classes apart: DINO on the digits has 15 of 63 and learns."""

UNIFORM_CERTAINTY = 0.001
"""Largest certainty or confidence of a target that is uniform: 0 is uniform, 1 is one-hot."""

USED_PROTOTYPES = 6.0
"""Number of used prototypes below which nearly all images have the same target."""


class Symptom(NamedTuple):
    """A symptom, by which a run is diagnosed."""

    kind: str
    """Name of the verdict."""
    causes: str
    """Usual causes."""
    show: Callable[[Measurement, Measurement], str | None]
    """Returns the evidence in a measurement, given also the first one of the run; None if there is none."""


def show_divergence(measured: Measurement, first: Measurement) -> str | None:
    """Recognize a loss or a gradient that has exploded."""
    loss, start = measured["loss"], first["loss"]
    if loss - start > EXPLODED_LOSS * max(1.0, abs(start)):
        return f"loss {loss:.4g}, at first {start:.4g}"
    norm, start = measured.get("grad_norm", 0.0), first.get("grad_norm", 0.0)
    if start and norm > EXPLODED_GRADIENT * start:
        return f"gradient norm {norm:.3g}, at first {start:.3g}"
    return None


def show_complete_collapse(measured: Measurement, first: Measurement) -> str | None:
    """Recognize embeddings that are equal, or close together without telling images apart."""
    std, separation = measured.get("embedding_std", 1.0), measured.get("separation", math.inf)
    if std < COLLAPSED_STD:
        return f"embedding std {std:.3f}, healthy is near 1"
    if std < CONTRACTED_STD and separation < INDISTINCT_SEPARATION and not tells_images_apart(measured):
        return f"embedding std {std:.3f}, separation of views {separation:.2f}"
    return None


def tells_images_apart(measured: Measurement) -> bool:
    """Whether images have different targets although their embeddings may be alike, as early in DINO's training."""
    used = measured.get("prototypes_used", 0.0)
    return bool(used >= USED_PROTOTYPES and show_uniform_target(measured, measured) is None)


def show_equal_views(measured: Measurement, first: Measurement) -> str | None:
    """Recognize views that are the same image."""
    distance = measured.get("view_distance", 1.0)
    if distance < EQUAL_VIEWS:
        return f"the views of an image differ by {distance:.2g} standard deviations of the pixels"
    return None


def show_dimensional_collapse(measured: Measurement, first: Measurement) -> str | None:
    """Recognize embeddings that use few directions."""
    possible = measured.get("max_rank", 0.0)
    rank, centered = measured.get("effective_rank", math.inf), measured.get("centered_rank", math.inf)
    separation = measured.get("separation", math.inf)
    if rank < max(MIN_RANK, COLLAPSED_RANK * possible):
        return f"rank {rank:.1f} of {possible:.0f}"
    if centered < LOW_RANK * possible and separation < LOW_SEPARATION and not tells_images_apart(measured):
        return f"rank {centered:.1f} of {possible:.0f}, separation of views {separation:.2f}"
    features, start = measured.get("feature_rank", math.inf), first.get("feature_rank", 0.0)
    if features < min(COLLAPSED_FEATURE_RANK, start / 2):
        return f"rank {features:.1f} of the backbone's features, at first {start:.1f}"
    return None


def show_uniform_target(measured: Measurement, first: Measurement) -> str | None:
    """Recognize targets that are the same for all candidates or prototypes.

    A target with `positive_weight` has the positive too: without neighbors it is that of MoCo, which is no failure.
    """
    for name in ("certainty", "confidence"):
        if measured.get(name, 1.0) < UNIFORM_CERTAINTY and "positive_weight" not in measured:
            return f"{name} {measured[name]:.2g} of 1"
    return None


def show_constant_target(measured: Measurement, first: Measurement) -> str | None:
    """Recognize targets that are the same for all images."""
    used = measured.get("prototypes_used", USED_PROTOTYPES)
    return f"{used:.1f} prototypes used" if used < USED_PROTOTYPES else None


def show_frozen_teacher(measured: Measurement, first: Measurement) -> str | None:
    """Recognize a teacher that has never been updated."""
    distance = measured.get("teacher_distance", 0.0)
    if distance < MOVED_STUDENT or measured.get("teacher_norm") != first.get("teacher_norm", math.nan):
        return None
    return f"the student has moved by {100 * distance:.0f} % of the teacher's norm, the teacher not at all"


def show_distant_teacher(measured: Measurement, first: Measurement) -> str | None:
    """Recognize a teacher that the student has left behind."""
    distance = measured.get("teacher_distance", 0.0)
    return f"distance {distance:.2f} of the teacher's norm" if distance > DISTANT_TEACHER else None


def show_no_learning(measured: Measurement, first: Measurement) -> str | None:
    """Recognize a loss that is trivial, or no better than trivial or than at first while views or parameters show that
    nothing is learned.

    A trivial loss of 0 or less is the smallest possible one, so that a larger one means nothing.
    """
    loss, start, trivial = measured["loss"], first["loss"], measured.get("trivial_loss")
    if measured.get("grad_norm") == 0:
        return "the gradient is 0"
    is_trivial = trivial is not None and abs(loss - trivial) < TRIVIAL_LOSS * max(1.0, abs(trivial))
    if is_trivial and measured.get("separation", 0.0) < DISTINCT_SEPARATION:
        return f"loss {loss:.4g}, that of equal embeddings is {trivial:.4g}"
    separation = measured.get("separation", math.inf)
    unlearned = f"separation of views {separation:.2f}, loss {loss:.4g}"
    if trivial is not None and 0 < trivial < loss and separation < UNLEARNED_SEPARATION:
        return f"{unlearned}, that of equal embeddings is {trivial:.4g}"
    if loss <= start - CONSTANT_LOSS * max(1.0, abs(start)):
        return None
    norm, initial = measured.get("student_norm", math.inf), first.get("student_norm", 0.0)
    if abs(norm - initial) < UNCHANGED_NORM * initial:
        return f"the parameters do not change, loss {loss:.4g}, at first {start:.4g}"
    return f"{unlearned}, at first {start:.4g}" if separation < CONSTANT_SEPARATION else None


SYMPTOMS = (
    Symptom("divergence", "learning rate too high, no warm-up, or no gradient clipping", show_divergence),
    Symptom(
        "complete collapse",
        "no predictor, stop-gradient, negatives or variance term, no batch norm in the head, or images that are equal",
        show_complete_collapse,
    ),
    Symptom("equal views", "no augmentation, or one that is too weak", show_equal_views),
    Symptom(
        "constant target",
        "no centering, no Sinkhorn iterations, or a temperature that is too low",
        show_constant_target,
    ),
    Symptom(
        "uniform target",
        "no sharpening, a target temperature or epsilon that is too high, or no batch norm in the head",
        show_uniform_target,
    ),
    Symptom("frozen teacher", "EMA momentum of 1, or `after_step` does not update the teacher", show_frozen_teacher),
    Symptom("distant teacher", "EMA momentum too close to 1, or learning rate too high", show_distant_teacher),
    Symptom(
        "dimensional collapse",
        "learning rate too high, no predictor, decorrelation or repulsion too weak, or no batch norm in the head",
        show_dimensional_collapse,
    ),
    Symptom(
        "no learning",
        "learning rate too low or too high, a frozen encoder, views of different images, or temperature out of range",
        show_no_learning,
    ),
)
"""All symptoms; a run that shows several is diagnosed with the first."""
