"""Frozen layers keep their weights and statistics, and learning rates decay by layer."""

import copy

import pytest
import timm
import torch
from torch import nn
from torch.nn import functional as F

from sslzoo.config.schema import SettingError
from sslzoo.experiment.compose import compose
from sslzoo.modules.batch_norm import SplitBatchNorm2d, split_batch_norm
from sslzoo.modules.fuse import fuse
from sslzoo.modules.layers import evaluate_frozen, freeze_layers, group_parameters, number_layers
from sslzoo.modules.optim import OptimizerConfig, ScheduleConfig, create_optimizer, create_schedule
from sslzoo.runtime.errors import UserError
from sslzoo.training.setup import create_method


def create(name: str) -> nn.Module:
    torch.manual_seed(0)
    options = {"img_size": 32, "patch_size": 8} if "vit" in name else {}
    return timm.create_model(name, num_classes=0, **options)


@pytest.mark.parametrize(("name", "blocks"), [("resnet18", 8), ("test_vit", 6), ("test_efficientnet", 5)])
def test_layers_are_numbered_from_stem_to_last_block(name: str, blocks: int) -> None:
    numbers = list(number_layers(create(name)).values())
    assert numbers[0] == 0
    assert max(numbers) == blocks
    assert set(numbers) == set(range(blocks + 1))


@pytest.mark.parametrize("name", ["resnet18", "test_vit", "test_efficientnet"])
def test_frozen_layers_do_not_change_in_training(name: str) -> None:
    backbone = create(name)
    freeze_layers(backbone, 2)
    before = copy.deepcopy(backbone.state_dict())
    backbone.train()
    evaluate_frozen(backbone)
    optimizer = torch.optim.SGD([p for p in backbone.parameters() if p.requires_grad], lr=0.1, weight_decay=0.1)
    backbone(torch.randn(4, 3, 32, 32)).square().mean().backward()
    optimizer.step()
    numbers = number_layers(backbone)
    changed = {name for name, value in backbone.state_dict().items() if not torch.equal(value, before[name])}
    layers = {numbers[name] for name in changed if name in numbers}
    assert layers == set(range(3, max(numbers.values()) + 1))
    statistics = {name for name in changed if "running" in name}
    assert all(numbers[f"{name.rpartition('.')[0]}.weight"] > 2 for name in statistics)


def test_frozen_layers_of_a_method_stay_in_evaluation() -> None:
    """The momentum encoder is a copy, whose frozen layers use the same statistics."""
    flags = ["--method", "moco", "--backbone.kwargs", "{channels: [8, 8, 8, 8]}", "--backbone.freeze", "1"]
    method = create_method(compose(flags))
    method.train()
    frozen = [module for module in method.modules() if getattr(module, "frozen", False)]
    assert len(frozen) > 1
    assert not any(module.training for module in frozen)
    assert method.student.backbone.training


@pytest.mark.parametrize("blocks", [8, 12])
def test_something_must_remain_to_be_trained(blocks: int) -> None:
    with pytest.raises(UserError, match=rf"--backbone.freeze {blocks}: must be below .* 8"):
        freeze_layers(create("resnet18"), blocks)


def test_models_without_blocks_are_refused() -> None:
    with pytest.raises(UserError, match="no blocks for Linear"):
        number_layers(nn.Linear(2, 2))


def create_model() -> nn.ModuleDict:
    backbone = create("test_vit")
    return nn.ModuleDict({"backbone": backbone, "projector": nn.Linear(backbone.num_features, 4)})


@pytest.mark.parametrize("decay_all", [True, False])
def test_learning_rate_decays_by_layer_of_the_backbone(decay_all: bool) -> None:
    """Each layer's rate is a power of the decay, restated here; the projector has the whole rate."""
    model = create_model()
    groups = group_parameters(model, model["backbone"], layer_decay=0.5, weight_decay=0.1, decay_all=decay_all)
    found = {id(parameter): group for group in groups for parameter in group["params"]}
    assert sum(len(group["params"]) for group in groups) == len(found) == len(list(model.parameters()))
    for name, parameter in model["backbone"].named_parameters():
        parts = name.split(".")
        layer = int(parts[1]) + 1 if parts[0] == "blocks" else 6 if parts[0] == "norm" else 0
        assert found[id(parameter)]["lr_scale"] == 0.5 ** (6 - layer)
    assert all(found[id(parameter)]["lr_scale"] == 1 for parameter in model["projector"].parameters())
    for parameter in model.parameters():
        exempt = parameter.ndim <= 1 and not decay_all
        assert found[id(parameter)]["weight_decay"] == (0.0 if exempt else 0.1)


def test_first_pattern_of_a_name_scales_its_rate() -> None:
    model = create_model()
    factors = {"projector.bias": 3.0, "projector.*": 2.0}
    groups = group_parameters(
        model, model["backbone"], layer_decay=0.5, lr_scale=factors, weight_decay=0, decay_all=True
    )
    found = {id(parameter): group["lr_scale"] for group in groups for parameter in group["params"]}
    assert found[id(model["projector"].bias)] == 3
    assert found[id(model["projector"].weight)] == 2
    assert found[id(model["backbone"].patch_embed.proj.weight)] == 0.5**6
    both = group_parameters(
        model, model["backbone"], layer_decay=0.5, lr_scale={"*": 2.0}, weight_decay=0, decay_all=True
    )
    assert {group["lr_scale"] for group in both} == {2 * 0.5**layer for layer in range(7)}


def test_pattern_without_a_parameter_is_refused() -> None:
    model = create_model()
    with pytest.raises(UserError, match=r"lr-scale projecter.\*: matches no .*; did you mean projector.\*"):
        group_parameters(model, model["backbone"], lr_scale={"projecter.*": 2.0}, weight_decay=0, decay_all=True)


@pytest.mark.parametrize("factor", [0, -1, True, "ten", float("inf")])
def test_factors_of_the_learning_rate_are_positive_numbers(factor: object) -> None:
    with pytest.raises(SettingError, match="must be a positive number"):
        OptimizerConfig(lr_scale={"projector.*": factor})


@pytest.mark.parametrize("schedule", [ScheduleConfig(), ScheduleConfig(name="constant", warmup_epochs=0)])
def test_schedule_scales_the_rate_of_each_layer(schedule: ScheduleConfig) -> None:
    backbone = create("resnet18")
    optimizer = create_optimizer(OptimizerConfig(layer_decay=0.5, lr=0.8), backbone, 64)
    scheduled = create_schedule(schedule, optimizer, epochs=20, steps_per_epoch=10)
    assert scheduled is not None
    scheduled.step_update(100)
    rates = sorted({group["lr"] for group in optimizer.param_groups}, reverse=True)
    assert rates == pytest.approx([rates[0] * 0.5**layer for layer in range(9)])


def test_frozen_parameters_are_not_in_the_optimizer() -> None:
    backbone = create("resnet18")
    freeze_layers(backbone, 4)
    optimizer = create_optimizer(OptimizerConfig(layer_decay=0.5), backbone, 64)
    inside = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    assert inside == {id(parameter) for parameter in backbone.parameters() if parameter.requires_grad}


def test_gradient_does_not_reach_frozen_layers() -> None:
    backbone = create("resnet18")
    freeze_layers(backbone, 4)
    F.normalize(backbone(torch.randn(2, 3, 32, 32))).sum().backward()
    assert all((parameter.grad is not None) == parameter.requires_grad for parameter in backbone.parameters())


@pytest.mark.parametrize("splits", [1, 2])
def test_norms_of_frozen_layers_are_not_replaced(splits: int) -> None:
    backbone = create("resnet18")
    freeze_layers(backbone, 2)
    frozen = [name for name, parameter in backbone.named_parameters() if not parameter.requires_grad]
    model = fuse(split_batch_norm(backbone, splits)).train()
    evaluate_frozen(model)
    assert [name for name, parameter in model.named_parameters() if not parameter.requires_grad] == frozen
    assert not model.bn1.training
    assert isinstance(model.layer4[0].bn1, SplitBatchNorm2d)
    assert not any(isinstance(norm, SplitBatchNorm2d) for norm in (model.bn1, model.layer1[0].bn1))
