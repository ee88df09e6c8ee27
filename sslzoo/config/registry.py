"""Registries of methods, targets, losses and data sets; built-in ones use the same entry points as other packages."""

import contextlib
import difflib
import hashlib
import importlib
import importlib.util
import re
import sys
import traceback
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Generic, TypeVar

from sslzoo.config.trust import require_trusted, trust_plugin
from sslzoo.runtime.errors import UserError, near_misses

Part = TypeVar("Part", bound=type)

NAME = re.compile(r"[A-Za-z0-9][\w.+-]*", re.ASCII)
"""Valid names; they appear on command lines, in comma-separated lists and in folder names."""

MAIN = "__main__"
"""Module of the classes that a notebook or script defines."""


class Registry(Generic[Part]):
    """Classes of one kind by name.

    A class is registered by an entry point (group `sslzoo.methods`, for instance), which is imported on first use, or
    by the decorator `@registry.register("name")` in a file given with `--plugin`.
    """

    def __init__(self, kind: str, *, group: str | None = None, base: type = object) -> None:
        self.kind = kind
        self.group = group or f"sslzoo.{kind}s"
        self.base = base
        """Base class of all classes of this kind."""
        self._classes: dict[str, Part] = {}
        self._entry_points: dict[str, list[EntryPoint]] | None = None

    def register(self, name: str) -> Callable[[Part], Part]:
        """Return a decorator that registers a class under a name.

        A class replaces the earlier one of its name if both are defined at the same place, or both in a notebook.

        Raises:
            UserError: the name is invalid or belongs to another class (both owners are named), or the class has another
                name or does not derive from the base class.
        """
        if not NAME.fullmatch(name):
            raise UserError(
                f"{self.kind} {name!r}: a name consists of letters, digits and - _ . +, as in my-{self.kind}"
            )

        def add(part: Part) -> Part:
            if not issubclass(part, self.base):
                raise UserError(
                    f"{self.kind} {name!r}: {_describe_class(part)} does not derive from {self.base.__name__}"
                )
            other = self._classes.get(name)
            if other is not None and not _can_replace(other, part):
                raise self._duplicate_error(name, self.owner(name), _describe_class(part))
            for entry in self._load_entry_points().get(name, ()):
                if _package(entry.module) != _package(part.__module__):  # the entry point may re-export the class
                    raise self._duplicate_error(name, _describe_entry_point(entry), _describe_class(part))
            for known, registered in self._classes.items():
                if part is registered and known != name:
                    raise UserError(f"{self.kind} {name!r}: {_describe_class(part)} is already registered as {known!r}")
            self._classes[name] = part
            part.name = name  # type: ignore[attr-defined]  # every base class declares it
            return part

        return add

    def names(self) -> list[str]:
        """Return all names, sorted, without importing any class."""
        return sorted({*self._classes, *self._load_entry_points()})

    def owner(self, name: str) -> str | None:
        """Return who defines a name: `module:class (package version)` or `file:class`; None if it is unknown."""
        entries = self._load_entry_points().get(name)
        if entries:
            return " and ".join(map(_describe_entry_point, entries))
        part = self._classes.get(name)
        return None if part is None else _describe_class(part)

    def find_module(self, name: str) -> str | None:
        """Return the module that defines the class of that name; None if it is unknown or has an entry point."""
        part = self._classes.get(name)
        return None if part is None or name in self._load_entry_points() else part.__module__

    def get(self, name: str) -> Part:
        """Return the class of that name.

        Raises:
            UserError: the name is unknown, two packages define it, or its module cannot be imported.
        """
        entries = self._load_entry_points().get(name, [])
        if len(entries) > 1:
            raise self._duplicate_error(name, *map(_describe_entry_point, entries))
        for entry in entries:
            self._load(name, entry)
        if name not in self._classes:
            hint = near_misses(name, self.names()) or "; `list` shows all names, --plugin FILE adds your own"
            raise UserError(f"--{self.kind} {name}: no such {self.kind}{hint}")
        return self._classes[name]

    def __iter__(self) -> Iterator[tuple[str, Part]]:
        """Iterate over names and classes, without names that two packages define or that cannot be imported."""
        for name in self.names():
            with contextlib.suppress(UserError):
                yield name, self.get(name)

    def _load(self, name: str, entry: EntryPoint) -> None:
        try:
            loaded = entry.load()
        except UserError:
            raise
        except (Exception, SystemExit) as error:  # a third party's module may fail in any way
            reason = f"{type(error).__name__}: {error}"
            raise UserError(
                f"--{self.kind} {name}: {_describe_entry_point(entry)} cannot be imported: {reason}"
            ) from error
        if name not in self._classes:
            raise UserError(
                f"--{self.kind} {name}: {_describe_entry_point(entry)} does not register a {self.kind} of that name"
            )
        if isinstance(loaded, type) and loaded is not self._classes[name]:
            raise self._duplicate_error(name, _describe_entry_point(entry), _describe_class(self._classes[name]))

    def _load_entry_points(self) -> dict[str, list[EntryPoint]]:
        if self._entry_points is None:
            self._entry_points = {}
            for entry in entry_points(group=self.group):
                others = self._entry_points.setdefault(entry.name, [])
                if entry.value not in [other.value for other in others]:
                    others.append(entry)
        return self._entry_points

    def _duplicate_error(self, name: str, *owners: str | None) -> UserError:
        return UserError(f"{self.kind} {name!r} is defined twice: by {' and by '.join(map(str, owners))}")


def load_plugin(plugin: str, *, setting: str = "--plugin", beside: Path | None = None) -> str:
    """Import a Python file, or a module by its dotted name, so that its decorators register their classes.

    A file can import other files of its folder by name; installed packages have priority. Loading it again does
    nothing.

    Args:
        plugin: path or dotted name.
        setting: name of the setting in error messages.
        beside: folder of the config file that names the plug-in, which is searched first for a relative path, and last
            for a file that was moved; None for one that the command line names.

    Returns:
        The absolute path, or the dotted name; both are valid from any working directory.

    Raises:
        UserError: the file or module does not exist or cannot be imported, or a config file names one that this user
            has not loaded before.
    """
    paths = [Path(plugin)] if beside is None else [beside / plugin, Path(plugin), beside / Path(plugin).name]
    file = next((path.resolve() for path in paths if path.is_file()), None)
    name, first = (plugin, _find_package(plugin)) if file is None else (str(file), file)
    if beside is not None and first is not None:
        require_trusted(name, first, setting)
    if file is None and not _is_module(plugin):
        raise UserError(f"{setting} {plugin}: no such file{_missing_plugin_hint(plugin, paths)}")
    try:
        if file is None:
            importlib.import_module(plugin)
        else:
            _import_file(file)
    except UserError:
        raise
    except (Exception, SystemExit) as error:  # the user's file may fail in any way
        reason = f"{type(error).__name__}: {error}{_format_line(error, file)}"
        raise UserError(f"{setting} {plugin}: cannot be imported: {reason}") from error
    trust_plugin(name, first)
    return name


def _find_package(module: str) -> Path | None:
    """Return the file that importing a dotted name runs first, without importing it; None if there is none."""
    if module.endswith(".py") or not all(part.isidentifier() for part in module.split(".")):
        return None
    with contextlib.suppress(ValueError):  # a module without a spec, such as __main__
        spec = importlib.util.find_spec(_package(module))
        if spec is not None and spec.has_location and spec.origin is not None:
            return Path(spec.origin)
    return None


def _is_module(name: str) -> bool:
    """Whether a module of this dotted name exists; its parent packages are imported."""
    if name.endswith(".py") or not all(part.isidentifier() for part in name.split(".")):
        return False
    try:
        spec = importlib.util.find_spec(name)
    except ModuleNotFoundError as error:
        return error.name is None or not f"{name}.".startswith(f"{error.name}.")
    except Exception:  # it exists; importing it will raise the error
        return True
    return spec is not None and spec.has_location


def _missing_plugin_hint(plugin: str, paths: list[Path]) -> str:
    """Return the end of the error message for a missing plug-in."""
    if len(paths) > 1:
        return f"; searched {' and '.join(dict.fromkeys(map(str, paths)))}"
    close = difflib.get_close_matches(plugin, map(str, Path(plugin).parent.glob("*.py")), n=1)
    if close:
        return f"; did you mean {close[0]}?"
    return "" if plugin.endswith(".py") else " or module"


def _import_file(file: Path) -> None:
    """Import a file under its stem if that name resolves to the file, so that other imports give the same module."""
    if str(file.parent) not in sys.path:
        sys.path.append(str(file.parent))
    importlib.invalidate_caches()
    if _resolves_to(file.stem, file):
        importlib.import_module(file.stem)
        return
    name = f"{file.stem}_{hashlib.sha256(str(file).encode()).hexdigest()[:8]}"
    if name in sys.modules:
        return
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise ImportError("it is not a Python file")
    sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(sys.modules[name])
    except BaseException:
        del sys.modules[name]
        raise


def _resolves_to(name: str, file: Path) -> bool:
    """Whether `import name` imports this file."""
    if not name.isidentifier():
        return False
    try:
        spec = importlib.util.find_spec(name)
    except ValueError:  # a module without a spec, such as __main__
        return False
    return spec is not None and spec.origin is not None and Path(spec.origin).resolve() == file


def _format_line(error: BaseException, file: Path | None) -> str:
    """Return the line of the file in which an error was raised; syntax errors contain it already."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(file)]
    return f" (line {lines[-1]})" if lines else ""


def _package(module: str) -> str:
    return module.partition(".")[0]


def _can_replace(other: type, part: type) -> bool:
    """Whether a class is a new version of another: of the same place, or both of a notebook, whose cells are edited."""
    return _address(other) == _address(part) or other.__module__ == part.__module__ == MAIN


def _address(part: type) -> str:
    return f"{part.__module__}:{part.__qualname__}"


def _describe_class(part: type) -> str:
    """Return `file:class` of a class."""
    file = getattr(sys.modules.get(part.__module__), "__file__", None)
    return f"{file or part.__module__}:{part.__qualname__}"


def _describe_entry_point(entry: EntryPoint) -> str:
    """Return `module:class (package version)` of an entry point."""
    package = "" if entry.dist is None else f" ({entry.dist.name} {entry.dist.version})"
    return f"{entry.value}{package}"
