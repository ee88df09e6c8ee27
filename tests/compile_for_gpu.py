"""Compile Triton kernels for a compute capability, without a GPU, and print their registers and spills as JSON.

TRITON_INTERPRET=0 python tests/compile_for_gpu.py 90
"""

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import triton
from torch import Tensor
from triton.backends.compiler import GPUTarget

from sslzoo.data.augment import triton_kernel
from sslzoo.data.augment.config import Augmentation
from sslzoo.data.augment.sampling import sample_parameters
from sslzoo.modules import triton_batch_norm

TYPES = {
    torch.uint8: "*u8",
    torch.int64: "*i64",
    torch.float32: "*fp32",
    torch.bool: "*i1",
    torch.bfloat16: "*bf16",
    int: "i32",
    float: "fp32",
}
CUOBJDUMP = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"


class Recorder:
    """Replaces a kernel and records the arguments of its launches."""

    def __init__(self, kernel: Any, launches: list[tuple[Any, dict[str, Any]]]) -> None:
        self.kernel, self.launches = kernel, launches

    def __getitem__(self, grid: object) -> Any:
        def launch(*arguments: Any, **named: Any) -> None:
            names = [name for name in self.kernel.arg_names if name not in named]
            self.launches.append((self.kernel, dict(zip(names, arguments, strict=False)) | named))

        return launch


def launches_of(module: Any, names: list[str], work: Any) -> list[tuple[Any, dict[str, Any]]]:
    """Kernels of a module, and the arguments that some work launches them with."""
    launches: list[tuple[Any, dict[str, Any]]] = []
    kernels = {name: getattr(module, name) for name in names}
    for name, kernel in kernels.items():
        setattr(module, name, Recorder(kernel, launches))
    work()
    for name, kernel in kernels.items():
        setattr(module, name, kernel)
    return launches


def usage(kernel: Any, arguments: dict[str, Any], capability: int) -> dict[str, Any]:
    """Registers a thread, and bytes of local memory that registers spill to."""
    options = {name: arguments.pop(name) for name in ("num_warps", "maxnreg") if name in arguments}
    fixed = {
        name: value
        for name, value in arguments.items()
        if name.isupper() or value is None or (isinstance(value, int) and value == 1)  # as a launch specializes
    }
    signature = {
        name: "constexpr" if name in fixed else TYPES[value.dtype if isinstance(value, Tensor) else type(value)]
        for name, value in arguments.items()
    }
    multiples = {  # of 16, as a launch specializes
        (index,): [["tt.divisibility", 16]]
        for index, name in enumerate(kernel.arg_names)
        if name not in fixed and (isinstance(arguments[name], Tensor) or arguments[name] % 16 == 0)
    }
    source = triton.compiler.ASTSource(kernel, signature, constexprs=fixed, attrs=multiples)
    compiled = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(compiled.asm["cubin"])
        file.flush()
        report = subprocess.run([CUOBJDUMP, "-res-usage", file.name], capture_output=True, text=True, check=True).stdout
    found = re.search(r"REG:(\d+).*LOCAL:(\d+)", report)
    assert found is not None
    return {"kernel": kernel.__name__, "registers": int(found[1]), "local_bytes": int(found[2])} | options


def view_launches(size: int) -> list[tuple[Any, dict[str, Any]]]:
    """A strong view of this size."""
    augmentation = Augmentation(
        size=size, crop="random", flip=0.5, jitter=0.8, brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1,
        grayscale=0.2, blur=0.5, solarize=0.2,
    )  # fmt: skip
    pixels, sizes = torch.zeros(2, 3, 4, 4, dtype=torch.uint8), torch.full((2, 2), 4)
    parameters = sample_parameters(augmentation, sizes, torch.arange(2), seed=0, epoch=0, view=0)
    return launches_of(
        triton_kernel,
        ["augment_image"],
        lambda: triton_kernel.create_views(
            augmentation, parameters, pixels, sizes, (0.5,), (0.5,), torch.channels_last
        ),
    )


def norm_launches(channels: int, dtype: torch.dtype, *, residual: bool) -> list[tuple[Any, dict[str, Any]]]:
    """Forward and backward of a split batch norm with ReLU."""
    names = ["sum_chunks", "combine_statistics", "normalize", "sum_gradients", "combine_gradients", "propagate"]
    side = 2048 // channels  # as in ResNet-18 at 32 pixels
    x = torch.zeros(512, channels, side, side, dtype=dtype, requires_grad=True)
    weight, bias, mean, variance = (torch.zeros(channels) for _ in range(4))

    def work() -> None:
        y = triton_batch_norm.split_batch_norm(
            x, weight, bias, mean, variance, splits=8, momentum=0.1, eps=1e-5, relu=True,
            residual=torch.zeros_like(x, requires_grad=True) if residual else None, batches=torch.tensor(0),
        )  # fmt: skip
        y.backward(y)

    return launches_of(triton_batch_norm, names, work)


def everything() -> Iterator[tuple[Any, dict[str, Any]]]:
    """All kernels, in the forms in which they are used most."""
    for size in (32, 224):
        yield from view_launches(size)
    for channels in (64, 512):
        for dtype in (torch.bfloat16, torch.float32):
            for residual in (False, True):
                yield from norm_launches(channels, dtype, residual=residual)


if __name__ == "__main__":
    print(json.dumps([usage(kernel, arguments, int(sys.argv[1])) for kernel, arguments in everything()]))
