"""Fine-tuning: train the whole encoder with labels, with a learning rate for each layer."""

import copy
import math
from typing import Any

import torch
from accelerate.utils import set_seed
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer

from sslzoo.data.images import Images
from sslzoo.evaluation.classifier import Classifier
from sslzoo.evaluation.evaluated import EvaluatedEncoder
from sslzoo.evaluation.features import encode_images
from sslzoo.evaluation.labels import Indices
from sslzoo.evaluation.score import rank_top_classes
from sslzoo.evaluation.training_views import TrainingViews
from sslzoo.experiment.evaluation import FineTuneConfig
from sslzoo.modules.optim import create_optimizer, create_schedule
from sslzoo.runtime.counter_rng import random_bits
from sslzoo.runtime.distributed import average_norm_statistics, gather_rows
from sslzoo.runtime.errors import UserError

CHECK_LOSS_EVERY = 10
"""Steps between two checks of the loss, each of which waits for the device."""


class FineTuning(Classifier):
    """Fine-tuning from the encoder's weights, with a new classifier whose weights start at zero."""

    def __init__(self, evaluated: EvaluatedEncoder, config: FineTuneConfig, seed: int) -> None:
        self.evaluated, self.config, self.seed = evaluated, config, seed
        self.settings = [{"lr": lr} for lr in config.learning_rates]

    def predict(self, train: Indices, queries: Indices) -> Tensor:
        held_out = self.evaluated.train.subset(queries)
        return torch.stack(
            [
                self._compute_logits(self._train(train, setting["lr"]), held_out).argmax(dim=1)
                for setting in self.settings
            ]
        )

    def rank_test(self, train: Indices, setting: int) -> Tensor:
        model = self._train(train, self.settings[setting]["lr"])
        return rank_top_classes(self._compute_logits(model, self.evaluated.test))

    def _train(self, train: Indices, lr: float) -> nn.Module:
        """Train a copy of the encoder with a classifier."""
        config, evaluated, accelerator = self.config, self.evaluated, self.evaluated.accelerator
        settings = config.model_dump_json(), evaluated.probe.model_dump_json(), str(self.seed)
        checkpoint = evaluated.checkpoints.open("fine-tune", *settings, str(lr), train.tobytes())
        done, state = checkpoint.load()
        views = TrainingViews(
            evaluated,
            evaluated.train.subset(train),
            f"fine-tuning, lr {lr:g}",
            seed=self.seed,
            epochs=config.epochs,
            batch_size=config.batch_size,
            start=done,
        )
        classifier = add_classifier(evaluated.encoder, evaluated.classes).to(accelerator.device)
        optimizer = self._create_optimizer(classifier, lr, views.batch_size)
        schedule = create_schedule(
            config.schedule, optimizer, epochs=config.epochs, steps_per_epoch=views.steps_per_epoch
        )
        if state:
            classifier.load_state_dict(state["classifier"])
            optimizer.load_state_dict(state["optimizer"])
        model, prepared = accelerator.prepare(classifier, optimizer)
        model.train()

        def get_state() -> dict[str, Any]:
            return {"classifier": classifier.state_dict(), "optimizer": optimizer.state_dict()}

        for step, view, labels in views:
            set_seed(int(random_bits(self.seed, step)))  # makes dropout a function of the step
            if schedule is not None:
                schedule.step_update(step)
            loss = F.cross_entropy(model(view).float(), labels, label_smoothing=config.label_smoothing)
            accelerator.backward(loss)
            prepared.step()
            prepared.zero_grad()
            if step % CHECK_LOSS_EVERY == 0 or step == views.total_steps - 1:
                views.note = f"  loss {require_finite_loss(loss, step, lr):.3f}"
                checkpoint.save_if_due(step + 1, get_state)
        average_norm_statistics(classifier)
        checkpoint.save_finished(views.total_steps, get_state)
        accelerator.free_memory(model, prepared)
        return classifier

    def _create_optimizer(self, classifier: nn.Module, lr: float, batch_size: int) -> Optimizer:
        config = self.config.optimizer
        decay = {} if self.config.layer_decay is None else {"layer_decay": self.config.layer_decay}
        return create_optimizer(config.model_copy(update={"lr": lr, **decay}), classifier, batch_size)

    def _compute_logits(self, model: nn.Module, images: Images) -> Tensor:
        """Compute the logits (N, C) of the test view on the CPU of every process."""
        evaluated, accelerator = self.evaluated, self.evaluated.accelerator
        share = images.share(accelerator.process_index, accelerator.num_processes)
        create_views = evaluated.transform.create_views
        batches = encode_images(
            model, share, create_views, accelerator, batch_size=evaluated.batch_size, workers=evaluated.workers
        )
        return gather_rows(torch.cat(list(batches)))


def require_finite_loss(loss: Tensor, step: int, lr: float) -> float:
    """Return the loss as a number.

    Raises:
        UserError: the loss is NaN or Inf.
    """
    value = loss.item()
    if not math.isfinite(value):
        raise UserError(
            f"evaluation.fine_tune.learning_rates: with {lr:g} the loss is {value} at step {step}; use a lower rate"
        )
    return value


def add_classifier(encoder: nn.Module, classes: int) -> nn.Module:
    """Copy a timm model and add a linear classifier whose weights are zero.

    Raises:
        UserError: the model does not support a linear classifier.
    """
    model = copy.deepcopy(encoder)
    try:
        model.reset_classifier(classes)  # type: ignore[operator]
        head = model.get_classifier()  # type: ignore[operator]
        nn.init.zeros_(head.weight)
        nn.init.zeros_(head.bias)
    except Exception as error:  # timm models without a linear head raise various errors
        raise UserError(
            f"--protocol fine-tune: {type(encoder).__name__} does not support a linear classifier: {error}"
        ) from error
    return model
