"""A run that starts from weights, with frozen blocks and a learning rate for each layer."""

import json
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from test_command import TINY, run

pytestmark = pytest.mark.long


def test_frozen_blocks_keep_the_weights_that_training_starts_from(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = timm.create_model("resnet10t", num_classes=0, in_chans=1, channels=(8, 8, 8, 8))
    save_file(model.state_dict(), tmp_path / "start.safetensors")
    flags = ["--backbone", "resnet10t", "--backbone.checkpoint", tmp_path / "start.safetensors"]
    flags += ["--backbone.stem", "standard", "--backbone.freeze", "2", "--config", "recipe/continue", "--epochs", "2"]
    output = run("--method", "ascl", *TINY, *flags, "--run-folder", tmp_path / "run").stdout
    assert "lr 0.0003 (times 0.75 for each earlier block), weight decay 0.05 on all but biases and norms" in output
    assert " M of them frozen, 8 px, weights of " in output
    trained, start = load_file(tmp_path / "run" / "backbone.safetensors"), model.state_dict()
    frozen = [name for name in start if name.startswith(("conv1.", "bn1.", "layer1.", "layer2."))]
    assert frozen
    assert all(torch.equal(trained[name], start[name]) for name in frozen)
    others = [name for name in start if name not in frozen and "downsample.0" not in name]
    assert not any(torch.equal(trained[name], start[name]) for name in others)


def test_run_with_adapters_exports_plain_weights(tmp_path: Path) -> None:
    """The exported file loads into timm's model, and its score is the one of the run."""
    torch.manual_seed(0)
    model = timm.create_model("test_vit", num_classes=0, in_chans=1, img_size=16, patch_size=4)
    save_file(model.state_dict(), tmp_path / "start.safetensors")
    flags = ["--backbone", "test_vit", "--backbone.kwargs", "{patch_size: 4}", "--img-size", "16"]
    flags += ["--backbone.checkpoint", tmp_path / "start.safetensors", "--backbone.lora", "2", "--epochs", "2"]
    run("--method", "ascl", *TINY, *flags, "--run-folder", tmp_path / "run")
    trained, start = load_file(tmp_path / "run" / "backbone.safetensors"), model.state_dict()
    assert trained.keys() == start.keys()
    changed = {name.split(".", 2)[-1] for name in start if not torch.equal(trained[name], start[name])}
    assert changed == {"attn.qkv.weight", "attn.proj.weight", "mlp.fc1.weight", "mlp.fc2.weight"}
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    run("evaluate", tmp_path / "run", "--folder", tmp_path / "scores", "--threads", "1")
    result = json.loads((tmp_path / "scores" / "result.json").read_text())
    assert result["protocols"]["standard"]["knn"] == summary["test"]["trained"]["knn"]
