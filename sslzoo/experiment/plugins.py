"""Load the plug-ins that configs and the command line name."""

from collections.abc import Iterable
from pathlib import Path

from sslzoo.config.registry import load_plugin
from sslzoo.experiment.layers import SourcedLayer
from sslzoo.runtime.errors import UserError, format_value


def load_plugins(layers: Iterable[SourcedLayer], arguments: Iterable[str] = ()) -> list[str]:
    """Load the plug-ins of the command line, then those of layers that this user has loaded before.

    Args:
        layers: (file, content); a relative path of a plug-in is first looked up in the folder of its file.
        arguments: files and modules of `--plugin`.

    Returns:
        Absolute paths and module names, which a config records so that the plug-ins are found from any folder.

    Raises:
        UserError: a plug-in does not exist or cannot be imported, `plugin` of a layer is not a list, or it names code
            that this user has not loaded before.
    """
    named = [load_plugin(plugin) for plugin in arguments]
    loaded = []
    for source, layer in layers:
        setting = layer.get("plugin", [])
        plugins = [setting] if isinstance(setting, str) else setting
        if not isinstance(plugins, list) or not all(isinstance(plugin, str) for plugin in plugins):
            raise UserError(f"{source}: plugin = {format_value(setting)}: must be a file or a list of files")
        loaded += [load_plugin(plugin, setting=f"{source}: plugin", beside=Path(source).parent) for plugin in plugins]
    return list(dict.fromkeys([*loaded, *named]))
