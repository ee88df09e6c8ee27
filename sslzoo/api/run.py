"""`sslzoo.Run`: a finished or unfinished run."""

import os
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from torch import nn

from sslzoo.api.arguments import Names, list_names
from sslzoo.config.folders import find_newest_weights
from sslzoo.config.registry import load_plugin
from sslzoo.experiment.compose import compose
from sslzoo.experiment.schema import Experiment
from sslzoo.runtime.errors import UserError
from sslzoo.runtime.files import read_json
from sslzoo.runtime.isolation import preserve_random_state
from sslzoo.training.folder import RunFolder

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from sslzoo.api.evaluate import Evaluation


class Run:
    """The folder of a run, finished or not.

    Args:
        path: the folder.
        plugin: files or modules that register its custom parts, if they are not recorded in the run or have changed.
        data: the data set in memory that it was trained on, for `evaluate` and `sslzoo.train(resume=run)`.

    Raises:
        UserError: it is not the folder of a run, or a plug-in cannot be imported.
    """

    def __init__(self, path: str | os.PathLike[str], *, plugin: Names = (), data: object = None) -> None:
        self.path = Path(path)
        """The folder."""
        self.data = data
        """The data set in memory, or the name or path, that the run was created with."""
        self._folder = RunFolder(self.path)
        self._plugin = list_names(plugin)
        for name in self._plugin:
            load_plugin(name)
        if not self._folder.config.is_file():
            raise UserError(f"{self.path}: not a run folder (it has no config.yaml)")

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r}), {'finished' if self.finished else 'unfinished'}"

    @property
    def finished(self) -> bool:
        """Whether training and the final evaluation have finished."""
        return self._folder.summary.is_file()

    @cached_property
    def config(self) -> Experiment:
        """All settings, as in `run.config.optimizer.lr`; `run.config.as_yaml()` is the text of config.yaml.

        Raises:
            UserError: a custom part is not known; name its file as `plugin`.
        """
        words = ["--plugin", *self._plugin] if self._plugin else []
        return compose(["--config", str(self._folder.config), *words])

    @property
    def summary(self) -> dict[str, Any]:
        """The content of summary.json: scores, how they were measured, time and memory.

        Raises:
            UserError: the run is not finished, or the file is damaged.
        """
        if not self.finished:
            raise UserError(
                f"{self.path}: the run is not finished; sslzoo.train(resume={str(self.path)!r}) finishes it"
            )
        return read_json(self._folder.summary)

    @property
    def metrics(self) -> pd.DataFrame:
        """The metrics so far, with a row for each step that was logged; NaN where a metric was not measured."""
        rows: dict[int, dict[str, float]] = {}
        for record in self._folder.read_metrics():
            rows.setdefault(record["step"], {}).update(record)
        frame = pd.DataFrame(list(rows.values()))
        return frame if frame.empty else frame.set_index("step")

    def plot(self) -> "Figure":
        """Plot loss and kNN accuracy over epochs."""
        from sslzoo.report.plots import plot_curves  # matplotlib takes a second to import

        title = f"{self.config.method.name} on {self.config.dataset.name}"
        return plot_curves(list(self._folder.read_metrics()), title=title)

    def backbone(self) -> nn.Module:
        """Create the timm model with the trained weights, without classifier, in evaluation mode on the CPU.

        The weights of an unfinished run are those of its newest checkpoint.

        Raises:
            UserError: the run has no checkpoint yet, or its weights are damaged.
        """
        from sslzoo.modules.backbones import create_backbone

        config = self.config
        backbone = config.backbone.model_copy(
            update={"pretrained": False, "checkpoint": self._find_weights(), "encoder": None}
        )
        with preserve_random_state():
            model = create_backbone(
                backbone, in_chans=config.dataset.channels, img_size=config.img_size, view_sizes=config.view_sizes
            )
        return model.eval()

    def evaluate(self, protocols: Names = (), data: object = None, **settings: Any) -> "Evaluation":
        """Evaluate the trained backbone, see `sslzoo.evaluate`.

        Args:
            protocols: names such as `knn` and `linear`; by default that of the data set.
            data: another data set, see `sslzoo.train`.
            settings: further arguments of `sslzoo.evaluate`.
        """
        from sslzoo.api.evaluate import evaluate

        return evaluate(self, data=data, protocols=protocols, **settings)

    def _find_weights(self) -> Path:
        if self._folder.backbone.is_file():
            return self._folder.backbone
        saved = find_newest_weights(self.path)
        if saved is None:
            raise UserError(f"{self.path}: the run has no checkpoint yet")
        return saved
