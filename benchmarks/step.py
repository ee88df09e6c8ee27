"""A training step compared with lightly and with the time of its arithmetic, and its parts.

    python benchmarks/step.py
    python benchmarks/step.py --batch 256 --backbone resnet18 --img-size 32

All train a ResNet-18 with the stem for small images, split batch norm, a projector of width 2048, a queue of 4096 and
SGD on prepared tensors. lightly's step consists of its backbone, head, loss, shuffling and momentum update, as in its
tutorial for CIFAR-10. The step of plain timm is MoCo in a few lines of torch, with one batch norm for the whole batch
and no shuffling, which is less work. Steps in bf16 are timed if the device computes it natively.

The floor is the number of floating-point operations of convolutions and matrix products, as counted by torch, divided
by the rate of one large matrix product on this machine in the same precision.
"""

import copy
import os
import statistics
import sys
import time
from collections.abc import Callable

os.environ.setdefault("LIGHTLY_DID_VERSION_CHECK", "True")  # otherwise it contacts a server

import timm
import torch
from rich.console import Console
from rich.table import Table
from rounds import DEVICE, Comparison, describe_conditions, parse_arguments, show
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from sslzoo.data.load import load_data
from sslzoo.experiment.compose import compose
from sslzoo.experiment.schema import Experiment
from sslzoo.modules.momentum import Teacher
from sslzoo.plan.clock import synchronize
from sslzoo.plan.measure import StepRunner
from sslzoo.runtime.errors import UserError
from sslzoo.runtime.precision import Precision, has_native_bf16
from sslzoo.training.setup import create_method

REPEATS = 5


def compose_experiment(batch: int, threads: int, *flags: str) -> Experiment:
    """Compose the recipe for CIFAR-10 on the enlarged digits of scikit-learn, which need no download."""
    digits = ("--dataset.source", "digits", "--dataset.image", "image", "--dataset.label", "label")
    size = ("--batch-size", str(batch), "--threads", str(threads))
    return compose(["--dataset", "cifar10", *digits, *size, *flags])


class LightlyMoCo(nn.Module):
    """MoCo built from lightly's modules."""

    def __init__(self) -> None:
        from lightly.loss import NTXentLoss
        from lightly.models import ResNetGenerator
        from lightly.models.modules import MoCoProjectionHead

        super().__init__()
        self.backbone = nn.Sequential(*list(ResNetGenerator("resnet-18", num_splits=8).children())[:-1])
        self.backbone.append(nn.AdaptiveAvgPool2d(1))
        self.head = MoCoProjectionHead(512, 2048, 128)
        self.key_backbone, self.key_head = copy.deepcopy(self.backbone), copy.deepcopy(self.head)
        self.key_backbone.requires_grad_(False)
        self.key_head.requires_grad_(False)
        self.criterion = NTXentLoss(temperature=0.1, memory_bank_size=(4096, 128))

    def forward(self, query: Tensor, key: Tensor) -> Tensor:
        """Compute the loss."""
        from lightly.models.utils import batch_shuffle, batch_unshuffle

        queries = self.head(self.backbone(query).flatten(1))
        with torch.no_grad():
            shuffled, order = batch_shuffle(key)
            keys = batch_unshuffle(self.key_head(self.key_backbone(shuffled).flatten(1)), order)
        loss: Tensor = self.criterion(queries, keys)
        return loss

    def update_teacher(self) -> None:
        """Update backbone and head of the teacher by momentum."""
        from lightly.models.utils import update_momentum

        update_momentum(self.backbone, self.key_backbone, m=0.99)
        update_momentum(self.head, self.key_head, m=0.99)


class PlainMoCo(nn.Module):
    """MoCo in plain torch on timm's model, without split batch norm and shuffling."""

    def __init__(self) -> None:
        super().__init__()
        backbone = timm.create_model("resnet18_cifar", num_classes=0).to(memory_format=torch.channels_last)
        head = nn.Sequential(nn.Linear(512, 2048), nn.ReLU(), nn.Linear(2048, 128))
        self.student = nn.Sequential(backbone, head)
        self.teacher = copy.deepcopy(self.student).requires_grad_(False)
        self.register_buffer("queue", F.normalize(torch.randn(4096, 128)))

    def forward(self, query: Tensor, key: Tensor) -> Tensor:
        """Compute the loss, and push the keys into the queue."""
        queries = F.normalize(self.student(query).float())
        with torch.no_grad():
            keys = F.normalize(self.teacher(key).float())
        queue = self.get_buffer("queue")
        logits = torch.cat([(queries * keys).sum(dim=1, keepdim=True), queries @ queue.T], dim=1) / 0.1
        self.queue = torch.cat([keys, queue[: -len(keys)]])
        return F.cross_entropy(logits, torch.zeros(len(keys), dtype=torch.long, device=keys.device))

    @torch.no_grad()
    def update_teacher(self) -> None:
        """Update the teacher by momentum."""
        torch._foreach_lerp_([*self.teacher.parameters()], [*self.student.parameters()], 0.01)


def create_steps(batch: int) -> dict[str, Callable[[], object]]:
    """Create the steps to time, all on the same images."""
    generator = torch.Generator().manual_seed(0)
    query, key = (torch.randn(batch, 3, 32, 32, generator=generator).to(DEVICE) for _ in range(2))
    if DEVICE.type == "cuda":
        query, key = (view.contiguous(memory_format=torch.channels_last) for view in (query, key))
    ids = torch.arange(batch, device=DEVICE)

    def create_step(model: LightlyMoCo | PlainMoCo, precision: Precision = "fp32") -> Callable[[], None]:
        model.to(DEVICE).train()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.03, momentum=0.9, weight_decay=5e-4)

        def step() -> None:
            model.update_teacher()
            with torch.autocast(DEVICE.type, torch.bfloat16, enabled=precision == "bf16"):
                loss = model(query, key)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()

        return step

    def create_sslzoo_step(name: str, precision: Precision = "fp32") -> Callable[[], None]:
        method = create_method(compose_experiment(batch, 1, "--method", name)).to(DEVICE).train()
        if DEVICE.type == "cuda":
            method.to(memory_format=torch.channels_last)
        optimizer = torch.optim.SGD(method.parameters(), lr=0.03, momentum=0.9, weight_decay=5e-4)

        def step() -> None:
            with torch.autocast(DEVICE.type, torch.bfloat16, enabled=precision == "bf16"):
                output = method([query, key], ids)
            output.loss.backward()
            method.after_batch(output)
            optimizer.step()
            optimizer.zero_grad()
            method.after_step(0.5)

        return step

    steps: dict[str, Callable[[], object]] = {
        "lightly, MoCo": create_step(LightlyMoCo()),
        "plain timm, MoCo": create_step(PlainMoCo()),
        "sslzoo, MoCo": create_sslzoo_step("moco"),
        "sslzoo, ASCL": create_sslzoo_step("ascl"),
    }
    if not has_native_bf16(DEVICE):
        return steps
    return steps | {
        "lightly, MoCo, bf16": create_step(LightlyMoCo(), "bf16"),
        "plain timm, MoCo, bf16": create_step(PlainMoCo(), "bf16"),
        "sslzoo, MoCo, bf16": create_sslzoo_step("moco", "bf16"),
        "sslzoo, ASCL, bf16": create_sslzoo_step("ascl", "bf16"),
    }


def create_teacher_updates() -> dict[str, Callable[[], object]]:
    """Create the momentum updates of a ResNet-18 to time; that of sslzoo includes buffers."""
    from lightly.models.utils import update_momentum

    student = create_method(compose_experiment(16, 1, "--method", "moco")).to(DEVICE).get_submodule("student")
    theirs, ours = copy.deepcopy(student), Teacher(student, 0.99)
    return {
        "lightly, update_momentum": lambda: update_momentum(student, theirs, m=0.99),
        "sslzoo, Teacher (with buffers)": lambda: ours.update(student, 0.5),
    }


def measure_peak(kind: torch.dtype) -> float:
    """Measure the peak floating-point operations per second of a large matrix product."""
    n = 8192 if DEVICE.type == "cuda" else 2048
    a = torch.randn(n, n, device=DEVICE, dtype=kind)
    rates = []
    for _ in range(6):
        synchronize(DEVICE)
        start = time.perf_counter()
        a @ a
        synchronize(DEVICE)
        rates.append(2 * n**3 / (time.perf_counter() - start))
    return max(rates)


def create_floor_table(work: dict[str, Callable[[], object]], seconds: dict[str, float]) -> Table:
    """Compare the time of each step with the time of its arithmetic."""
    table = Table(box=None, pad_edge=False)
    for column in ("", "GFLOP", "peak GFLOP/s", "floor, ms", "step, ms", "step / floor"):
        table.add_column(column, justify="right" if column else "left", no_wrap=not column)
    for name in (name for name in work if name.startswith("sslzoo, ASCL")):
        with FlopCounterMode(display=False) as counter:
            work[name]()
        rate = measure_peak(torch.bfloat16 if "bf16" in name else torch.float32)
        count = counter.get_total_flops()
        floor = count / rate
        cells = [count / 1e9, rate / 1e9, 1e3 * floor, 1e3 * seconds[name]]
        table.add_row(name, *(f"{cell:,.0f}" for cell in cells), f"{seconds[name] / floor:.2f}")
    return table


def create_part_table(batch: int, threads: int) -> Table:
    """Time a step of ASCL part by part."""
    chosen = compose_experiment(batch, threads, "--method", "ascl")
    runner = StepRunner(chosen, load_data(chosen.dataset))
    runner.time_steps(0)
    rounds = [runner.time_parts(1) for _ in range(REPEATS)]
    table = Table(box=None, pad_edge=False)
    for column in ("", "ms, median", "min - max", "share"):
        table.add_column(column, justify="right" if column else "left")
    medians = {name: statistics.median(each[name] for each in rounds) for name in rounds[0]}
    for name, seconds in sorted(medians.items(), key=lambda part: -part[1]):
        values = [1e3 * each[name] for each in rounds]
        share = 100 * seconds / sum(medians.values())
        table.add_row(name, f"{1e3 * seconds:,.1f}", f"{min(values):,.1f} - {max(values):,.1f}", f"{share:.1f} %")
    return table


def report(console: Console, batch: int, threads: int) -> None:
    """Run all comparisons and print their tables."""
    work = create_steps(batch)
    title = f"a training step, ResNet-18, images of 32 pixels, batch {batch}"
    rows = show(console, Comparison(title, "images a second", batch, work, memory=True), REPEATS)
    console.print("the same steps and their floor")
    console.print(create_floor_table(work, {row.name: row.median for row in rows}))
    console.print()
    show(
        console, Comparison("momentum update of ResNet-18 and projector", "", 1, create_teacher_updates()), 5 * REPEATS
    )
    console.print("a step of sslzoo, ASCL, part by part, views and optimizer included")
    console.print(create_part_table(batch, threads))
    console.print()


def main() -> None:
    """Print the tables."""
    asked = parse_arguments(__doc__, batch=64)
    console = Console()
    report(console, asked.batch, asked.threads)
    console.print(describe_conditions(REPEATS))


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(f"error: {error}")
