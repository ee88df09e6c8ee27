"""Call functions of the user during training, such as `sslzoo.train(on_epoch=print)`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from sslzoo.evaluation.features import restore_modes
from sslzoo.method.base import Method, MethodOutput
from sslzoo.runtime.isolation import preserve_random_state

Values = dict[str, Tensor | float]


@dataclass(frozen=True)
class Event:
    """What a callback of a training run receives."""

    step: int
    """Number of optimizer steps so far."""
    total_steps: int
    """Number of optimizer steps of the whole training."""
    epoch: float
    """Number of epochs so far, with a fraction within an epoch."""
    model: Method
    """The method with all its modules on the training device; its backbone is `model.student.backbone`."""
    folder: Path
    """Folder of the run."""
    checkpoint: Path | None = None
    """Folder of the saved checkpoint, for `on_checkpoint`."""
    values: Mapping[str, Tensor | float] = field(default_factory=dict, repr=False)
    """The metrics as they are in training: tensors () on the training device."""

    @property
    def metrics(self) -> dict[str, float]:
        """The metrics as numbers, which waits for a GPU to finish the step; valid until the callback returns.

        For `on_step` these are loss, learning rate and the method's logs for the last batch of this process, for
        `on_epoch` their means over the steps of the epoch, with `knn` if kNN was evaluated after it.
        """
        return {name: float(value) for name, value in self.values.items()}


Callback = Callable[[Event], object]


@dataclass(frozen=True)
class Callbacks:
    """Functions that a run calls on each process; None is skipped."""

    on_step: Callback | None = None
    """After each optimizer step."""
    on_epoch: Callback | None = None
    """After each epoch and its kNN evaluation, if there is one."""
    on_checkpoint: Callback | None = None
    """After a checkpoint was saved."""


def call(callback: Callback, event: Event) -> None:
    """Call a callback, and then restore the random generators and the training mode of all modules."""
    with preserve_random_state(), restore_modes(event.model):
        callback(event)


class EpochMeans:
    """Means of loss and logs over the steps of an epoch; sums stay on the device."""

    def __init__(self) -> None:
        self._reset()

    def _reset(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._steps = 0

    def add(self, output: MethodOutput) -> None:
        """Add the output of a step."""
        for name, value in get_values(output).items():
            self._sums[name] = self._sums[name] + value if name in self._sums else value.clone()
        self._steps += 1

    def compute_and_reset(self) -> Values:
        """Return the means as tensors () on the device, and start the next epoch."""
        means: Values = {name: value / self._steps for name, value in self._sums.items()}
        self._reset()
        return means


def get_values(output: MethodOutput) -> dict[str, Tensor]:
    """Return the loss and logs of a step as tensors () on the device, without gradient."""
    return {"loss": output.loss.detach(), **{name: value.detach() for name, value in output.logs.items()}}
