"""Compiles the view kernel for a compute capability and prints registers and spills of each size as JSON."""

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
import triton
from triton.backends.compiler import GPUTarget

from sslzoo.data import triton_kernel
from sslzoo.data.views import ViewRecipe, draw

TYPES = {torch.uint8: "*u8", torch.int64: "*i64", torch.float32: "*fp32", torch.bool: "*i1"}
CUOBJDUMP = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"


def usage(size: int, capability: int) -> dict[str, int]:
    """Registers a thread, and bytes of local memory, of a strong view of this size."""
    recipe = ViewRecipe(
        size=size, crop="random", flip=0.5, jitter=0.8, brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1,
        grey=0.2, blur=0.5, solarize=0.2,
    )  # fmt: skip
    pixels, sizes = torch.zeros(2, 3, 4, 4, dtype=torch.uint8), torch.full((2, 2), 4)
    parameters = draw(recipe, sizes, torch.arange(2), seed=0, epoch=0, view=0)
    arguments, constants = triton_kernel.launch_arguments(
        recipe, parameters, pixels, sizes, (0.5,), (0.5,), torch.channels_last
    )
    signature = {
        name: TYPES[value.dtype] if isinstance(value, torch.Tensor) else "i32" for name, value in arguments.items()
    }
    constants |= {name: 1 for name, value in arguments.items() if isinstance(value, int) and value == 1}  # as at launch
    signature |= dict.fromkeys(constants, "constexpr")
    source = triton.compiler.ASTSource(triton_kernel.make_view, signature, constexprs=constants)
    compiled = triton.compile(
        source, target=GPUTarget("cuda", capability, 32), options={"num_warps": triton_kernel.WARPS}
    )
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(compiled.asm["cubin"])
        file.flush()
        report = subprocess.run([CUOBJDUMP, "-res-usage", file.name], capture_output=True, text=True, check=True).stdout
    found = re.search(r"REG:(\d+).*LOCAL:(\d+)", report)
    assert found is not None
    return {"size": size, "registers": int(found[1]), "local_bytes": int(found[2])}


print(json.dumps([usage(size, int(sys.argv[1])) for size in (32, 224)]))
