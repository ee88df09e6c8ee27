"""What a query should match: a distribution over the positive and the candidates."""

from sslzoo.targets.base import TARGETS, Target, TargetOutput

__all__ = ["TARGETS", "Target", "TargetOutput"]
