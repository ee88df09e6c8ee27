"""Train a few hundred steps on the digits and check for collapse."""

from collections.abc import Sequence
from math import ceil

from sslzoo.check.battery import CheckError
from sslzoo.data.load import load_data
from sslzoo.experiment.compose import compose
from sslzoo.health.verdict import Examination
from sslzoo.training.monitor import IntervalMeans
from sslzoo.training.nonfinite import NonFiniteError
from sslzoo.training.setup import count_steps, create_learner, resolve_auto, start_accelerator
from sslzoo.training.signals import Signals
from sslzoo.training.step import Stepper

MEASURE_EVERY = 10
"""Steps between two measurements."""


def check_collapse(flags: Sequence[str], steps: int) -> None:
    """Train on the digits and check that the run is healthy at its end.

    Raises:
        CheckError: the run has a symptom such as a collapse, or training produced NaN or Inf.
    """
    experiment = compose([*flags, "--dataset", "digits"])
    data = load_data(experiment.dataset)
    per_epoch = count_steps(experiment, data, world=1)
    epochs = max(ceil(steps / per_epoch), ceil(experiment.schedule.warmup_epochs) + 1)
    experiment = compose([*flags, "--dataset", "digits", "--epochs", str(epochs)])
    accelerator = start_accelerator(experiment)
    experiment = resolve_auto(experiment, accelerator)
    learner = create_learner(experiment, data, accelerator)
    stepper = Stepper(experiment, data.train, learner, accelerator, IntervalMeans())
    learner.model.train()
    signals, examination = Signals(stepper.method), Examination(steps)
    try:
        for epoch in range(ceil(steps / per_epoch)):
            stepper.method.before_epoch(epoch)
            batches = stepper.batches.load_epoch(epoch)
            for _ in range(min(per_epoch, steps - stepper.step)):
                output = stepper.train_step(batches, epoch)
                if stepper.step % MEASURE_EVERY == 0 or stepper.step == steps:
                    values = stepper.means.compute_and_reset(accelerator) | signals.measure(output, stepper.step)
                    examination.add({"step": stepper.step, **values})
        stepper.finite_check.raise_pending()
    except NonFiniteError as error:
        raise CheckError(str(error)) from error
    if not examination.verdict.is_healthy:
        raise CheckError(f"after {stepper.step} steps: {examination.verdict.describe()}")
