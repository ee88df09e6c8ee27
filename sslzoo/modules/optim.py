"""Optimizers and learning rate schedules of timm."""

import math
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, field_validator
from torch import nn
from torch.optim import Optimizer

from sslzoo.config.schema import Config, YamlMapping
from sslzoo.modules.layers import group_parameters
from sslzoo.runtime.errors import UserError, near_misses

if TYPE_CHECKING:
    from timm.scheduler.scheduler import Scheduler

FUSED = ("sgd", "momentum", "adam", "adamw")
"""Optimizers that torch implements as one kernel for all parameters of a device."""
USUAL = ("adamw", "lars", "momentum", "sgd")
"""Optimizers whose names are accepted without importing timm, which takes seconds."""


class OptimizerConfig(Config):
    """The optimizer, by its name in timm."""

    name: str = "momentum"
    """timm's name: `momentum` is SGD with plain momentum, `sgd` is Nesterov's; `adamw`, `lars`, `lamb`, `muon`, ..."""
    lr: PositiveFloat = 0.03
    """Learning rate at the end of warm-up, for the configured batch size."""
    lr_batch: PositiveInt | None = None
    """If set, `lr` applies to this batch size and is scaled linearly to the configured one."""
    weight_decay: NonNegativeFloat = 5e-4
    """Weight decay."""
    decay_all: bool = True
    """Decay biases and norms as well, as MoCo and ASCL do; timm excludes them by default."""
    momentum: float = Field(0.9, ge=0, lt=1)
    """Momentum, if the optimizer has one."""
    layer_decay: float = Field(1, gt=0, le=1)
    """Learning rate of each block of the backbone as a fraction of that of the next one; below 1 the first blocks
    change less, which keeps what pretrained weights know."""
    lr_scale: YamlMapping = {}
    """Factors of the learning rate by pattern of parameter names, such as `{"student.projector.*": 10}`; the first
    pattern that matches a name counts."""
    kwargs: YamlMapping = {}
    """Further arguments of the optimizer, such as `{betas: [0.9, 0.95]}`."""

    @field_validator("lr_scale")
    @classmethod
    def _positive(cls, factors: dict[str, Any]) -> dict[str, float]:
        for pattern, factor in factors.items():
            if isinstance(factor, bool) or not isinstance(factor, int | float) or not 0 < factor < math.inf:
                raise ValueError(f"{pattern}: {factor}: must be a positive number")
        return {pattern: float(factor) for pattern, factor in factors.items()}

    @field_validator("name")
    @classmethod
    def _known(cls, name: str) -> str:
        if name in USUAL:
            return name
        from timm.optim import list_optimizers

        if name not in list_optimizers():
            raise ValueError(f"timm has no such optimizer{near_misses(name, list_optimizers())}")
        return name

    def scale_learning_rate(self, batch_size: int) -> float:
        """Return the learning rate for a batch size."""
        return self.lr if self.lr_batch is None else self.lr * batch_size / self.lr_batch


class ScheduleConfig(Config):
    """The learning rate over training, set at every optimizer step."""

    name: Literal["cosine", "step", "poly", "constant"] = "cosine"
    """Shape after warm-up."""
    warmup_epochs: NonNegativeFloat = 5
    """Epochs in which the learning rate rises linearly."""
    warmup_lr: NonNegativeFloat = 0
    """Learning rate of the first step."""
    min_lr: NonNegativeFloat = 0
    """Learning rate at the end."""
    kwargs: YamlMapping = {}
    """Further arguments of timm's `create_scheduler_v2`, such as `{decay_milestones: [120, 160]}`."""


def create_optimizer(
    config: OptimizerConfig,
    model: nn.Module,
    batch_size: int,
    backbone: nn.Module | None = None,
    *,
    fused: bool = False,
) -> Optimizer:
    """Create the optimizer of a model's trainable parameters.

    Args:
        backbone: the part of the model to which `layer_decay` applies; None for the whole model.
        fused: use torch's fused kernel if it exists. Do not combine it with a gradient scaler: if the first step
            overflows, fused SGD skips it and keeps an uninitialized momentum.

    Raises:
        UserError: the optimizer does not accept these settings, or needs a package that is not installed; see also
            `group_parameters`.
    """
    from timm.optim import create_optimizer_v2

    parameters: nn.Module | list[dict[str, Any]] = model
    if config.layer_decay < 1 or config.lr_scale:
        parameters = group_parameters(
            model,
            backbone or model,
            layer_decay=config.layer_decay,
            lr_scale=config.lr_scale,
            weight_decay=config.weight_decay,
            decay_all=config.decay_all,
        )
    try:
        optimizer: Optimizer = create_optimizer_v2(
            parameters,
            opt=config.name,
            lr=config.scale_learning_rate(batch_size),
            weight_decay=config.weight_decay,
            momentum=config.momentum,
            filter_bias_and_bn=not config.decay_all,
            **({"fused": True} if fused and config.name in FUSED else {}) | config.kwargs,
        )
    except Exception as error:  # each optimizer raises its own errors
        raise UserError(f"optimizer.name = {config.name!r}: timm raised: {' '.join(str(error).split())}") from error
    return optimizer


def create_schedule(
    config: ScheduleConfig, optimizer: Optimizer, *, epochs: int, steps_per_epoch: int
) -> "Scheduler | None":
    """Create timm's schedule, or None if the rate is constant; call its `step_update` with the number of the next step.

    The schedule also scales the rate of each group of the optimizer by its `lr_scale`.

    Raises:
        UserError: warm-up is as long as training, or the schedule does not accept these settings.
    """
    scaled = any(group.get("lr_scale", 1) != 1 for group in optimizer.param_groups)
    if config.name == "constant" and not config.warmup_epochs and not scaled:
        return None
    warmup = round(config.warmup_epochs * steps_per_epoch)
    steps = epochs * steps_per_epoch - warmup
    if steps < 1:
        raise UserError(
            f"schedule.warmup_epochs = {config.warmup_epochs:g}: warm-up must be shorter than training, {epochs} epochs"
        )
    from timm.scheduler import create_scheduler_v2

    try:
        schedule, _ = create_scheduler_v2(
            optimizer,
            sched="step" if config.name == "constant" else config.name,
            num_epochs=steps,
            decay_epochs=steps + 1 if config.name == "constant" else max(1, steps // 3),
            min_lr=config.min_lr,
            warmup_lr=config.warmup_lr,
            warmup_epochs=warmup,
            warmup_prefix=True,
            step_on_epochs=False,
            updates_per_epoch=1,
            **config.kwargs,
        )
    except Exception as error:
        raise UserError(f"schedule.name = {config.name!r}: timm raised: {' '.join(str(error).split())}") from error
    return schedule
