"""Every method trains any of timm's backbones."""

import pytest
import torch
from tiers import quick

from sslzoo.check.tiny import Tiny, run
from sslzoo.method.base import METHODS
from sslzoo.modules.backbones import create_backbone

SIZES = ["--img-size", "64"]
LOCAL = ["--augmentations.local.size", "32"]


@pytest.mark.parametrize("name", quick(METHODS.names(), "ascl", "byol", "swav"))
@pytest.mark.parametrize("family", ["test_resnet", "test_convnext", "test_vit"])
def test_gradient_reaches_all_of_the_backbone(family: str, name: str) -> None:
    local = "local" in Tiny.of("--method", name).experiment.method.views
    tiny = Tiny.of("--method", name, "--backbone", family, *SIZES, *(LOCAL if local else []))
    experiment = tiny.experiment
    torch.manual_seed(0)
    backbone = create_backbone(
        experiment.backbone, in_chans=1, img_size=experiment.img_size, view_sizes=experiment.view_sizes
    )
    method = tiny.method(backbone=backbone)
    optimizer = torch.optim.SGD(method.parameters(), lr=0.1)
    for epoch in range(3):  # DeepCluster learns from the second on, and residual branches begin at zero
        method.before_epoch(epoch)
        method.before_step(epoch / 3)
        output = run(method, tiny.sample(seed=epoch))
        assert output.loss.isfinite()
        optimizer.zero_grad()
        torch.autograd.backward(output.loss)
        optimizer.step()
        method.after_batch(output)
        method.after_step((epoch + 1) / 3)
    trained = {key: value for key, value in backbone.named_parameters() if value.requires_grad}
    frozen = [key for key, value in backbone.named_parameters() if not value.requires_grad]
    assert [key for key, value in trained.items() if value.grad is None or not value.grad.any()] == []
    assert frozen == (
        ["patch_embed.proj.weight", "patch_embed.proj.bias"] if name == "moco-v3" and family == "test_vit" else []
    )
