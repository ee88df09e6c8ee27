"""A few hundred steps on the digits: does the representation stay alive?"""

from collections.abc import Sequence
from math import ceil

from sslzoo.check.battery import Fault
from sslzoo.data.load import load_data
from sslzoo.evaluate.representation import collapse_warning, effective_rank, embedding_std
from sslzoo.experiment.compose import compose
from sslzoo.train.monitor import IntervalMeans
from sslzoo.train.nonfinite import NonFiniteError
from sslzoo.train.setup import count_steps, create_learner, resolve_auto, start_accelerator
from sslzoo.train.step import Stepper


def check_collapse(flags: Sequence[str], steps: int) -> None:
    """Train with the settings for the digits; the last batch's embeddings are neither a point nor a line.

    Raises:
        Fault: the loss is no longer finite, or the embeddings have collapsed.
    """
    experiment = compose([*flags, "--dataset", "digits"])
    data = load_data(experiment.dataset)
    per_epoch = count_steps(experiment, data, world=1)
    epochs = max(ceil(steps / per_epoch), ceil(experiment.schedule.warmup_epochs) + 1)
    experiment = compose([*flags, "--dataset", "digits", "--epochs", str(epochs)])
    accelerator = start_accelerator(experiment)
    experiment = resolve_auto(experiment, accelerator)
    learner = create_learner(experiment, data, accelerator)
    training = Stepper(experiment, data.train, learner, accelerator, IntervalMeans())
    learner.model.train()
    try:
        for epoch in range(ceil(steps / per_epoch)):
            training.method.before_epoch(epoch)
            batches = training.batches(epoch, skip=0)
            for _ in range(min(per_epoch, steps - training.step)):
                output = training.optimize(batches, epoch)
        training.finite.raise_pending()
    except NonFiniteError as error:
        raise Fault(str(error)) from error
    spread, rank = float(embedding_std(output.embeddings)), float(effective_rank(output.embeddings))
    if warning := collapse_warning(spread, rank, output.embeddings.shape):
        raise Fault(f"after {training.step} steps {warning}")
