"""Fine-tuning: the whole encoder is trained with labels, each layer at its own rate."""

import copy
from typing import Any

import torch
from accelerate.utils import set_seed
from torch import Tensor, nn
from torch.nn import functional as F

from sslzoo.data.loader import batches_per_epoch, epoch_batches, ordered_batches
from sslzoo.data.pictures import Pictures
from sslzoo.distributed import gather_rows
from sslzoo.errors import UserError
from sslzoo.evaluate.classifier import Classifier
from sslzoo.evaluate.features import evaluating
from sslzoo.evaluate.labels import Indices
from sslzoo.evaluate.score import top_classes
from sslzoo.evaluate.settings import FineTuneConfig
from sslzoo.evaluate.subject import Subject
from sslzoo.optim import create_optimizer, create_schedule
from sslzoo.progress import Steps


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
        config, accelerator = self.config, self.subject.accelerator
        pictures = self.subject.train.subset(learn)
        batch_size, world = self.subject.share(config.batch_size, len(pictures)), accelerator.num_processes
        per_epoch = batches_per_epoch(len(pictures), batch_size, world)
        set_seed(self.seed)
        classifier = with_classifier(self.subject.encoder, self.subject.classes).to(accelerator.device)
        optimizer = create_optimizer(
            config.optimizer.model_copy(update={"lr": lr, "kwargs": config.optimizer.kwargs | self._layers()}),
            classifier,
            batch_size * world,
        )
        schedule = create_schedule(config.schedule, optimizer, epochs=config.epochs, steps_per_epoch=per_epoch)
        model, prepared = accelerator.prepare(classifier, optimizer)
        model.train()
        step = 0
        total = config.epochs * per_epoch * batch_size * world
        with Steps(self.subject.console, f"fine-tuning, lr {lr:g}", total) as shown:
            for epoch in range(config.epochs):
                for stored in epoch_batches(
                    pictures,
                    seed=self.seed,
                    epoch=epoch,
                    batch_size=batch_size,
                    rank=accelerator.process_index,
                    world=world,
                    workers=self.subject.workers,
                ):
                    batch = stored.to(accelerator.device)
                    view = self.subject.transform.view(self.subject.probe, batch, seed=self.seed, epoch=epoch)
                    if schedule is not None:
                        schedule.step_update(step)
                    loss = F.cross_entropy(model(view).float(), batch.labels, label_smoothing=config.label_smoothing)
                    accelerator.backward(loss)
                    prepared.step()
                    prepared.zero_grad()
                    step += 1
                    shown.advance(batch_size * world, f"epoch {epoch + 1}/{config.epochs}  loss {loss.item():.3f}")
        if not torch.isfinite(loss):
            raise UserError(f"evaluation.fine_tune.learning_rates: with {lr:g} the loss is {loss.item()}; lower it")
        accelerator.free_memory(model, prepared)
        return classifier

    def _layers(self) -> dict[str, Any]:
        return {} if self.config.layer_decay is None else {"layer_decay": self.config.layer_decay}

    @torch.no_grad()
    def _logits(self, model: nn.Module, pictures: Pictures) -> Tensor:
        """(N, C) of the test view, on the CPU of every process."""
        accelerator = self.subject.accelerator
        mine = pictures.share(accelerator.process_index, accelerator.num_processes)
        logits = []
        with evaluating(model):
            for stored in ordered_batches(mine, self.subject.batch_size, workers=self.subject.workers):
                with accelerator.autocast():
                    logits.append(model(self.subject.transform(stored.to(accelerator.device))).float().cpu())
        return gather_rows(torch.cat(logits))


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
