"""Train a few hundred steps on the digits and check for collapse."""

from collections.abc import Sequence
from math import ceil

from sslzoo.check.battery import CheckError
from sslzoo.data.load import load_data
from sslzoo.evaluation.representation import collapse_warning, effective_rank, embedding_std
from sslzoo.experiment.compose import compose
from sslzoo.training.monitor import IntervalMeans
from sslzoo.training.nonfinite import NonFiniteError
from sslzoo.training.setup import count_steps, create_learner, resolve_auto, start_accelerator
from sslzoo.training.step import Stepper


def check_collapse(flags: Sequence[str], steps: int) -> None:
    """Train on the digits and check that the embeddings of the last batch have not collapsed.

    Raises:
        CheckError: the embeddings have collapsed, or training produced NaN or Inf.
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
    try:
        for epoch in range(ceil(steps / per_epoch)):
            stepper.method.before_epoch(epoch)
            batches = stepper.batches.load_epoch(epoch)
            for _ in range(min(per_epoch, steps - stepper.step)):
                output = stepper.train_step(batches, epoch)
        stepper.finite_check.raise_pending()
    except NonFiniteError as error:
        raise CheckError(str(error)) from error
    std, rank = float(embedding_std(output.embeddings)), float(effective_rank(output.embeddings))
    if warning := collapse_warning(std, rank, output.embeddings.shape):
        raise CheckError(f"after {stepper.step} steps {warning}")
