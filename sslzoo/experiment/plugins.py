"""Load the plug-ins that configs and the command line name."""

import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from sslzoo.config.layers import Layer
from sslzoo.config.registry import MAIN, Registry, load_plugin
from sslzoo.data.sources import DATASETS
from sslzoo.experiment.layers import SourcedLayer
from sslzoo.losses import LOSSES
from sslzoo.method.base import METHODS
from sslzoo.runtime.errors import UserError, format_value
from sslzoo.targets import TARGETS

PARTS: dict[tuple[str, str], Registry[Any]] = {
    ("method", "name"): METHODS,
    ("target", "name"): TARGETS,
    ("loss", "name"): LOSSES,
    ("dataset", "source"): DATASETS,
}
"""Registry of each setting that names a class."""


def load_plugins(layers: Iterable[SourcedLayer], arguments: Iterable[str] = ()) -> list[str]:
    """Load the plug-ins of the command line, then those of layers that this user has loaded before.

    Args:
        layers: (file, content); a relative path of a plug-in is first looked up in the folder of its file.
        arguments: files and modules of `--plugin`.

    Returns:
        Absolute paths and module names, which a config records so that the plug-ins are found from any folder.

    Raises:
        UserError: a plug-in does not exist or cannot be imported, `plugin` of a layer is not a list, or it names code
            that this user has not loaded before, or a notebook that defined a part of the layer is not running.
    """
    named = [load_plugin(plugin) for plugin in arguments]
    loaded = []
    for source, layer in layers:
        setting = layer.get("plugin", [])
        plugins = [setting] if isinstance(setting, str) else setting
        if not isinstance(plugins, list) or not all(isinstance(plugin, str) for plugin in plugins):
            raise UserError(f"{source}: plugin = {format_value(setting)}: must be a file or a list of files")
        if MAIN in plugins:
            _require_defined(layer, source)
        loaded += [
            load_plugin(plugin, setting=f"{source}: plugin", beside=Path(source).parent)
            for plugin in plugins
            if plugin != MAIN
        ]
    return list(dict.fromkeys([*loaded, *named]))


def add_main_module(plugins: Sequence[str], content: Layer) -> list[str]:
    """Add `__main__` to the plug-ins of a config if a notebook or script defines one of its parts."""
    in_main = any(registry.find_module(name) == MAIN for _, name, registry in _find_parts(content))
    return [*plugins, MAIN] if in_main else [*plugins]


def find_plugins(content: Layer) -> list[str]:
    """Find the files and modules of a config's custom parts that were imported without `--plugin`.

    They are recorded as trusted, so that the config can be read in other processes.
    """
    modules = {registry.find_module(name) for _, name, registry in _find_parts(content)} - {None, MAIN}
    files = {module: getattr(sys.modules.get(str(module)), "__file__", None) for module in modules}
    return [load_plugin(str(name) if "." in str(name) else file) for name, file in files.items() if file is not None]


def _require_defined(layer: Layer, source: str) -> None:
    for part, name, registry in _find_parts(layer):
        if name not in registry.names():
            raise UserError(
                f"{source}: {part} {name} was defined in a notebook or script, which another process cannot import; "
                "move the class to a file and name it with --plugin FILE (plugin= in Python)"
            )


def _find_parts(layer: Layer) -> Iterator[tuple[str, str, Registry[Any]]]:
    """Yield the kind, name and registry of each part that a layer names."""
    for (part, key), registry in PARTS.items():
        settings = layer.get(part)
        name = settings.get(key) if isinstance(settings, dict) else settings
        if isinstance(name, str):
            yield part, name, registry
