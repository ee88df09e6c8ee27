"""The precision of the encoders, and how `auto` is resolved on a device."""

import os
from typing import Literal

import torch

Precision = Literal["fp32", "bf16", "fp16"]
PrecisionSetting = Literal["auto", Precision]


def launcher_precision() -> str:
    """Return the precision that `accelerate launch` was given, `no` if none."""
    return os.environ.get("ACCELERATE_MIXED_PRECISION", "no")


def choose_precision(setting: PrecisionSetting, device: torch.device) -> Precision:
    """Resolve the precision setting on a device: `auto` is the launcher's precision if set, else the fastest."""
    if setting != "auto":
        return setting
    match launcher_precision():
        case "bf16":
            return "bf16"
        case "fp16":
            return "fp16"
    return "bf16" if has_native_bf16(device) else "fp32"


def has_native_bf16(device: torch.device) -> bool:
    """Whether the device has instructions for bf16 matrix products that are known to be faster than fp32.

    These are AMX-BF16 and AVX512-BF16 of a CPU, and compute capability 8.0 and above of a GPU.
    """
    if device.type == "cpu":
        capabilities = torch.cpu.get_capabilities()
        return bool(capabilities.get("amx_bf16") or capabilities.get("avx512_bf16"))
    return device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
