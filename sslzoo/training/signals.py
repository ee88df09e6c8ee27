"""Signals of health of a run, measured at the log interval: spread, rank, views, teacher, queue and trivial loss."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import get_total_norm

from sslzoo.evaluation.hypersphere import alignment, uniformity
from sslzoo.evaluation.representation import effective_rank, embedding_std, measure_separation
from sslzoo.method.base import Method, MethodOutput
from sslzoo.method.pair import PairMethod
from sslzoo.modules.heads import Encoder
from sslzoo.modules.momentum import Teacher
from sslzoo.modules.queue import Queue

MAX_QUEUE_ROWS = 1024
"""Number of keys from which the spread of the queue is measured."""

COMPARED_IMAGES = 8
"""Number of images whose views are compared pixel by pixel."""


class Signals:
    """Measures signals of health of a method from its last forward pass.

    Hooks keep the features and embeddings that the student has just computed, so that no image is encoded again. They
    read no value: only `measure` waits for the device.
    """

    def __init__(self, method: Method, start: int = 0) -> None:
        """
        Args:
            start: step that the run resumes at.
        """
        self.method, self.start = method, start
        self._batch = 0
        self._features: list[Tensor] = []
        self._embeddings: list[Tensor] = []
        self._view_distance: Tensor | None = None
        modules = list(method.modules())
        self._queue = next((module for module in modules if isinstance(module, Queue)), None)
        self._teacher = _find_encoder(next((module for module in modules if isinstance(module, Teacher)), None))
        projector = getattr(method.student, "projector", None)
        if isinstance(projector, nn.Module):
            method.register_forward_pre_hook(self._forget, with_kwargs=True)
            projector.register_forward_hook(self._keep)

    def _forget(self, module: nn.Module, inputs: tuple[Any, ...], keywords: Mapping[str, Any]) -> None:
        """Forget the previous pass; note the number of images of this one, and the distance of their views."""
        views = inputs[0] if inputs else keywords["views"]
        self._batch = len(views[0])
        self._features, self._embeddings = [], []
        self._view_distance = measure_view_distance(views)

    def _keep(self, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        """Keep input and output of a call of the projector, for one view or for all views one after the other."""
        self._features.append(inputs[0].detach())
        self._embeddings.append(output.detach())

    @torch.no_grad()
    def measure(self, output: MethodOutput, step: int) -> dict[str, float]:
        """Measure this process's last batch, and the teacher and queue, after `step` steps; called by all processes.

        Args:
            output: result of the last forward pass.

        Returns:
            The values that this method has, under the names in docs/health.md.
        """
        embeddings = output.embeddings.float()
        values = {
            "embedding_std": float(embedding_std(embeddings)),
            "effective_rank": float(effective_rank(embeddings)),
        }
        if self._features:
            features = torch.cat(self._features)[: self._batch].float()
            values["feature_std"] = float(embedding_std(features))
            values["feature_rank"] = measure_centered_rank(features)
        if self._view_distance is not None:
            values["view_distance"] = float(self._view_distance)
        values |= self._measure_views(output)
        values["student_norm"] = measure_norm(self.method.student)
        if self._teacher is not None and isinstance(self.method.student, Encoder):
            values |= compare_parameters(self._teacher, self.method.student)
        if self._queue is not None:
            values |= self._measure_queue(self._queue, step)
        trivial = self.method.trivial_loss()
        return values if trivial is None else values | {"trivial_loss": trivial}

    def _measure_views(self, output: MethodOutput) -> dict[str, float]:
        """Measure the embeddings of two views of the batch, both encoded by the student if possible."""
        embeddings = torch.cat(self._embeddings) if self._embeddings else output.embeddings
        views = list(torch.split(embeddings, self._batch or len(embeddings)))[:2]
        if len(views) == 1 and isinstance(self.method, PairMethod) and output.keys is not None:
            views.append(output.keys[: len(views[0])])
        if len(views[0]) < 2:
            return {}
        one = views[0].float()
        values = {
            "centered_rank": measure_centered_rank(one),
            "max_rank": float(min(len(one) - 1, one.shape[1])),
            "uniformity": float(uniformity(one)),
        }
        if len(views) == 2 and views[0].shape == views[1].shape:
            values["alignment"] = float(alignment(*views))
            values["separation"] = float(measure_separation(*views))
        return values

    def _measure_queue(self, queue: Queue, step: int) -> dict[str, float]:
        """Measure the spread of the queue, and the age of its oldest key in steps."""
        per_step = queue.pushed / max(1, step - self.start)
        age = min(step, len(queue.keys) / per_step) if per_step else step
        return {"queue_age": float(age), "queue_std": float(embedding_std(queue.keys[:MAX_QUEUE_ROWS]))}


def measure_view_distance(views: Sequence[Tensor]) -> Tensor | None:
    """Measure the root mean square difference () of two normalized views of some images; None if sizes differ."""
    sample = [view[:COMPARED_IMAGES].detach().float() for view in views[:2]]
    if len(sample) < 2 or sample[0].shape != sample[1].shape:
        return None
    return F.mse_loss(sample[0], sample[1]).sqrt()


def measure_centered_rank(embeddings: Tensor) -> float:
    """Measure the effective rank of embeddings (B, D) about their mean, from 1 to min(B - 1, D)."""
    return float(effective_rank(embeddings - embeddings.mean(dim=0)))


def measure_norm(module: nn.Module) -> float:
    """Measure the norm of all trainable parameters together; 0 if there are none."""
    return float(get_total_norm([parameter.detach() for parameter in module.parameters() if parameter.requires_grad]))


def compare_parameters(teacher: nn.Module, student: nn.Module) -> dict[str, float]:
    """Measure the norm of the teacher's parameters, and the distance of the student's as a fraction of it."""
    pairs = list(zip(teacher.parameters(), student.parameters(), strict=True))
    norms = torch.stack([torch.stack([t.norm(), (t - s).norm()]) for t, s in pairs])
    norm, distance = norms.cpu().double().square().sum(dim=0).sqrt().tolist()
    return {"teacher_norm": norm, "teacher_distance": distance / max(norm, 1e-12)}


def _find_encoder(teacher: Teacher | None) -> Encoder | None:
    """Find the backbone and projector of a teacher, which may have prototypes too."""
    if teacher is None:
        return None
    return next((module for module in teacher.modules() if isinstance(module, Encoder)), None)
