"""Every method's pass, queue and teacher on a GPU that need not exist: fake tensors have device, shape and type.

Torch computes no gradients of fake tensors on a GPU that does not exist; backward passes are checked on a CPU.
"""

import pytest
import torch
from tiers import quick
from torch import Tensor, nn
from torch._subclasses.fake_tensor import DynamicOutputShapeException, FakeTensorMode

from sslzoo.check.tiny import Sample, Tiny, run
from sslzoo.method.base import METHODS, Method

READS_THE_DEVICE_IN_AN_EPOCH = {"deepcluster-v2"}
"""Methods whose `before_epoch` asks the host for a count: k-means over the images seen so far."""


def fake(mode: FakeTensorMode, tensor: Tensor) -> Tensor:
    """The tensor's shape and type on a GPU."""
    copy = mode.from_tensor(tensor.detach())
    with mode:
        copy = copy.to("cuda")
    return nn.Parameter(copy, requires_grad=tensor.requires_grad) if isinstance(tensor, nn.Parameter) else copy


def move_to_fake_gpu(mode: FakeTensorMode, method: Method) -> None:
    """All parameters and buffers, shared ones once."""
    moved: dict[int, Tensor] = {}
    for module in method.modules():
        for tensors in (module._parameters, module._buffers):
            for name, tensor in tensors.items():
                if tensor is not None:
                    tensors[name] = moved.setdefault(id(tensor), fake(mode, tensor))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, None])
@pytest.mark.parametrize("name", quick(METHODS.names(), "ascl", "byol", "swav"))
def test_a_pass_stays_on_the_device_and_scores_in_float32(
    name: str, dtype: torch.dtype | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sslzoo.modules.batch_norm.has_triton_package", lambda: False)  # kernels take no fake tensors
    with monkeypatch.context() as patch:  # autocast asks when it is created, fake tensors later
        patch.setattr(torch.cuda, "is_available", lambda: True)
        patch.setattr(torch.cuda, "is_bf16_supported", lambda *arguments, **settings: True)
        autocast = torch.autocast("cuda", dtype, enabled=dtype is not None)
    tiny, mode = Tiny.of("--method", name), FakeTensorMode()
    method, sample = tiny.method(), tiny.sample()
    move_to_fake_gpu(mode, method)
    views = [fake(mode, view) for view in sample.views]
    sample = Sample(views, fake(mode, sample.ids), fake(mode, sample.labels))
    with mode:
        if name in READS_THE_DEVICE_IN_AN_EPOCH:
            with pytest.raises(DynamicOutputShapeException):
                method.before_epoch(0)
        else:
            method.before_epoch(0)
        with torch.no_grad(), autocast:
            features = method.student(sample.views[0])
            output = run(method, sample)
        method.after_batch(output)
        method.after_step(0.5)
    for tensor in (output.loss, output.embeddings, *output.logs.values(), *method.state_dict().values()):
        assert tensor.device.type == "cuda"
    assert features.dtype == (dtype or torch.float32)
    assert output.loss.dtype == torch.float32
    assert all(value.dtype != dtype for value in method.state_dict().values())
