"""Which methods, targets and losses go together."""

from sslzoo.losses import LOSSES, Loss
from sslzoo.method.base import Method
from sslzoo.method.pair import PairMethod
from sslzoo.targets import Target


def explain_mismatch(method: type[Method], target: type[Target], loss: type[Loss]) -> str | None:
    """Explain why a method, a target and a loss are incompatible; None where they are compatible."""
    if not issubclass(method, PairMethod):
        return f"{method.name} has no pairs to match, so it takes no target and no loss"
    if method.supervised and not target.supervised:
        return f"{method.name} weighs candidates by their labels, not by their similarities"
    if target.supervised and not method.supervised:
        return f"{target.name} weighs candidates by their labels, which only supervised methods are given"
    if loss.positive and not target.positive:
        return f"{target.name} gives the positive no weight, and {loss.name} scores it"
    if target.positive and not loss.positive:
        return f"{loss.name} leaves the positive out, and {target.name} gives it weight"
    if target.soft and not loss.soft:
        return f"{loss.name} knows the positive alone, and {target.name} gives weight to candidates"
    if not loss.repels and not method.predicts:
        return f"{loss.name} only attracts, and {method.name} has no predictor that keeps embeddings apart"
    return None


def choose_loss(method: type[PairMethod], target: type[Target]) -> type[Loss]:
    """Choose the method's own loss; where it does not fit the target, the target's, or softmax cross-entropy."""
    names = (method.default_loss, target.default_loss, PairMethod.default_loss)
    losses = [LOSSES.get(name) for name in names if name is not None]
    return next((loss for loss in losses if explain_mismatch(method, target, loss) is None), losses[0])
