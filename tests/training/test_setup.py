"""The set-up of training."""

from types import SimpleNamespace

import pytest
import torch

from sslzoo.training.setup import can_fuse_optimizer


@pytest.mark.parametrize(
    ("device", "scaler", "fused"), [("cuda", None, True), ("cuda", object(), False), ("cpu", None, False)]
)
def test_optimizer_is_fused_on_a_gpu_without_gradient_scaler(device: str, scaler: object, fused: bool) -> None:
    """With a scaler, fused SGD keeps an uninitialized momentum if the first step overflows; three methods got NaN."""
    assert can_fuse_optimizer(SimpleNamespace(device=torch.device(device), scaler=scaler)) == fused
