"""`sslzoo.evaluate`."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from sslzoo.api.arguments import Names, list_words, open_data
from sslzoo.evaluation.compose import compose_jobs
from sslzoo.evaluation.run import evaluate as run_jobs
from sslzoo.evaluation.weights import select_weights
from sslzoo.runtime.errors import UserError
from sslzoo.runtime.isolation import preserve_process


@dataclass(frozen=True)
class Evaluation:
    """The result of an evaluation."""

    result: dict[str, Any]
    """The content of result.json: weights, data, and the scores of each protocol with how they were measured."""
    path: Path
    """Folder with the result, confusion matrices and accuracies per class."""

    @property
    def scores(self) -> pd.DataFrame:
        """Test accuracy in [0, 1] by protocol and classifier, with its 95 % interval and top-5 accuracy."""
        rows = [
            {
                "protocol": protocol,
                "classifier": classifier,
                "accuracy": score["accuracy"],
                "low": score["interval"][0],
                "high": score["interval"][1],
                "top5": score["top5"],
            }
            for protocol, scores in self.result.get("protocols", {}).items()
            for classifier, score in scores.items()
            if isinstance(score, dict) and "accuracy" in score
        ]
        columns = ["protocol", "classifier", "accuracy", "low", "high", "top5"]
        return pd.DataFrame(rows, columns=columns).set_index(["protocol", "classifier"])

    def _repr_html_(self) -> str:
        html: str = self.scores.to_html()
        return html


def evaluate(
    weights: object = None,
    data: object = None,
    protocols: Names = (),
    *,
    backbone: str | Mapping[str, Any] | None = None,
    output: str | os.PathLike[str] | None = None,
    config: Names = (),
    plugin: Names = (),
    progress: bool = True,
    **settings: Any,
) -> Evaluation:
    """Evaluate an encoder, as `run.py evaluate` does on the command line.

    Each setting of `evaluate` is an argument: `img_size=224`, or `dataset={"test": "validation"}`.

    Args:
        weights: a `Run` or the path of its folder, a name of timm such as `resnet50.a1_in1k`, `hf-hub:owner/model`, or
            the path of a file with weights. None evaluates `backbone` with the weights that settings select, such as
            `untrained=True`.
        data: see `sslzoo.train`; by default the data set of the run, or `digits`.
        protocols: names such as `knn` and `linear`, or paths of protocol files; by default that of the data set.
        backbone: name of the model of a file that does not contain it, or a mapping of settings.
        output: folder of the result; by default a new one in the run, or in `evaluations/`.
        config: config files, or names of shipped ones.
        plugin: files or modules that register custom parts.
        progress: whether to print progress and results.
        settings: all other settings of `evaluate`.

    Raises:
        UserError: a setting, the data or the weights are invalid.
    """
    given = dict(settings)
    if output is not None:
        if "folder" in settings:
            raise UserError(f"output = {os.fspath(output)!r}: is the same as folder; give one of them")
        given["folder"] = Path(output)
    name = backbone if isinstance(backbone, str) else None
    if isinstance(backbone, Mapping):
        name = backbone.get("name")
        given["backbone"] = {key: value for key, value in backbone.items() if key != "name"}
    words = select_weights(weights, name) + list_words(config=config, plugin=plugin, protocol=protocols)
    held = getattr(weights, "data", None)
    if data is None and not isinstance(held, str | os.PathLike):  # the config of a run names other data sets
        data = held
    with preserve_process(), open_data(data, given) as layer:
        result, folder = run_jobs(compose_jobs(words, layer), quiet=not progress)
    return Evaluation(result, folder)
