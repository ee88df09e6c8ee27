"""Fine-tuning: the whole encoder is trained with labels, each layer at its own rate."""

import copy
import math
from typing import Any

import torch
from accelerate.utils import set_seed
from torch import Tensor, nn
from torch.nn import functional as F

from sslzoo.data.images import Images
from sslzoo.evaluate.classifier import Classifier
from sslzoo.evaluate.features import encode
from sslzoo.evaluate.labels import Indices
from sslzoo.evaluate.score import top_classes
from sslzoo.evaluate.subject import Subject
from sslzoo.experiment.evaluation import FineTuneConfig
from sslzoo.modules.optim import create_optimizer, create_schedule
from sslzoo.runtime.counter_rng import random_bits
from sslzoo.runtime.distributed import average_norm_statistics, gather_rows
from sslzoo.runtime.errors import UserError

LOOK_EVERY = 10
"""Steps between two checks of the loss, each of which waits for the device."""


class FineTuning(Classifier):
    """Fine-tuning from the encoder's weights, with a new classifier that starts at zero."""

    def __init__(self, subject: Subject, config: FineTuneConfig, seed: int) -> None:
        self.subject, self.config, self.seed = subject, config, seed
        self.settings = [{"lr": lr} for lr in config.learning_rates]

    def guess(self, learn: Indices, queries: Indices) -> Tensor:
        held_out = self.subject.train.subset(queries)
        return torch.stack(
            [self._logits(self._train(learn, setting["lr"]), held_out).argmax(dim=1) for setting in self.settings]
        )

    def rank(self, learn: Indices, setting: int) -> Tensor:
        model = self._train(learn, self.settings[setting]["lr"])
        return top_classes(self._logits(model, self.subject.test))

    def _train(self, learn: Indices, lr: float) -> nn.Module:
        """A trained copy of the encoder with a classifier."""
        config, subject, accelerator = self.config, self.subject, self.subject.accelerator
        settings = config.model_dump_json(), subject.probe.model_dump_json(), str(self.seed)
        training = subject.unfinished.training("fine-tune", *settings, str(lr), learn.tobytes())
        done, saved = training.load()
        views = subject.learn_from(
            subject.train.subset(learn),
            f"fine-tuning, lr {lr:g}",
            seed=self.seed,
            epochs=config.epochs,
            batch_size=config.batch_size,
            start=done,
        )
        classifier = with_classifier(subject.encoder, subject.classes).to(accelerator.device)
        settings_of_lr = {"lr": lr, "kwargs": config.optimizer.kwargs | self._layers()}
        optimizer = create_optimizer(config.optimizer.model_copy(update=settings_of_lr), classifier, views.batch_size)
        schedule = create_schedule(config.schedule, optimizer, epochs=config.epochs, steps_per_epoch=views.per_epoch)
        if saved:
            classifier.load_state_dict(saved["classifier"])
            optimizer.load_state_dict(saved["optimizer"])
        model, prepared = accelerator.prepare(classifier, optimizer)
        model.train()

        def state() -> dict[str, Any]:
            return {"classifier": classifier.state_dict(), "optimizer": optimizer.state_dict()}

        for step, view, labels in views:
            set_seed(int(random_bits(self.seed, step)))  # of dropout, so that it too is a function of the step
            if schedule is not None:
                schedule.step_update(step)
            loss = F.cross_entropy(model(view).float(), labels, label_smoothing=config.label_smoothing)
            accelerator.backward(loss)
            prepared.step()
            prepared.zero_grad()
            if step % LOOK_EVERY == 0 or step == views.steps - 1:
                value = loss.item()
                views.note = f"  loss {value:.3f}"
                if not math.isfinite(value):
                    raise UserError(
                        f"evaluation.fine_tune.learning_rates: with {lr:g} the loss is {value} at step {step}; lower it"
                    )
                training.save(step + 1, state)
        average_norm_statistics(classifier)
        training.finish(views.steps, state)
        accelerator.free_memory(model, prepared)
        return classifier

    def _layers(self) -> dict[str, Any]:
        return {} if self.config.layer_decay is None else {"layer_decay": self.config.layer_decay}

    def _logits(self, model: nn.Module, images: Images) -> Tensor:
        """(N, C) of the test view, on the CPU of every process."""
        subject, accelerator = self.subject, self.subject.accelerator
        mine = images.share(accelerator.process_index, accelerator.num_processes)
        batches = encode(
            model, mine, subject.transform, accelerator, batch_size=subject.batch_size, workers=subject.workers
        )
        return gather_rows(torch.cat(list(batches)))


def with_classifier(encoder: nn.Module, classes: int) -> nn.Module:
    """A copy of a timm model with a linear classifier whose weights are zero.

    Raises:
        UserError: the model cannot have one.
    """
    model = copy.deepcopy(encoder)
    try:
        model.reset_classifier(classes)  # type: ignore[operator]
        head = model.get_classifier()  # type: ignore[operator]
        nn.init.zeros_(head.weight)
        nn.init.zeros_(head.bias)
    except Exception as error:  # not every timm model has a linear head
        raise UserError(
            f"--protocol fine-tune: {type(encoder).__name__} takes no linear classifier: {error}"
        ) from error
    return model
