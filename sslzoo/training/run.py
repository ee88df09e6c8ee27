"""A training run: set up, train, evaluate, and write the output files."""

from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Literal

from accelerate import Accelerator
from rich.console import Console
from safetensors import SafetensorError

from sslzoo.data.load import Data, load_data
from sslzoo.experiment.schema import Experiment
from sslzoo.method.base import Method
from sslzoo.runtime.errors import UserError
from sslzoo.runtime.launch import join_processes, prepare_cpu, run_on_main_process
from sslzoo.runtime.progress import print_field, print_warning
from sslzoo.training.callbacks import Callbacks
from sslzoo.training.checkpoint import Checkpoints
from sslzoo.training.console import TrainingDisplay
from sslzoo.training.evaluator import Evaluator
from sslzoo.training.final import finalize_run
from sslzoo.training.folder import RunFolder
from sslzoo.training.header import print_header
from sslzoo.training.loop import TrainingLoop
from sslzoo.training.monitor import IntervalMeans
from sslzoo.training.provenance import describe_provenance
from sslzoo.training.record import record_training
from sslzoo.training.setup import (
    Learner,
    create_learner,
    create_seeded_backbone,
    resolve_auto,
    start_accelerator,
    start_trackers,
)
from sslzoo.training.stop import StopRequest
from sslzoo.training.unfinished import find_unfinished_run, restore_auto_settings
from sslzoo.training.views_figure import draw_views_of_run


def pretrain(
    experiment: Experiment,
    resume: Path | Literal["auto"] | None = None,
    *,
    anyway: bool = False,
    callbacks: Callbacks | None = None,
    quiet: bool = False,
    kill: bool = True,
) -> RunFolder:
    """Train and evaluate in a new run folder, or resume a run in its folder.

    Args:
        resume: folder of the run to resume; `auto` searches for an unfinished run with these settings.
        anyway: resume although settings or data have changed; the summary lists the changes.
        callbacks: functions to call during training.
        quiet: print nothing.
        kill: see `StopRequest`.

    Returns:
        The folder of the run.

    Raises:
        UserError: a setting, the data or the weights are invalid.
        Interrupted: a signal requested a stop; a checkpoint has been saved.
    """
    prepare_cpu(experiment.threads)
    unfinished = choose_run(experiment, resume, anyway=anyway)
    if unfinished is not None:
        experiment = restore_auto_settings(RunFolder.open(unfinished), experiment)
    accelerator = start_accelerator(experiment)
    requested_precision, experiment = experiment.precision, resolve_auto(experiment, accelerator)
    console = Console(quiet=quiet or not accelerator.is_main_process)
    data = load_data(experiment.dataset)
    experiment = experiment.with_dataset(data.config)
    learner = create_learner(experiment, data, accelerator, report=partial(print_field, console, "weights"))
    evaluator = Evaluator(experiment, data, accelerator, console)
    require_knn_images(experiment, evaluator)
    folder = open_folder(experiment, unfinished, accelerator)
    try:
        provenance = describe_provenance(experiment, data, learner.steps_per_epoch)
        checkpoints = Checkpoints(
            accelerator, folder.checkpoints, IntervalMeans(), provenance, keep=experiment.keep_checkpoints
        )
        report = partial(print_warning, console)
        step = checkpoints.load_newest(report, anyway=anyway)
        run_on_main_process(accelerator, lambda: folder.prepare_resuming(experiment, step, report))
        start_trackers(experiment, accelerator, folder)
        method: Method = accelerator.unwrap_model(learner.model)
        print_header(console, experiment, data, method, accelerator, folder, step, requested_precision)
        if accelerator.is_main_process:
            draw_views_of_run(experiment, data, folder, console)
        training = create_training_loop(
            experiment, data, learner, evaluator, folder, checkpoints, step, callbacks or Callbacks()
        )
        with StopRequest(experiment.save_minutes, accelerator.device, kill=kill) as stop:
            training.run(stop)
            with stop.allow_interrupt(
                f"stopped during the final evaluation, training is saved; --resume {folder.path} repeats the evaluation"
            ):
                evaluate_and_write(training, data, evaluator, resumed_at=step)
        accelerator.end_training()
    finally:
        folder.unlock()
    return folder


def require_knn_images(experiment: Experiment, evaluator: Evaluator) -> None:
    """Check that kNN can be evaluated if training is to stop by it.

    Raises:
        UserError: there are no labeled images.
    """
    if experiment.stop_after_no_gain and evaluator.knn_images is None:
        raise UserError(
            f"--stop-after-no-gain {experiment.stop_after_no_gain}: needs kNN evaluations, but "
            f"{experiment.dataset.name} has no labeled images"
        )


def choose_run(experiment: Experiment, resume: Path | Literal["auto"] | None, *, anyway: bool = False) -> Path | None:
    """Return the folder of the run to resume; None to start a new run."""
    if resume != "auto":
        return resume
    return run_on_main_process(join_processes(), lambda: find_unfinished_run(experiment, anyway=anyway))


def open_folder(experiment: Experiment, unfinished: Path | None, accelerator: Accelerator) -> RunFolder:
    """Create or open the run folder and lock it, both on the main process."""

    def open_path() -> Path:
        return (RunFolder.create(experiment) if unfinished is None else RunFolder.open(unfinished)).path

    folder = RunFolder(run_on_main_process(accelerator, open_path))
    run_on_main_process(accelerator, folder.lock)
    return folder


def create_training_loop(
    experiment: Experiment,
    data: Data,
    learner: Learner,
    evaluator: Evaluator,
    folder: RunFolder,
    checkpoints: Checkpoints,
    step: int,
    callbacks: Callbacks,
) -> TrainingLoop:
    """Create the training loop, which starts at `step`, and its display."""
    accelerator, with_knn = evaluator.accelerator, evaluator.knn_images is not None
    display = TrainingDisplay(
        evaluator.console,
        epochs=experiment.epochs,
        steps_per_epoch=learner.steps_per_epoch,
        batch_size=experiment.batch_size,
        start=step,
        knn_epochs=experiment.knn_epochs if with_knn else (),
    )
    backbone = accelerator.unwrap_model(learner.model).student.backbone
    return TrainingLoop(
        experiment,
        data.train,
        learner,
        accelerator,
        checkpoints.means,
        step,
        folder=folder,
        checkpoints=checkpoints,
        display=display,
        evaluate_knn=partial(evaluator.score_knn, backbone) if with_knn else None,
        callbacks=callbacks,
    )


def evaluate_and_write(training: TrainingLoop, data: Data, evaluator: Evaluator, resumed_at: int) -> None:
    """Evaluate a trained method and write the output files; called by all processes.

    Raises:
        UserError: a file cannot be written.
    """
    experiment, folder = training.experiment, training.folder
    record = record_training(training, data, resumed_at)
    if changes := training.checkpoints.provenance.changes:
        record["changes"] = list(changes)
    if neighbors := evaluator.measure_neighbors(training.method):
        record["neighbors"] = asdict(neighbors)
    untrained = create_seeded_backbone(experiment).to(training.accelerator.device)
    try:
        finalize_run(
            experiment, data, evaluator, training.method.student.backbone, untrained, folder, evaluator.console, record
        )
    except (OSError, SafetensorError) as error:
        raise UserError(f"{folder.path}: {error}; --resume {folder.path} repeats the evaluation") from error
