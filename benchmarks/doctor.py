"""How soon the doctor finds planted collapses, and how often it is wrong about healthy runs, on the digits.

    python benchmarks/doctor.py measure --out doctor-runs
    python benchmarks/doctor.py judge --out doctor-runs

`measure` trains every planted collapse of `collapses.py` for a little more than a tenth of a run, and every method for
a whole run, with the default settings of the digits. Each run becomes a line of OUT/runs.jsonl with its raw
measurements; runs that are already there are skipped, so an interrupted command continues. `judge` applies the
thresholds of `sslzoo.health` to these lines and prints a table, without training.

A planted mistake that does not hurt is no collapse: the table shows the kNN accuracy of the stopped run on the test
images, by the protocol of the digits, beside that of the untrained backbone.
"""

import argparse
import json
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import torch
from accelerate.state import AcceleratorState
from collapses import PLANTS
from rich.console import Console
from torch import nn

from sslzoo.data.load import load_data
from sslzoo.experiment.compose import compose
from sslzoo.health.verdict import Examination
from sslzoo.method.base import METHODS
from sslzoo.runtime.errors import UserError
from sslzoo.runtime.launch import prepare_cpu
from sslzoo.training.checkpoint import Checkpoints
from sslzoo.training.console import TrainingDisplay
from sslzoo.training.evaluator import Evaluator
from sslzoo.training.folder import RunFolder
from sslzoo.training.loop import TrainingLoop
from sslzoo.training.monitor import IntervalMeans
from sslzoo.training.provenance import describe_provenance
from sslzoo.training.setup import create_learner, create_seeded_backbone, resolve_auto, start_accelerator
from sslzoo.training.stop import Interrupted, StopRequest

Run = dict[str, Any]
"""A line of runs.jsonl: kind, name, seed, flags, total_steps, error, records, and knn where it was measured."""

COMMON = [
    "--dataset", "digits", "--threads", "1", "--knn-every", "0", "--save-minutes", "100000",
    "--evaluation.classifiers", "knn",
]  # fmt: skip
PLANTED_STEPS = 80
"""Steps of a planted run: a tenth of the 600 steps of a whole run, and a little more."""
TENTH = 0.1
HARMLESS_GAIN = 0.05
"""Gain in kNN accuracy over the untrained backbone above which a planted mistake has not made a run collapse."""
QUIET = Console(quiet=True)


class StopAfter(StopRequest):
    """Stops a run after a step; 0 never stops it. Signals end the command as usual."""

    def __init__(self, step: int) -> None:
        super().__init__(100_000, torch.device("cpu"))
        self.step = step

    def __enter__(self) -> Self:
        return self

    def poll(self, step: int) -> tuple[bool, int]:
        """Return whether to save and stop after `step`."""
        return (True, signal.SIGTERM) if step == self.step else (False, 0)


def list_runs() -> dict[tuple[str, str], str]:
    """Map kind and name of each run to its flags."""
    untrained = {("untrained", "untrained"): "--method moco"}
    planted = {("planted", name): plant.flags for name, plant in PLANTS.items()}
    builtin = [name for name in METHODS.names() if METHODS.get(name).__module__.startswith("sslzoo.")]
    return untrained | planted | {("healthy", name): f"--method {name}" for name in builtin}


def measure_run(flags: list[str], kind: str, steps: int) -> Run:
    """Train in a temporary folder, and score the backbone unless the run is healthy.

    Args:
        kind: `untrained`, `planted` or `healthy`.
        steps: steps after which to stop; 0 trains to the end.
    """
    AcceleratorState._reset_state()
    experiment = compose([*COMMON, *flags])
    accelerator = start_accelerator(experiment)
    experiment = resolve_auto(experiment, accelerator)
    data = load_data(experiment.dataset)
    evaluator = Evaluator(experiment, data, accelerator, QUIET)
    if kind == "untrained":
        return {"knn": measure_knn(evaluator, create_seeded_backbone(experiment))}
    learner = create_learner(experiment, data, accelerator)
    with tempfile.TemporaryDirectory() as name:
        folder = RunFolder(Path(name))
        provenance = describe_provenance(experiment, data, learner.steps_per_epoch)
        checkpoints = Checkpoints(accelerator, folder.checkpoints, IntervalMeans(), provenance, keep=1)
        display = TrainingDisplay(
            QUIET,
            epochs=experiment.epochs,
            steps_per_epoch=learner.steps_per_epoch,
            batch_size=experiment.batch_size,
        )
        training = TrainingLoop(
            experiment, data.train, learner, accelerator, checkpoints.means, folder=folder, checkpoints=checkpoints,
            display=display, evaluate_knn=None,
        )  # fmt: skip
        error = None
        with StopAfter(steps) as stop:
            try:
                training.run(stop)
            except Interrupted:
                pass
            except UserError as nonfinite:
                error = f"step {training.step + 1}: {nonfinite}"
        records = list(folder.read_metrics())
    run: Run = {"total_steps": training.total_steps, "step": training.step, "error": error, "records": records}
    if kind == "planted" and error is None:
        run["knn"] = measure_knn(evaluator, training.method.student.backbone)
    return run


def measure_knn(evaluator: Evaluator, backbone: nn.Module) -> float:
    """Measure the kNN accuracy on the test images."""
    scores = evaluator.score_encoder(backbone, "backbone").scores
    assert scores is not None
    accuracy: float = scores.as_dict()["knn"]["accuracy"]
    return accuracy


def measure(asked: argparse.Namespace) -> None:
    """Run what is missing in runs.jsonl, and append a line for each run."""
    prepare_cpu(1)
    asked.out.mkdir(parents=True, exist_ok=True)
    done = {(run["kind"], run["name"], run["seed"]) for run in read_runs(asked.out)}
    for seed in asked.seeds:
        for (kind, name), flags in list_runs().items():
            chosen = kind == "untrained" or (kind in asked.kinds and (not asked.only or name in asked.only))
            if not chosen or (kind, name, seed) in done:
                continue
            steps = PLANTED_STEPS if kind == "planted" else asked.steps
            run = {"kind": kind, "name": name, "seed": seed, "flags": flags}
            run |= measure_run([*flags.split(), "--seed", str(seed)], kind, steps)
            with (asked.out / "runs.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps(run) + "\n")
            print(kind, name, seed, f"kNN {run['knn']:.3f}" if "knn" in run else "", run.get("error") or "", flush=True)


def read_runs(folder: Path) -> Iterator[Run]:
    """Read the lines of runs.jsonl; of a run that is there twice, the first one."""
    path, seen = folder / "runs.jsonl", set()
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        run = json.loads(line)
        if (key := (run["kind"], run["name"], run["seed"])) not in seen:
            seen.add(key)
            yield run


def find_first_alarm(run: Run) -> tuple[int, str] | None:
    """Return step and kind of the first verdict that is not healthy; NaN or Inf, which ends a run, is one too."""
    examination = Examination(run["total_steps"])
    for record in run["records"]:
        verdict = examination.add(record)
        if not verdict.is_healthy:
            return record["step"], verdict.kind
    return (run["step"], "NaN or Inf") if run["error"] else None


def judge(asked: argparse.Namespace) -> None:
    """Print the verdicts on all measured runs: a table in Markdown, and how many are right."""
    runs = [run for run in read_runs(asked.out) if run["seed"] in asked.seeds]
    untrained = {run["seed"]: run["knn"] for run in runs if run["kind"] == "untrained"}
    gains = {
        (run["name"], run["seed"]): run.get("knn", 0.0) - untrained[run["seed"]]
        for run in runs
        if run["kind"] == "planted"
    }
    alarms = {(run["kind"], run["name"], run["seed"]): find_first_alarm(run) for run in runs if "records" in run}
    columns = ["planted run", "mistake", *(f"seed {seed}" for seed in sorted(untrained)), "kNN, over untrained"]
    print(f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|")
    for name in dict.fromkeys(name for name, _ in gains):
        seeds = [seed for seed in sorted(untrained) if (name, seed) in gains]
        verdicts = [describe_alarm(alarms["planted", name, seed]) for seed in seeds]
        knn = ", ".join(f"{100 * gains[name, seed]:+.1f}" for seed in seeds)
        print(f"| `{name}` | {PLANTS[name].mistake} | {' | '.join(verdicts)} | {knn} |")
    for seed in sorted(untrained):
        planted = {run["name"]: run["total_steps"] for run in runs if run["kind"] == "planted" and run["seed"] == seed}
        found = {
            name
            for name, steps in planted.items()
            if (alarm := alarms["planted", name, seed]) and alarm[0] <= TENTH * steps
        }
        harmful = {name for name in planted if gains[name, seed] <= HARMLESS_GAIN}
        print(
            f"\nseed {seed}: {len(found)} of {len(planted)} planted mistakes found in the first tenth; "
            f"{len(found & harmful)} of the {len(harmful)} that collapsed"
        )
        healthy = [run for run in runs if run["kind"] == "healthy" and run["seed"] == seed]
        false = {run["name"]: alarm for run in healthy if (alarm := alarms["healthy", run["name"], seed])}
        whole = sum(run["step"] == run["total_steps"] for run in healthy)
        print(f"seed {seed}: {len(false)} false alarms in {len(healthy)} healthy runs, of which {whole} are whole runs")
        for name, alarm in false.items():
            print(f"  {name}: {describe_alarm(alarm)}")


def describe_alarm(alarm: tuple[int, str] | None) -> str:
    """Describe a verdict and the step at which it was given."""
    return "not found" if alarm is None else f"{alarm[1]}, {alarm[0]}"


def main(words: list[str]) -> None:
    """Measure runs, or judge measured ones."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", choices=["measure", "judge"])
    parser.add_argument("--out", type=Path, default=Path("doctor-runs"), help="folder of runs.jsonl")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--kinds", nargs="+", default=["planted", "healthy"], choices=["planted", "healthy"])
    parser.add_argument("--only", nargs="+", help="names of runs")
    parser.add_argument("--steps", type=int, default=0, help="stop healthy runs after this step; 0 trains to the end")
    asked = parser.parse_args(words)
    {"measure": measure, "judge": judge}[asked.stage](asked)


if __name__ == "__main__":
    main(sys.argv[1:])
