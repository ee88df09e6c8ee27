"""The experiment on CIFAR-10 and Imagenette: MoCo as its authors have it, then MoCo against ASCL's targets.

    python benchmarks/experiment.py --data data                     # data/cifar10, data/imagenette160
    python benchmarks/experiment.py --data data --stages authors    # one stage of three
    python benchmarks/experiment.py --data data --print             # the commands alone

On a GPU these are the recipes of the papers: ResNet-18, 200 epochs, bf16, compiled. On a CPU the same commands run
scaled down, to a narrow network, few pictures and few epochs, which shows that they work and nothing else. Stages:

- authors: MoCo in its authors' setting for CIFAR-10 (batch 512, one-directional), kNN with k 200 and temperature 0.1 on
  the test pictures, after the last epoch; the authors report 82.6 %;
- cifar10: MoCo, and ASCL with hard, adaptive-hard and adaptive-soft targets, batch 256, the same seeds, paired;
- imagenette: the same at crops of 128 pixels.

Everything is saved in --out: run folders, the comparisons' pages, and experiment.json with each stage's command,
seconds and scores. The same command goes on where it stopped.
"""

import argparse
import json
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from rich.console import Console
from rich.table import Table

from sslzoo.environment import commit, device_name

ROOT = Path(__file__).resolve().parents[1]
ROWS = "moco,ascl:hard,ascl:adaptive-hard,ascl"
LARGE = ["--precision", "bf16", "--compile", "--knn-every", "50"]
SMALL = [
    "--dataset.limit", "1000", "--dataset.test-limit", "500", "--epochs", "3", "--batch-size", "64", "--img-size", "32",
    "--backbone", "resnet10t", "--backbone.stem", "small-pool", "--backbone.kwargs", "{channels: [16, 32, 32, 32]}",
    "--method.queue-size", "512", "--schedule.warmup-epochs", "0", "--knn-every", "0", "--compile-views",
    "--threads", "1",
]  # fmt: skip
KNN_200 = ["--evaluation.classifiers", "knn", "--evaluation.knn-k", "200", "--evaluation.knn-temperature", "0.1"]


class Stage(NamedTuple):
    """A command of the experiment."""

    name: str
    words: list[str]
    """Of `run.py`."""
    folder: Path
    """Where its runs are."""

    def summaries(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Name and summary of each run that is finished."""
        for file in sorted(self.folder.glob("**/summary.json")):
            yield file.parent.name, json.loads(file.read_text())


def stages(data: Path, out: Path, seeds: str, large: bool) -> list[Stage]:
    """The commands, in their order."""
    size = LARGE if large else SMALL
    cifar, imagenette = ["--dataset.path", str(data / "cifar10")], ["--dataset.path", str(data / "imagenette160")]
    names = ["--dataset.image", "image", "--dataset.label", "label", "--dataset.test", "test"]
    authors, table, crops = out / "authors", out / "cifar10", out / "imagenette"
    paired = ["compare", "--methods", ROWS, "--seeds", seeds, "--baseline", "moco"]
    alone = [
        "--config",
        "paper/moco-cifar10",
        *cifar,
        *KNN_200,
        *size,
    ]
    return [
        Stage("authors", [*alone, "--run-folder", str(authors), "--resume", "auto"], authors),
        Stage("cifar10", [*paired, "--dataset", "cifar10", *cifar, *size, "--folder", str(table)], table),
        Stage(
            "imagenette",
            [*paired, "--dataset", "imagenette", *imagenette, *names, *size, "--folder", str(crops)],
            crops,
        ),
    ]


def show(console: Console, records: list[dict[str, Any]], large: bool) -> None:
    """What came out."""
    table = Table(box=None, pad_edge=False)
    for column in ("stage", "run", "epochs", "kNN (%)", "linear (%)", "training, s", "images/s"):
        table.add_column(column, justify="left" if column in ("stage", "run") else "right")
    for record in records:
        for name, run in record["runs"].items():
            scores = [f"{run[score]:.1f}" if run[score] is not None else "" for score in ("knn", "linear")]
            table.add_row(
                record["stage"], name, f"{run['epochs']}", *scores, f"{run['seconds']:,.0f}", f"{run['speed']:,.0f}"
            )
    console.print(table)
    if not large:
        console.print("SCALED DOWN for a CPU: the figures show that the commands run, and nothing about the methods")


def main() -> None:
    """Run the stages that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("experiment"))
    parser.add_argument("--stages", nargs="+", choices=["authors", "cifar10", "imagenette"])
    parser.add_argument("--seeds", default="3")
    parser.add_argument("--print", action="store_true", help="print the commands, and run none")
    asked = parser.parse_args()
    large = torch.cuda.is_available()
    console = Console(width=140)
    console.print(f"{device_name()}, commit {commit()}", highlight=False)
    if not large:
        console.print("SCALED DOWN: there is no GPU; a narrow network, 1,000 pictures, 3 epochs", highlight=False)
    chosen = [
        stage
        for stage in stages(asked.data.resolve(), asked.out.resolve(), asked.seeds, large)
        if not asked.stages or stage.name in asked.stages
    ]
    records = []
    for stage in chosen:
        console.print(f"{stage.name}: python run.py {shlex.join(stage.words)}", highlight=False, soft_wrap=True)
        if asked.print:
            continue
        began = time.monotonic()
        done = subprocess.run([sys.executable, "run.py", *stage.words], cwd=ROOT, check=False)
        if done.returncode:
            sys.exit(done.returncode)
        record = {"stage": stage.name, "words": stage.words, "seconds": round(time.monotonic() - began, 1)}
        record["runs"] = {name: figures(summary) for name, summary in stage.summaries()}
        records.append(record)
        (asked.out / "experiment.json").write_text(
            json.dumps(
                {"device": device_name(), "commit": commit(), "scaled_down": not large, "stages": records}, indent=2
            )
        )
    if records:
        show(console, records, large)


def figures(summary: dict[str, Any]) -> dict[str, Any]:
    """What is told of a run: test accuracies in percent, budget and cost."""
    scores = summary["test"]["trained"] if summary.get("test") else {}
    return {
        "epochs": summary["epochs"],
        "seed": summary["seed"],
        "knn": 100 * scores["knn"]["accuracy"] if "knn" in scores else None,
        "linear": 100 * scores["linear"]["accuracy"] if "linear" in scores else None,
        "seconds": summary["train_seconds"],
        "speed": summary["images_per_second"],
        "protocol": summary["protocol"],
    }


if __name__ == "__main__":
    main()
