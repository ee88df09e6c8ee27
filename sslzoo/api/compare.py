"""`sslzoo.compare`."""

import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console

from sslzoo.api.arguments import Names, list_words, open_data
from sslzoo.api.run import Run
from sslzoo.comparison.command import run_comparison
from sslzoo.comparison.csv_files import list_rows, list_runs
from sslzoo.comparison.request import Request, parse_request, require_shared
from sslzoo.data.memory import NAME as MEMORY
from sslzoo.runtime.errors import UserError, format_value
from sslzoo.runtime.isolation import preserve_process


@dataclass(frozen=True)
class Comparison:
    """The result of a comparison."""

    scores: pd.DataFrame
    """Mean accuracy in percent by method, half-width of its 95 % interval, and difference to the baseline."""
    runs: pd.DataFrame
    """The runs: accuracies in percent, cost, and folder."""
    path: Path
    """Folder of the runs and the page."""
    failed: tuple[str, ...] = ()
    """Descriptions of the runs that failed, with their logs."""

    @property
    def page(self) -> Path:
        """The page of results, an HTML file."""
        return self.path / "report.html"

    def _repr_html_(self) -> str:
        html: str = self.scores.to_html()
        return html


def compare(
    methods: str | Sequence[str] = (),
    seeds: int | Sequence[int] = 3,
    data: str | os.PathLike[str] | None = None,
    *,
    runs: Sequence[str | os.PathLike[str] | Run] = (),
    vary: Mapping[str, Sequence[Any]] | Sequence[str] = (),
    baseline: str | None = None,
    output: str | os.PathLike[str] | None = None,
    launch: str | Sequence[str] = (),
    mixed: bool = False,
    config: Names = (),
    plugin: Names = (),
    progress: bool = True,
    **settings: Any,
) -> Comparison:
    """Train methods with several seeds and compare them, as `run.py compare` does on the command line.

    Each run is a process of its own. Runs that finished earlier in `output` are not repeated. Each key of a config is
    an argument, and a setting of a method, target or loss applies to the methods that have it.

    Args:
        methods: names such as `moco`, or `moco:hard` for another target.
        seeds: number of seeds, or the seeds.
        data: name or path of a data set, see `sslzoo.train`; a data set in memory is not possible.
        runs: finished runs to compare, instead of `methods`.
        vary: settings and their values, such as `{"target.neighbors": [1, 5]}`, with a row for each; with `runs`, the
            names of settings that may differ.
        baseline: label of the row that others are compared with; by default the first.
        output: folder of runs and page; by default one in `comparisons/`, the same one for equal rows.
        launch: launcher of the runs, such as `accelerate launch --multi_gpu --num_processes 8`.
        mixed: whether rows may have another data set, budget, backbone and so on.
        config: config files, or names of shipped ones such as `recipe/cpu`.
        plugin: files or modules that register custom parts.
        progress: whether to print progress and results.
        settings: all other keys of a config.

    Raises:
        UserError: an argument or setting is invalid, a custom part is defined in a notebook, or all runs failed.
        Interrupted: the comparison was interrupted, and the current run has saved a checkpoint; the same call resumes.
    """
    given = {"methods": methods, "seeds": seeds, "data": data, "runs": runs, "vary": vary, "baseline": baseline}
    given |= {"output": output, "launch": launch, "mixed": mixed, "config": config, "plugin": plugin, **settings}
    words = [
        *_list_own_words(methods, runs, vary, baseline, output, launch),
        *(["--mixed"] if mixed else []),
        *list_words(config=config, plugin=plugin),
    ]
    with preserve_process(), open_data(data, settings) as layer:
        if layer.get("dataset", {}).get("name") == MEMORY:
            raise UserError(
                "compare: the data set is in memory, which the processes of the runs cannot read; save its images to a "
                "folder and give the path as data="
            )
        request = _create_request(words, seeds, layer, _format_call(given))
        outcome = run_comparison(request, Console(quiet=not progress))
    if outcome.comparison is None:
        raise UserError(f"all runs failed; the first: {outcome.failed[0]}")
    scores, records = list_rows(outcome.comparison), list_runs(outcome.comparison)
    return Comparison(
        pd.DataFrame(scores).set_index("label"), pd.DataFrame(records), outcome.folder.path, tuple(outcome.failed)
    )


def _create_request(words: list[str], seeds: int | Sequence[int], layer: dict[str, Any], call: str) -> Request:
    """Create the request of these arguments, with settings that keep their types."""
    for name, value in layer.items():
        if not isinstance(value, dict) or "name" in value:
            require_shared(f"--{name.replace('_', '-')}")
    request = parse_request(words)
    if request.runs and layer:
        raise UserError(f"compare runs: takes finished runs, so {next(iter(layer))} is not allowed")
    numbers = list(range(seeds)) if isinstance(seeds, int) else list(seeds)
    if not numbers or not all(isinstance(seed, int) and seed >= 0 for seed in numbers):
        raise UserError(f"seeds = {seeds!r}: must be a number of seeds, as in 3, or a list, as in [0, 4, 7]")
    return replace(request, seeds=tuple(numbers), settings=layer, call=call)


def _list_own_words(
    methods: str | Sequence[str],
    runs: Sequence[str | os.PathLike[str] | Run],
    vary: Mapping[str, Sequence[Any]] | Sequence[str],
    baseline: str | None,
    output: str | os.PathLike[str] | None,
    launch: str | Sequence[str],
) -> list[str]:
    """Return the arguments of `compare` itself as on its command line."""
    names = [methods] if isinstance(methods, str) else list(methods)
    words = ["--methods", ",".join(names)] if names else []
    if runs:
        words += ["--runs", *(str(run.path) if isinstance(run, Run) else os.fspath(run) for run in runs)]
    for setting in vary:
        values = vary[setting] if isinstance(vary, Mapping) else ()
        words += ["--vary", f"{setting}={','.join(_format_word(setting, v) for v in values)}" if values else setting]
    words += ["--baseline", baseline] if baseline is not None else []
    words += ["--folder", os.fspath(output)] if output is not None else []
    launcher = launch if isinstance(launch, str) else shlex.join(launch)
    return words + (["--launch", launcher] if launcher else [])


def _format_word(setting: str, value: Any) -> str:
    """Format a value of an axis as on the command line, from which it is parsed without loss."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str | int | float | None):
        return str(value)
    raise UserError(f"vary {setting} = {format_value(value)}: must be numbers, texts, True, False or None")


def _format_call(given: Mapping[str, Any]) -> str:
    """Format the call that repeats a comparison, without arguments that are not given."""
    words = [f"{name}={value!r}" for name, value in given.items() if value not in ((), None, False)]
    return f"sslzoo.compare({', '.join(words)})"
