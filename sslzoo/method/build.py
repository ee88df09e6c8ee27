"""Build a method from the settings of its parts."""

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
    """Build a method with its target and loss, whose batch norm is split by `split_bn` and synchronized.

    Args:
        method: settings of the method, with its name.
        target: settings of the target, with its name; None for a method that compares no pairs.
        loss: settings of the loss, with its name; None for a method that compares no pairs.
        backbone: timm model, images (B, C, H, W) to features (B, D).
        seed: seed of random numbers that must be equal on all processes.
    """
    from sslzoo.modules.fuse import fuse  # imports timm, which takes a second

    method_class = METHODS.get(method.name)
    backbone = fuse(split_batch_norm(backbone, method.split_bn))
    if issubclass(method_class, PairMethod):
        assert target is not None
        assert loss is not None
        assert isinstance(method, PairMethod.Config)
        built: Method = method_class(
            method, backbone, TARGETS.get(target.name)(target), LOSSES.get(loss.name)(loss), seed=seed
        )
    else:
        built = method_class(method, backbone, seed=seed)
    synchronize_batch_norm(built)
    return built
