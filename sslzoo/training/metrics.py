"""Log metrics during training."""

from accelerate import Accelerator

from sslzoo.health.verdict import Verdict
from sslzoo.method.base import MethodOutput
from sslzoo.training.console import TrainingDisplay
from sslzoo.training.doctor import Doctor
from sslzoo.training.folder import RunFolder
from sslzoo.training.monitor import IntervalMeans
from sslzoo.training.signals import Signals


class MetricsLogger:
    """Writes metrics to metrics.jsonl and the trackers, shows them, and has the doctor examine them."""

    def __init__(
        self,
        accelerator: Accelerator,
        means: IntervalMeans,
        signals: Signals,
        folder: RunFolder,
        display: TrainingDisplay,
    ) -> None:
        self.accelerator, self.means, self.signals = accelerator, means, signals
        self.folder, self.display = folder, display
        self.doctor = Doctor(accelerator, folder, display)
        self._write_error: str | None = None
        """Why the last line of metrics.jsonl could not be written; None if it was written."""

    def log_interval(self, step: int, learning_rate: float, output: MethodOutput) -> Verdict:
        """Log the means over the steps since the last call, and the signals of the last batch.

        Returns:
            The verdict on the health of the run; on the main process only, see `Doctor`.
        """
        values = self.means.compute_and_reset(self.accelerator)
        values |= {"lr": learning_rate} | self.signals.measure(output, step)
        verdict = self.doctor.examine(step, values)
        self.write(step, values, health=verdict.kind)
        self.display.show_metrics(step, values)
        return verdict

    def write(self, step: int, values: dict[str, float], **texts: str) -> None:
        """Write metrics of a step to metrics.jsonl and the trackers, and texts to metrics.jsonl only."""
        if self.accelerator.is_main_process:
            epoch = step / self.display.steps_per_epoch
            reason = self.folder.append_metrics({"step": step, "epoch": epoch, **values, **texts})
            if reason is not None and self._write_error is None:
                self.display.warn(
                    step, f"cannot write metrics.jsonl ({reason}); its lines are kept in memory and written later"
                )
            self._write_error = reason
        self.accelerator.log(values, step=step)
