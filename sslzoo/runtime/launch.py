"""Set up a command on the machine: CPU threads, device, precision and processes."""

import os
import re
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import torch
import torch.distributed as dist

from sslzoo.runtime.allocator import prepare_allocator
from sslzoo.runtime.distributed import rank, world_size
from sslzoo.runtime.errors import UserError
from sslzoo.runtime.precision import Precision, PrecisionSetting, choose_precision, launcher_precision

if TYPE_CHECKING:  # importing it takes seconds, and reading settings needs only `Precision`
    from accelerate import Accelerator, PartialState

Result = TypeVar("Result")


def prepare_cpu(threads: int) -> None:
    """Set the number of CPU threads of this process, and prepare the allocator.

    With `threads` 0 the cores are divided among the local processes, unless the user set OMP_NUM_THREADS. A value of 1
    counts as unset: launchers set it by default, which would leave a CPU run on one core.
    """
    prepare_allocator()
    if not threads and os.environ.get("OMP_NUM_THREADS", "1") == "1":
        threads = count_cores()
    if threads:
        torch.set_num_threads(threads)


def count_cores() -> int:
    """Return the number of CPU cores of this process, if they are divided among the local processes."""
    return max(1, len(os.sched_getaffinity(0)) // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


def join_processes() -> "PartialState":
    """Return the state of the process group and the device; the first call initializes it as `Accelerator` does."""
    from accelerate import PartialState
    from accelerate.utils import parse_flag_from_env

    return PartialState(cpu=parse_flag_from_env("ACCELERATE_USE_CPU"))


def create_accelerator(setting: PrecisionSetting, **options: Any) -> "Accelerator":
    """Create the accelerator of this process.

    Args:
        setting: precision of the encoders; the main process resolves `auto` for all processes.
        options: further arguments of `accelerate.Accelerator`.

    Raises:
        UserError: the device does not support the precision, the launcher is set to another one, or it is set to
            FSDP, DeepSpeed or Megatron.
    """
    from accelerate import Accelerator
    from accelerate.utils import DistributedDataParallelKwargs

    state = join_processes()
    precision = run_on_main_process(state, lambda: choose_precision(setting, state.device))
    launched = launcher_precision()
    if launched not in ("no", precision):
        raise UserError(
            f"--precision {precision}: `accelerate launch` is set to {launched}; use the same value for both, as in "
            f"--precision {launched if launched in ('bf16', 'fp16') else 'bf16'}"
        )
    # accelerate accepts the argument under this name only
    warnings.filterwarnings("ignore", "`broadcast_buffers` is deprecated", FutureWarning)
    try:
        accelerator = Accelerator(
            mixed_precision="no" if precision == "fp32" else precision,
            kwargs_handlers=[DistributedDataParallelKwargs(broadcast_buffers=False)],
            **options,
        )
    except (ValueError, ImportError) as error:
        raise UserError(f"--precision {precision}: {error}") from error
    if accelerator.distributed_type.startswith(("FSDP", "DEEPSPEED", "MEGATRON")):
        raise UserError(
            f"accelerate launch: set to {accelerator.distributed_type.value}; sslzoo keeps a full copy of the "
            "encoders on each process; use `accelerate launch --multi_gpu`"
        )
    return accelerator


def accelerator_precision(accelerator: "Accelerator") -> Precision:
    """Return the precision that the accelerator was created with."""
    precision: Precision | Literal["no"] = accelerator.mixed_precision
    return "fp32" if precision == "no" else precision


def describe_device(accelerator: "Accelerator", setting: PrecisionSetting) -> str:
    """Describe device, precision, processes and threads in one line."""
    chosen = f"{accelerator_precision(accelerator)} (auto)" if setting == "auto" else setting
    return (
        f"{accelerator.device.type}, {chosen}, processes: {accelerator.num_processes}, "
        f"threads per process: {torch.get_num_threads()}"
    )


def run_on_main_process(accelerator: "Accelerator | PartialState", function: Callable[[], Result]) -> Result:
    """Call `function` on the main process and broadcast its result to all processes.

    Raises:
        UserError: `function` raised it on the main process; all processes raise it.
    """
    from accelerate.utils import broadcast_object_list

    outcome: list[Any] = [None]
    if accelerator.is_main_process:
        try:
            outcome = [function()]
        except UserError as error:
            outcome = [error]
    broadcast_object_list(outcome)
    if isinstance(outcome[0], UserError):
        raise outcome[0]
    result: Result = outcome[0]
    return result


def summarize_error(error: RuntimeError | MemoryError, remedies: str) -> str | None:
    """Summarize an out-of-memory error or the failure of another process in one line; return None for other errors.

    Args:
        remedies: what reduces the memory use of the command.
    """
    text = str(error)
    if isinstance(error, MemoryError | torch.OutOfMemoryError) or "DefaultCPUAllocator" in text:
        needed = re.search(r"allocate [\d.]+ ?\w+", text)
        failed = f", could not {needed[0]}" if needed else ""
        return f"out of memory{failed}; {remedies} reduces memory use"
    if world_size() > 1 and (isinstance(error, dist.DistError) or "gloo" in text):
        lost = f"process {rank()}: another process of the run has exited; its own message states the reason"
        return f"{lost}; --resume continues a training run from its last checkpoint"
    return None
