"""A method from the settings of its parts."""

from torch import nn

from sslzoo.losses import LOSSES, Loss
from sslzoo.method.base import METHODS, Method
from sslzoo.method.pair import PairMethod
from sslzoo.modules.batch_norm import split_batch_norm, synchronize_batch_norm
from sslzoo.targets import TARGETS, Target


def build_method(
    method: Method.Config,
    target: Target.Config | None,
    loss: Loss.Config | None,
    backbone: nn.Module,
    *,
    seed: int = 0,
) -> Method:
    """Build the method on a backbone, with its target and loss; batch norm is split by `split_bn` and synchronized.

    Args:
        target: with its name; None for a method without pairs.
        loss: likewise.
    """
    part = METHODS.get(method.name)
    backbone = split_batch_norm(backbone, method.split_bn)
    if issubclass(part, PairMethod):
        assert target is not None
        assert loss is not None
        assert isinstance(method, PairMethod.Config)
        chosen, scored = TARGETS.get(target.name)(target), LOSSES.get(loss.name)(loss)
        built: Method = part(method, backbone, chosen, scored, seed=seed)
    else:
        built = part(method, backbone, seed=seed)
    synchronize_batch_norm(built)
    return built
