"""One optimiser step, and the batches that it learns from."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import torch
from accelerate import Accelerator

from sslzoo.data.batch import Batch
from sslzoo.data.loader import epoch_batches
from sslzoo.data.pictures import Pictures
from sslzoo.data.stream import StreamedPictures
from sslzoo.data.threads import threaded_map
from sslzoo.data.views import draw, make_view
from sslzoo.distributed import average_norm_statistics
from sslzoo.experiment import Experiment
from sslzoo.method import InBatchMethod, Method, MethodOutput
from sslzoo.train.finite import FiniteCheck
from sslzoo.train.gradient_cache import accumulate_with_all_negatives
from sslzoo.train.monitor import IntervalMeans
from sslzoo.train.setup import Learner


@dataclass
class Stepper:
    """Takes a learner from one optimiser step to the next."""

    experiment: Experiment
    pictures: Pictures | StreamedPictures
    learner: Learner
    accelerator: Accelerator
    means: IntervalMeans
    """Of the interval under way."""
    step: int = 0
    """Optimiser steps done."""

    def __post_init__(self) -> None:
        self.finite = FiniteCheck(self.method)

    @property
    def method(self) -> Method:
        """The method itself, without what wraps it for several processes."""
        method: Method = self.accelerator.unwrap_model(self.learner.model)
        return method

    @property
    def per_epoch(self) -> int:
        """Optimiser steps of an epoch."""
        return self.learner.steps_per_epoch

    @property
    def total(self) -> int:
        """Optimiser steps of the whole training."""
        return self.experiment.epochs * self.per_epoch

    def batches(self, epoch: int, skip: int) -> Iterator[Batch]:
        """This process's batches of an epoch, from optimiser step `skip` of it on.

        For a GPU the draws are made in the background, on the host: it is spared some hundred small operations a step.
        """
        stored = epoch_batches(
            self.pictures,
            seed=self.experiment.seed,
            epoch=epoch,
            batch_size=self.experiment.batch_size // self.experiment.accumulate // self.accelerator.num_processes,
            rank=self.accelerator.process_index,
            world=self.accelerator.num_processes,
            start=skip * self.experiment.accumulate,
            workers=self.experiment.dataset.workers,
        )
        if self.accelerator.device.type == "cpu":
            return stored
        return threaded_map(partial(self.with_draws, epoch=epoch), stored)

    def with_draws(self, batch: Batch, epoch: int) -> Batch:
        """The batch, and what is drawn for each of its views."""
        experiment = self.experiment
        recipes = [experiment.recipe(name) for name in experiment.method.views]
        draws = [
            draw(recipe, batch.sizes, batch.ids, seed=experiment.seed, epoch=epoch, view=view)
            for view, recipe in enumerate(recipes)
        ]
        return batch._replace(draws=tuple(draws)).pinned()

    def optimise(self, batches: Iterator[Batch], epoch: int) -> MethodOutput:
        """One optimiser step."""
        if self.learner.schedule is not None:
            self.learner.schedule.step_update(self.step)
        pieces = (next(batches).to(self.accelerator.device) for _ in range(self.experiment.accumulate))
        if self.experiment.gradient_cache:
            output = self.backward_together(list(pieces), epoch)
        else:
            for batch in pieces:
                output = self.backward(batch, epoch)
        self.step += 1
        average_norm_statistics(self.method)
        self.method.after_step(self.step / self.total)
        return output

    def backward(self, batch: Batch, epoch: int) -> MethodOutput:
        """Forward and backward of a batch, and the optimiser's step after the last one of those accumulated."""
        labels = {"labels": batch.labels} if self.method.supervised else {}
        with self.accelerator.accumulate(self.learner.model):
            output: MethodOutput = self.learner.model(self.views(batch, epoch), batch.ids, **labels)
            self.accelerator.backward(output.loss)
            self.require_finite(output)
            self.method.after_batch(output)
            self.step_optimizer()
        self.means.add(output, pictures=len(batch.ids) * self.accelerator.num_processes)
        return output

    def backward_together(self, batches: list[Batch], epoch: int) -> MethodOutput:
        """The same for accumulated batches that share their negatives."""
        assert isinstance(self.method, InBatchMethod)

        def finish(output: MethodOutput) -> None:
            self.require_finite(output)
            self.step_optimizer()

        output = accumulate_with_all_negatives(
            self.accelerator,
            self.learner.model,
            self.method,
            batches,
            views=lambda batch: self.views(batch, epoch),
            finish=finish,
        )
        self.method.after_batch(output)
        self.means.add(output, pictures=sum(len(batch.ids) for batch in batches) * self.accelerator.num_processes)
        return output

    def step_optimizer(self) -> None:
        """A step of the optimiser, where all batches of it have been accumulated."""
        if self.accelerator.sync_gradients:
            self.method.before_step(self.step / self.total)
        self.learner.optimizer.step()
        self.learner.optimizer.zero_grad()

    def require_finite(self, output: MethodOutput) -> None:
        """Look at a pass before anything that lasts takes what came out of it; a scaler looks at gradients itself."""
        self.finite.look(self.step + 1, output, gradients=self.accelerator.scaler is None)

    def views(self, batch: Batch, epoch: int) -> list[torch.Tensor]:
        """The method's inputs, one (B, C, size, size) tensor a view."""
        experiment, on_cuda = self.experiment, self.accelerator.device.type == "cuda"
        views = [
            make_view(
                experiment.recipe(name),
                batch,
                seed=experiment.seed,
                epoch=epoch,
                view=index,
                mean=experiment.dataset.mean,
                std=experiment.dataset.std,
                compiled=experiment.compile_views,
            )
            for index, name in enumerate(experiment.method.views)
        ]
        return [view.contiguous(memory_format=torch.channels_last) for view in views] if on_cuda else views
