"""Plug-ins that config files may load: those that the user has loaded before, so that foreign code never runs unasked.

A plug-in that the command line names with `--plugin` is recorded by its path and SHA-256 once it is imported. The
`plugin:` of a config file or of a run folder then loads it, as long as it has not changed. `--trust-plugins`, which
sets `$SSLZOO_TRUST_PLUGINS`, permits all plug-ins.
"""

import json
import os
from contextlib import suppress
from pathlib import Path

from sslzoo.runtime.errors import UserError
from sslzoo.runtime.files import file_sha256, write_json

VARIABLE = "SSLZOO_TRUST_PLUGINS"

_trusted: dict[str, str] = {}
"""Plug-ins that this process has imported, for systems on which the record cannot be written."""


def trust_all_plugins() -> None:
    """Permit all plug-ins, in this process and those that it starts."""
    os.environ[VARIABLE] = "1"


def trust_plugin(name: str, file: Path | None) -> None:
    """Record a plug-in that was imported.

    Args:
        name: absolute path of the file, or dotted name of the module.
        file: that is imported first; None for a namespace package.
    """
    version = _version(file)
    if _trusted.get(name) == version:
        return
    _trusted[name] = version
    record = _read_record()
    if record.get(name) != version:
        with suppress(OSError):  # a read-only home folder
            _record_file().parent.mkdir(parents=True, exist_ok=True)
            write_json(_record_file(), record | {name: version})


def require_trusted(name: str, file: Path | None, setting: str) -> None:
    """Check that a plug-in of a config file may be imported.

    Raises:
        UserError: this user has not loaded it before, or it has changed since.
    """
    if os.environ.get(VARIABLE) == "1":
        return
    version = _version(file)
    if version == _trusted.get(name) or version == _read_record().get(name):
        return
    raise UserError(
        f"{setting} {name}: is code that you have not loaded before, or that has changed since; to run it, name it "
        f"with --plugin {name}, or permit all plug-ins with --trust-plugins"
    )


def _version(file: Path | None) -> str:
    return "" if file is None else f"{file} {file_sha256(file)}"


def _record_file() -> Path:
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "sslzoo" / "plugins.json"


def _read_record() -> dict[str, str]:
    try:
        record = json.loads(_record_file().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}
