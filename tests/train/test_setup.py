"""What a run is made of."""

from types import SimpleNamespace

import pytest
import torch

from sslzoo.train.setup import can_fuse_optimizer


@pytest.mark.parametrize(
    ("device", "scaler", "fused"), [("cuda", None, True), ("cuda", object(), False), ("cpu", None, False)]
)
def test_the_optimizer_is_fused_on_a_gpu_without_a_gradient_scaler(device: str, scaler: object, fused: bool) -> None:
    """Three methods became non-finite in fp16: fused SGD keeps an unwritten momentum where the first step overflows."""
    assert can_fuse_optimizer(SimpleNamespace(device=torch.device(device), scaler=scaler)) == fused
