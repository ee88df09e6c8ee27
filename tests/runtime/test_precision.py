"""How the precision `auto` is resolved, and how it is applied."""

import pytest
import torch

from sslzoo.runtime.launch import accelerator_precision, create_accelerator, describe_device
from sslzoo.runtime.precision import choose_precision, has_native_bf16

CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.fixture(autouse=True)
def launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ACCELERATE_MIXED_PRECISION", raising=False)


def set_capabilities(monkeypatch: pytest.MonkeyPatch, **capabilities: bool) -> None:
    monkeypatch.setattr("torch.cpu.get_capabilities", lambda: capabilities)


@pytest.mark.parametrize(
    ("capabilities", "native"),
    [
        ({"amx_bf16": True}, True),
        ({"avx512_bf16": True, "amx_bf16": False}, True),
        ({"avx512_f": True, "avx512_bf16": False}, False),
        ({"neon": True, "bf16": True}, False),
    ],
)
def test_auto_is_bf16_on_a_cpu_with_amx_or_avx512(
    capabilities: dict[str, bool], native: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_capabilities(monkeypatch, **capabilities)
    assert has_native_bf16(CPU) == native
    assert choose_precision("auto", CPU) == ("bf16" if native else "fp32")
    assert choose_precision("fp16", CPU) == "fp16"


@pytest.mark.parametrize("native", [True, False])
def test_auto_is_bf16_on_a_gpu_that_does_not_emulate_it(native: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda including_emulation: native or including_emulation)
    assert choose_precision("auto", GPU) == ("bf16" if native else "fp32")
    assert choose_precision("auto", torch.device("mps")) == "fp32"


def test_auto_is_the_precision_of_the_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    set_capabilities(monkeypatch, amx_bf16=True)
    for launcher, chosen in (("fp16", "fp16"), ("bf16", "bf16"), ("no", "bf16")):
        monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", launcher)
        assert choose_precision("auto", CPU) == chosen


@pytest.mark.parametrize(
    ("setting", "chosen", "description"), [("auto", "bf16", "bf16 (auto)"), ("fp32", "fp32", "fp32")]
)
def test_accelerator_computes_in_the_precision(
    setting: str, chosen: str, description: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_capabilities(monkeypatch, avx512_bf16=True)
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    accelerator = create_accelerator(setting)
    assert accelerator_precision(accelerator) == chosen
    assert f", {description}, processes: 1" in describe_device(accelerator, setting)
    with accelerator.autocast():
        product = torch.nn.Linear(4, 4)(torch.ones(1, 4))
    assert product.dtype == (torch.bfloat16 if chosen == "bf16" else torch.float32)
