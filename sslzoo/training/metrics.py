"""Log metrics during training."""

from accelerate import Accelerator
from torch import Tensor

from sslzoo.evaluation.representation import collapse_warning
from sslzoo.training.console import TrainingDisplay
from sslzoo.training.folder import RunFolder
from sslzoo.training.monitor import IntervalMeans, measure_embeddings

MIN_STEPS_TO_WARN = 50
"""Steps before the first collapse warning: early embeddings, and a queue of random keys, are not informative."""


class MetricsLogger:
    """Writes metrics to metrics.jsonl and the trackers, shows them, and warns when the embeddings collapse."""

    def __init__(
        self, accelerator: Accelerator, means: IntervalMeans, folder: RunFolder, display: TrainingDisplay
    ) -> None:
        self.accelerator, self.means, self.folder, self.display = accelerator, means, folder, display
        self._collapsed = False
        """Whether the last interval ended with a collapse warning."""
        self._write_error: str | None = None
        """Why the last line of metrics.jsonl could not be written; None if it was written."""

    def log_interval(self, step: int, learning_rate: float, embeddings: Tensor) -> None:
        """Log the means over the steps since the last call, and statistics of the last embeddings (B, D)."""
        values = self.means.compute_and_reset(self.accelerator)
        values |= {"lr": learning_rate} | measure_embeddings(embeddings)
        self.write(step, values)
        self.display.show_metrics(step, values)
        warning = collapse_warning(values["embedding_std"], values["effective_rank"], embeddings.shape)
        if step <= max(MIN_STEPS_TO_WARN, self.display.total_steps // 10):
            warning = None
        if warning and not self._collapsed:
            self.display.warn(step, warning)
        self._collapsed = warning is not None

    def write(self, step: int, values: dict[str, float]) -> None:
        """Write metrics of a step to metrics.jsonl and the trackers."""
        if self.accelerator.is_main_process:
            epoch = step / self.display.steps_per_epoch
            reason = self.folder.append_metrics({"step": step, "epoch": epoch, **values})
            if reason is not None and self._write_error is None:
                self.display.warn(
                    step, f"cannot write metrics.jsonl ({reason}); its lines are kept in memory and written later"
                )
            self._write_error = reason
        self.accelerator.log(values, step=step)
