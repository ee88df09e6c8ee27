"""Checkpoints in the layouts of other projects give the same features as the original encoder."""

import argparse
from collections.abc import Callable, Mapping
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from rich.console import Console
from safetensors.torch import save_file
from torch import Tensor, nn

from sslzoo.experiment.compose import compose
from sslzoo.modules.backbones import BackboneConfig, create_backbone
from sslzoo.modules.heads import Encoder
from sslzoo.modules.momentum import Teacher
from sslzoo.runtime.errors import UserError
from sslzoo.runtime.progress import print_field
from sslzoo.training.setup import create_method
from sslzoo.weights.load import load_checkpoint

State = Mapping[str, Tensor]
RESNET = {"channels": [8, 16, 24, 32]}


def under(prefix: str, state: State) -> dict[str, Tensor]:
    return {f"{prefix}.{name}": value for name, value in state.items()}


def noise(state: State) -> dict[str, Tensor]:
    """Another encoder: the same names and shapes, random values."""
    return {name: torch.rand(value.shape).to(value.dtype) for name, value in state.items()}


def linear(prefix: str) -> dict[str, Tensor]:
    return {f"{prefix}.weight": torch.rand(4, 32), f"{prefix}.bias": torch.rand(4)}


def children(state: State, numbers: tuple[int, ...]) -> dict[str, Tensor]:
    """A ResNet's state with the numbers of its modules in an nn.Sequential."""
    order = dict(zip(("conv1", "bn1", "layer1", "layer2", "layer3", "layer4"), numbers, strict=True))
    parts = [(name.split(".", 1), value) for name, value in state.items()]
    return {f"{order[first]}.{rest}": value for (first, rest), value in parts}


def moco(state: State) -> Any:
    """MoCo v2: facebookresearch/moco."""
    mlp = linear("fc.0") | linear("fc.2")
    model = under("module.encoder_q", {**state, **mlp}) | under("module.encoder_k", noise({**state, **mlp}))
    queue = {"module.queue": torch.rand(32, 64), "module.queue_ptr": torch.zeros(1, dtype=torch.long)}
    momenta = {"state": {0: {"momentum_buffer": torch.rand(3)}}, "param_groups": [{"lr": 0.03}]}
    return {"epoch": 200, "arch": "resnet18", "state_dict": model | queue, "optimizer": momenta}


def moco_v3(state: State) -> Any:
    """MoCo v3: facebookresearch/moco-v3."""
    head = "head" if "cls_token" in state else "fc"
    both = {**state, f"{head}.0.weight": torch.rand(4, 32), f"{head}.1.running_mean": torch.rand(4)}
    predictor = {"module.predictor.0.weight": torch.rand(4, 4)}
    return {
        "state_dict": under("module.momentum_encoder", noise(both)) | under("module.base_encoder", both) | predictor
    }


def simsiam(state: State) -> Any:
    """SimSiam: facebookresearch/simsiam."""
    encoder = under("module.encoder", {**state, **linear("fc.0"), **linear("fc.6")})
    return {"state_dict": encoder | linear("module.predictor.0")}


def solo_learn(state: State) -> Any:
    """solo-learn, a Lightning checkpoint."""
    model = under("momentum_backbone", noise(state)) | under("backbone", state)
    heads = linear("classifier") | linear("projector.0") | linear("momentum_projector.0") | {"queue": torch.rand(2, 4)}
    return {"state_dict": model | heads, "hyper_parameters": {"method": "moco"}, "loops": {}, "epoch": 1}


def old_solo_learn(state: State) -> Any:
    """solo-learn 1.0.2."""
    return {"state_dict": under("encoder", state) | linear("classifier") | linear("predictor.0")}


def lightly(state: State) -> Any:
    """lightly, backbone of torchvision's children."""
    numbered = children(state, (0, 1, 4, 5, 6, 7))
    model = under("backbone_momentum", noise(numbered)) | under("backbone", numbered)
    heads = linear("projection_head.layers.0") | linear("projection_head_momentum.layers.0")
    return {"state_dict": model | heads, "callbacks": {"best": {"score": torch.tensor(0.5)}}}


def lightly_benchmark(state: State) -> Any:
    """lightly's ImageNet benchmarks: `backbone` is the momentum encoder, which is evaluated."""
    model = under("query_backbone", noise(state)) | under("backbone", state)
    return {"state_dict": model | linear("projection_head.layers.0") | linear("online_classifier.linear")}


def lightly_vit(state: State) -> Any:
    """lightly's masked vision transformer."""
    model = under("student_backbone.vit", noise(state)) | under("backbone.vit", state)
    return {"state_dict": model | linear("student_projection_head.layers.0")}


def vissl(state: State) -> Any:
    """VISSL."""
    trunk = under("_feature_blocks", state)
    model = {"trunk": trunk, "heads": linear("0.clf.0")}
    return {"phase_idx": 99, "classy_state_dict": {"base_model": {"model": model, "meters": {}}, "losses": [0.1]}}


def swav(state: State) -> Any:
    """SwAV and DeepCluster v2."""
    return under("module", {**state, **linear("projection_head.0"), "prototypes.weight": torch.rand(5, 4)})


def barlow_twins(state: State) -> Any:
    """Barlow Twins' and VICReg's checkpoint.pth."""
    return {"epoch": 9, "model": under("module.backbone", state) | linear("module.projector.0")}


def dino(state: State) -> Any:
    """DINO, whose teacher is evaluated; the settings are an argparse.Namespace."""
    head = {**linear("head.mlp.0"), "head.last_layer.weight_g": torch.rand(4, 1)}
    return {
        "student": under("module", under("backbone", noise(state)) | head),
        "teacher": under("backbone", state) | head,
        "dino_loss": {"center": torch.rand(1, 4)},
        "args": argparse.Namespace(arch="vit_small", lr=np.float64(5e-4)),
        "fp16_scaler": {"scale": 65536.0},
    }


def byol(state: State) -> Any:
    """yaox12/BYOL-PyTorch."""
    numbered = children(state, (0, 1, 4, 5, 6, 7))
    online = under("online_network.encoder", numbered) | linear("online_network.projetion.l1")
    target = under("target_network.encoder", noise(numbered)) | linear("target_network.projetion.l1")
    return {"model": under("module", target | online | linear("predictor.predictor.l1"))}


def another_byol(state: State) -> Any:
    """sthalles/PyTorch-BYOL."""
    numbered = children(state, (0, 1, 4, 5, 6, 7))
    return {
        "online_network_state_dict": under("encoder", numbered) | linear("projetion.net.0"),
        "target_network_state_dict": under("encoder", noise(numbered)) | linear("projetion.net.0"),
    }


def byol_pytorch(state: State) -> Any:
    """lucidrains/byol-pytorch."""
    online = under("online_encoder.net", state) | linear("online_encoder.projector.0")
    return under("net", state) | online | under("target_encoder.net", noise(state)) | linear("online_predictor.0")


def supcon(state: State) -> Any:
    """SupContrast, whose ResNet uses the name `shortcut`."""
    renamed = {name.replace("downsample", "shortcut"): value for name, value in state.items()}
    return {"opt": argparse.Namespace(temp=0.1), "model": under("module.encoder", renamed) | linear("module.head.0")}


def mae(state: State) -> Any:
    """MAE, with its decoder."""
    decoder = {"mask_token": torch.rand(1, 1, 4), **linear("decoder_embed"), **linear("decoder_blocks.0.mlp.fc1")}
    return {"model": {**state, **decoder}, "args": argparse.Namespace(model="mae_vit_base_patch16"), "epoch": 1}


def timm_ema(state: State) -> Any:
    """timm's training script with averaged weights."""
    return {"epoch": 3, "state_dict": noise(state), "state_dict_ema": dict(state), "args": argparse.Namespace()}


def torchvision(state: State) -> Any:
    """A plain state_dict with a classifier."""
    return {**state, **linear("fc")}


def kuangliu(state: State) -> Any:
    """A script that saves a compiled network with its accuracy."""
    return {"net": under("_orig_mod", state), "acc": torch.tensor(93.0)}


WRITERS: list[Callable[[State], Any]] = [
    moco, moco_v3, simsiam, solo_learn, old_solo_learn, lightly, lightly_benchmark, vissl, swav, barlow_twins, dino,
    byol, another_byol, byol_pytorch, supcon, timm_ema, torchvision, kuangliu,
]  # fmt: skip


@pytest.mark.parametrize("write", WRITERS, ids=lambda write: write.__name__)
def test_resnet_has_the_features_of_the_project(
    write: Callable[[State], Any], resnet: nn.Module, tmp_path: Path
) -> None:
    torch.save(write(resnet.state_dict()), tmp_path / "file.pth")
    config = BackboneConfig(name="resnet18", stem="standard", checkpoint=tmp_path / "file.pth", kwargs=RESNET)
    loaded = (
        create_backbone(config, in_chans=3, img_size=32).eval().to(memory_format=torch.contiguous_format)
    )  # the same summation order
    x = torch.randn(4, 3, 32, 32)
    assert torch.equal(loaded(x), resnet(x))


@pytest.mark.parametrize("write", [moco_v3, solo_learn, dino, mae, lightly_vit], ids=lambda write: write.__name__)
def test_vision_transformer_has_the_features_of_the_project(
    write: Callable[[State], Any], vit: nn.Module, tmp_path: Path
) -> None:
    torch.save(write(vit.state_dict()), tmp_path / "file.pth")
    config = BackboneConfig(name="test_vit", checkpoint=tmp_path / "file.pth")
    loaded = create_backbone(config, in_chans=3, img_size=32).eval()
    x = torch.randn(4, 3, 32, 32)
    assert torch.equal(loaded(x), vit(x))


def efficientnet_pytorch(model: nn.Module) -> dict[str, Tensor]:
    """EfficientNet-PyTorch: lukemelas/EfficientNet-PyTorch, which numbers the blocks of all stages together."""
    blocks = [block for stage in model.blocks for block in stage]
    parts = [("_conv_stem", model.conv_stem), ("_bn0", model.bn1)]
    for number, block in enumerate(blocks):
        expands = hasattr(block, "conv_pwl")
        inside = [("_expand_conv", block.conv_pw), ("_bn0", block.bn1)] if expands else []
        inside += [("_depthwise_conv", block.conv_dw), ("_bn1", block.bn2 if expands else block.bn1)]
        if not isinstance(block.se, nn.Identity):
            inside += [("_se_reduce", block.se.conv_reduce), ("_se_expand", block.se.conv_expand)]
        inside += [("_project_conv", block.conv_pwl if expands else block.conv_pw)]
        inside += [("_bn2", block.bn3 if expands else block.bn2)]
        parts += [(f"_blocks.{number}.{name}", module) for name, module in inside]
    parts += [("_conv_head", model.conv_head), ("_bn1", model.bn2)]
    states = [under(name, module.state_dict()) for name, module in parts]
    return {name: value for state in states for name, value in state.items()} | linear("_fc")


@pytest.mark.parametrize("name", ["tf_efficientnet_lite0", "efficientnet_b0"])
def test_efficientnet_has_the_features_of_the_project(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=0).eval()
    torch.save(efficientnet_pytorch(model), tmp_path / "file.pth")
    lines: list[str] = []
    config = BackboneConfig(name=name, checkpoint=tmp_path / "file.pth")
    loaded = create_backbone(config, in_chans=3, img_size=32, report=lines.append).eval()
    n = len(model.state_dict())
    assert lines == [
        f"file.pth: EfficientNet-PyTorch: {n} of {n + 2} tensors loaded; left out: classifier.weight, classifier.bias"
    ]
    x = torch.randn(2, 3, 32, 32)
    assert torch.equal(loaded.to(memory_format=torch.contiguous_format)(x), model(x))


def test_efficientnet_with_too_many_blocks_is_another_model(tmp_path: Path) -> None:
    torch.save(efficientnet_pytorch(timm.create_model("efficientnet_b1", num_classes=0)), tmp_path / "file.pth")
    with pytest.raises(UserError, match=r"weights of another model: .*unexpected: _blocks"):
        load_checkpoint(timm.create_model("efficientnet_b0", num_classes=0), tmp_path / "file.pth")


REPORTS = {
    moco: "file.pth: MoCo (module.encoder_q): {n} of {n4} tensors loaded; left out: fc.0.weight, fc.0.bias, "
    "fc.2.weight and 1 more; not of this encoder: module.encoder_k ({n4}), module.queue (1), module.queue_ptr (1)",
    dino: "file.pth: DINO (teacher.backbone): {n} of {n} tensors loaded; not of this encoder: student ({n3}), "
    "teacher.head (3), dino_loss (1)",
    solo_learn: "file.pth: solo-learn (backbone): {n} of {n} tensors loaded; not of this encoder: momentum_backbone "
    "({n}), classifier (2), projector (2), momentum_projector (2), queue (1)",
    vissl: "file.pth: VISSL (classy_state_dict.base_model.model.trunk._feature_blocks): {n} of {n} tensors loaded; "
    "not of this encoder: classy_state_dict.base_model.model.heads (2)",
    swav: "file.pth: SwAV or DeepCluster v2 (module): {n} of {n3} tensors loaded; left out: projection_head.0.weight, "
    "projection_head.0.bias, prototypes.weight",
    timm_ema: "file.pth: timm, averaged weights (state_dict_ema): {n} of {n} tensors loaded; not of this encoder: "
    "state_dict ({n})",
    torchvision: "file.pth: {n} of {n2} tensors loaded; left out: fc.weight, fc.bias",
}


@pytest.mark.parametrize("write", REPORTS, ids=lambda write: write.__name__)
def test_report_of_loaded_tensors(write: Callable[[State], Any], resnet: nn.Module, tmp_path: Path) -> None:
    torch.save(write(resnet.state_dict()), tmp_path / "file.pth")
    lines: list[str] = []
    config = BackboneConfig(name="resnet18", stem="standard", checkpoint=tmp_path / "file.pth", kwargs=RESNET)
    create_backbone(config, in_chans=3, img_size=32, report=lines.append)
    n = len(resnet.state_dict())
    assert lines == [REPORTS[write].format(n=n, n2=n + 2, n3=n + 3, n4=n + 4)]


@pytest.mark.parametrize("encoder", ["module.encoder_k", "encoder_k"])
def test_encoder_setting_selects_another_encoder(encoder: str, resnet: nn.Module, tmp_path: Path) -> None:
    content = moco(resnet.state_dict())
    torch.save(content, tmp_path / "file.pth")
    report = load_checkpoint(resnet, tmp_path / "file.pth", encoder)
    assert torch.equal(resnet.conv1.weight, content["state_dict"]["module.encoder_k.conv1.weight"])
    assert str(report).startswith("file.pth: MoCo (module.encoder_k): ")
    assert "not of this encoder: module.encoder_q (" in str(report)


def test_training_checkpoint_of_sslzoo(resnet: nn.Module, tmp_path: Path) -> None:
    method = nn.Module()
    method.student = Encoder(resnet, nn.Linear(32, 4))
    method.teacher = Teacher(method.student, 0.9)
    save_file(method.state_dict(), tmp_path / "model.safetensors")
    other = timm.create_model("resnet18", num_classes=0, **RESNET).eval()
    report = load_checkpoint(other, tmp_path / "model.safetensors")
    x = torch.randn(2, 3, 32, 32)
    assert torch.equal(other(x), resnet(x))
    assert "sslzoo (student.backbone)" in str(report)
    assert report.others == {"student.projector": 2, "teacher": len(method.teacher.state_dict())}


def test_unknown_project_with_one_encoder(resnet: nn.Module, tmp_path: Path) -> None:
    torch.save({"weights": under("net.trunk", resnet.state_dict()) | linear("net.top")}, tmp_path / "file.pth")
    other = timm.create_model("resnet18", num_classes=0, **RESNET)
    report = load_checkpoint(other, tmp_path / "file.pth")
    assert torch.equal(other.conv1.weight, resnet.conv1.weight)
    assert str(report).endswith("not of this encoder: weights.net.top (2)")
    assert "(weights.net.trunk)" in str(report)


def test_half_precision_is_converted_to_float32(resnet: nn.Module, tmp_path: Path) -> None:
    halved = {name: value.half() if value.is_floating_point() else value for name, value in resnet.state_dict().items()}
    torch.save(moco(halved), tmp_path / "file.pth")
    other = timm.create_model("resnet18", num_classes=0, **RESNET)
    report = load_checkpoint(other, tmp_path / "file.pth")
    assert other.conv1.weight.dtype == torch.float32
    assert torch.equal(other.conv1.weight, halved["conv1.weight"].float())
    assert str(report).endswith("; stored as float16")


def test_report_names_counters_missing_in_old_files(resnet: nn.Module, tmp_path: Path) -> None:
    state = {name: value for name, value in resnet.state_dict().items() if "num_batches_tracked" not in name}
    torch.save(moco(state), tmp_path / "file.pth")
    other = timm.create_model("resnet18", num_classes=0, **RESNET).eval()
    report = load_checkpoint(other, tmp_path / "file.pth")
    x = torch.randn(2, 3, 32, 32)
    assert torch.equal(other(x), resnet(x))
    assert str(report).endswith("; no num_batches_tracked in the file (21 in the model)")


def test_report_names_differences_that_tensors_do_not_show(small_resnet: nn.Module, tmp_path: Path) -> None:
    torch.save(solo_learn(small_resnet.state_dict()), tmp_path / "solo.ckpt")
    assert "solo-learn pads this 3x3 stem by 2" in str(load_checkpoint(small_resnet, tmp_path / "solo.ckpt"))
    state = {name.replace("downsample", "shortcut"): value for name, value in small_resnet.state_dict().items()}
    numbered = under("backbone", children(state, (0, 1, 2, 3, 4, 5)))
    torch.save({"state_dict": numbered | linear("projection_head.layers.0")}, tmp_path / "lightly.ckpt")
    assert "has no ReLU after bn1" in str(load_checkpoint(small_resnet, tmp_path / "lightly.ckpt"))


def test_run_prints_one_line_about_loaded_weights(small_resnet: nn.Module, tmp_path: Path) -> None:
    torch.save(moco(small_resnet.state_dict()), tmp_path / "moco.pth")
    words = ["--method", "moco", "--backbone", "resnet18", "--backbone.kwargs", "{channels: [8, 16, 24, 32]}"]
    words += ["--dataset.channels", "3", "--backbone.checkpoint", str(tmp_path / "moco.pth")]
    output = StringIO()
    method = create_method(compose(words), report=partial(print_field, Console(file=output, width=40), "weights"))
    assert torch.equal(method.student.backbone.conv1.weight, small_resnet.conv1.weight)
    assert output.getvalue().startswith("  weights  moco.pth: MoCo (module.encoder_q): 126 of 130 tensors loaded; ")
    assert output.getvalue().count("\n") == 1
