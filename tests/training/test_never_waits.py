"""A step never makes the host wait for a GPU: it reads no value, counts no elements and copies no constant.

The tests inspect every operation and need no GPU. Views are created on torch's meta device, which has no values and
uses the code path of a GPU. The pass of a method runs on a CPU, since its code does not depend on the device.
"""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tiers import quick
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from sslzoo.check.tiny import Tiny, run
from sslzoo.data.augment.sampling import sample_parameters
from sslzoo.data.augment.view import create_view
from sslzoo.data.batch import Batch
from sslzoo.experiment.compose import compose
from sslzoo.method.base import METHODS

READS = {"_local_scalar_dense", "nonzero", "masked_select", "is_nonzero", "equal", "_unique2", "bincount"}
SENDS = {"lift_fresh"}
"""The operation behind `torch.tensor` and `new_tensor`."""


class WaitRecorder(TorchDispatchMode):
    """Records the operations for which the host would wait."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[str] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = function._schema.name.removeprefix("aten::")
        indices = [index for arg in args if isinstance(arg, list | tuple) for index in arg if isinstance(index, Tensor)]
        counts = name.startswith("index") and any(index.dtype in (torch.bool, torch.uint8) for index in indices)
        if counts or name in READS | SENDS:
            self.waits.append(name)
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    ("work", "wait"),
    [
        (lambda x: x.sum().item(), "_local_scalar_dense"),
        (lambda x: bool(x.sum() > 0), "_local_scalar_dense"),
        (lambda x: x[x > 0], "index"),
        (lambda x: x.new_tensor([1.0]), "lift_fresh"),
        (lambda x: (x > 0).nonzero(), "nonzero"),
    ],
)
def test_recorder_detects_waits(work: Callable[[Tensor], object], wait: str) -> None:
    with WaitRecorder() as recorder:
        work(torch.ones(4, 3))
    assert wait in recorder.waits


@pytest.mark.parametrize("sampled", [False, True])
@pytest.mark.parametrize("name", quick(METHODS.names(), "ascl", "byol", "swav"))
def test_creating_views_never_waits(name: str, sampled: bool) -> None:
    experiment = compose(["--method", name, "--dataset", "imagenet-1k" if sampled else "cifar10"])
    size, device = experiment.img_size + 4, torch.device("meta")
    numbers = torch.empty(8, dtype=torch.int64, device=device)
    sizes = torch.empty(8, 2, dtype=torch.int64, device=device)
    batch = Batch(torch.empty(8, 3, size, size, dtype=torch.uint8, device=device), sizes, numbers, numbers)
    augmentations = [experiment.augmentation(view) for view in experiment.method.views]
    if sampled:
        keys = {"seed": 0, "epoch": 0}
        parameters = [
            sample_parameters(augmentation, sizes, numbers, view=view, **keys)
            for view, augmentation in enumerate(augmentations)
        ]
        batch = batch._replace(parameters=tuple(parameters))

    def create_views() -> list[Tensor]:
        mean, std = experiment.dataset.mean, experiment.dataset.std
        return [
            create_view(augmentation, batch, seed=0, epoch=0, view=view, mean=mean, std=std)
            for view, augmentation in enumerate(augmentations)
        ]

    create_views()  # the first step copies constants
    with WaitRecorder() as recorder:
        created = create_views()
    assert [view.shape[2] for view in created] == experiment.view_sizes
    assert recorder.waits == []


@pytest.mark.parametrize("chunks", [False, True])
@pytest.mark.parametrize("name", quick(METHODS.names(), "ascl", "byol", "swav"))
def test_forward_backward_queue_and_teacher_never_wait(
    name: str, chunks: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if chunks:
        monkeypatch.setattr("sslzoo.modules.chunked.MOST_SIMILARITIES", 100)
    method, sample = (tiny := Tiny.of("--method", name)).method(), tiny.sample()
    method.before_epoch(0)
    method.after_batch(run(method, tiny.sample(seed=1)))
    method.before_epoch(1)
    with WaitRecorder() as recorder:
        output = run(method, sample)
        output.loss.backward()
        method.after_batch(output)
        method.before_step(0.5)
        method.after_step(0.5)
    assert recorder.waits == []
