"""`run.py plan`: measure some steps of a run and estimate the rest."""

from argparse import Namespace
from datetime import timedelta

from rich.console import Console
from rich.table import Table

from sslzoo.data.load import Data, load_data
from sslzoo.experiment.schema import Experiment
from sslzoo.plan.advice import group_shares, list_hints, suggest_flags
from sslzoo.plan.estimate import estimate
from sslzoo.plan.measure import Measurement, measure
from sslzoo.runtime.errors import UserError
from sslzoo.runtime.launch import describe_device, prepare_cpu, run_on_main_process
from sslzoo.runtime.progress import print_field, show_stage
from sslzoo.training.nonfinite import NonFiniteError
from sslzoo.training.setup import resolve_auto, start_accelerator


def plan(asked: Namespace, experiment: Experiment) -> int:
    """Print time, memory, bottleneck and possible speed-ups of a run, measured on some of its steps.

    Returns:
        The exit status, 0.

    Raises:
        UserError: a setting is invalid, or a step produced NaN or Inf.
    """
    prepare_cpu(experiment.threads)
    accelerator = start_accelerator(experiment)
    console = Console(quiet=not accelerator.is_main_process)
    data = load_data(experiment.dataset)
    print_field(console, "device", describe_device(accelerator, experiment.precision))
    experiment = resolve_auto(experiment, accelerator).with_dataset(data.config)
    measured = measure_with_progress(console, "some steps", experiment, data, asked.seconds)
    report(console, experiment, data, measured)
    shares, training = group_shares(measured), estimate(experiment, data, measured).training
    suggestions = run_on_main_process(
        accelerator, lambda: [*suggest_flags(experiment, accelerator.device, shares, training)]
    )
    for suggestion in [] if asked.no_tries else suggestions:
        changed = experiment.model_copy(update=suggestion.changes)
        other = measure_with_progress(console, f"some steps with {suggestion.flags}", changed, data, asked.seconds)
        times, total = measured.seconds / other.seconds, estimate(changed, data, other).total
        verb = "would help" if times > 1.05 else "no help"
        speedup = f"{times:.2f} times as fast, {format_duration(total)}"
        print_field(console, verb, f"{suggestion.flags}: {speedup} ({suggestion.note})")
    for hint in list_hints(experiment, data, accelerator.device, shares):
        print_field(console, "would help", hint)
    accelerator.end_training()
    return 0


def measure_with_progress(
    console: Console, what: str, experiment: Experiment, data: Data, seconds: float
) -> Measurement:
    """Measure and show progress.

    Raises:
        UserError: a setting is invalid, or a step produced NaN or Inf.
    """
    with show_stage(console, f"measuring {what}"):
        try:
            return measure(experiment, data, seconds)
        except NonFiniteError as error:
            raise UserError(f"{error} in a run of these settings") from error


def report(console: Console, experiment: Experiment, data: Data, measured: Measurement) -> None:
    """Print speed, memory, the parts of a step and the estimate of the run."""
    low, high = (measured.images / extreme(measured.steps) for extreme in (max, min))
    spread = f"median of {len(measured.steps)} steps, {low:,.0f} to {high:,.0f}"
    print_field(
        console, "speed", f"{measured.images_per_second:,.0f} images/s ({spread}); {measured.seconds:.3g} s a step"
    )
    device = "" if measured.device_bytes is None else f"{format_gib(measured.device_bytes)} on the device, "
    print_field(console, "memory", f"{device}{format_gib(measured.host_bytes)} on the host; peak of each process")
    table = Table(box=None, pad_edge=False)
    table.add_column("part of a step")
    for column in ("ms", "share"):
        table.add_column(column, justify="right")
    total = sum(measured.parts.values())
    for name, seconds in sorted(measured.parts.items(), key=lambda part: -part[1]):
        table.add_row(name, f"{1e3 * seconds:,.1f}", f"{100 * seconds / total:.0f} %")
    console.print(table)
    if measured.received:
        parts = ", ".join(f"{name} {count / 2**20:,.2f} MiB" for name, count in measured.received.items())
        print_field(console, "network", f"each process receives in a step: {parts}")
    shares = group_shares(measured)
    largest = max(shares, key=lambda name: shares[name])
    print_field(console, "bottleneck", f"{largest}, {100 * shares[largest]:.0f} % of a step")
    run = estimate(experiment, data, measured)
    steps = experiment.epochs * measured.steps_per_epoch
    print_field(
        console,
        "run",
        f"{experiment.epochs} epochs, {steps:,} steps: {format_duration(run.training)} of training, "
        f"{format_duration(run.knn)} of kNN during training, {format_duration(run.features)} of features at the end; "
        f"about {format_duration(run.total)} in total",
    )


def format_duration(seconds: float) -> str:
    """Format a duration as `H:MM:SS`, or in hours above ten hours."""
    return f"{seconds / 3600:,.1f} h" if seconds > 36_000 else str(timedelta(seconds=round(seconds)))


def format_gib(count: int) -> str:
    """Format a number of bytes in GiB."""
    return f"{count / 2**30:.2f} GiB"
