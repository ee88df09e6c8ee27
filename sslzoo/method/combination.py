"""Which methods, targets and losses are compatible."""

from sslzoo.losses import LOSSES, Loss
from sslzoo.method.base import Method
from sslzoo.method.pair import PairMethod
from sslzoo.targets import Target


def explain_mismatch(method: type[Method], target: type[Target], loss: type[Loss]) -> str | None:
    """Explain why a method, a target and a loss are incompatible; None if they are compatible."""
    if not issubclass(method, PairMethod):
        return f"{method.name} compares no pairs and accepts no target and no loss"
    if method.supervised and not target.supervised:
        return f"{method.name} weights candidates by label, not by similarity"
    if target.supervised and not method.supervised:
        return f"{target.name} weights candidates by label, and only supervised methods receive labels"
    if loss.positive and not target.positive:
        return f"{target.name} gives no weight to the positive, but {loss.name} scores it"
    if target.positive and not loss.positive:
        return f"{loss.name} ignores the positive, but {target.name} gives weight to it"
    if target.soft and not loss.soft:
        return f"{loss.name} scores the positive only, but {target.name} gives weight to candidates"
    if not loss.repels and not method.predicts:
        return f"{loss.name} only attracts, and {method.name} has no predictor to prevent collapse"
    return None


def choose_loss(method: type[PairMethod], target: type[Target]) -> type[Loss]:
    """Choose the first compatible loss: the method's own, the target's own, else softmax cross-entropy.

    Returns:
        The method's own loss if none is compatible.
    """
    names = (method.default_loss, target.default_loss, PairMethod.default_loss)
    losses = [LOSSES.get(name) for name in names if name is not None]
    return next((loss for loss in losses if explain_mismatch(method, target, loss) is None), losses[0])
