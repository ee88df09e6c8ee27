"""Names of parts: methods, targets, losses and datasets, the built-in ones found as any other package's are."""

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

from sslzoo.runtime.errors import UserError, near_misses

Part = TypeVar("Part", bound=type)

NAME = re.compile(r"[A-Za-z0-9][\w.+-]*", re.ASCII)
"""Valid names: they are used on command lines, between commas, and in folder names."""


class Registry(Generic[Part]):
    """Classes of one kind by name.

    A name comes from an entry-point group (`sslzoo.methods`, for instance), imported when it is first asked for,
    or from the decorator `@registry.register("name")` in a file given by `--plugin`.
    """

    def __init__(self, kind: str, *, group: str | None = None, base: type = object) -> None:
        self.kind = kind
        self.group = group or f"sslzoo.{kind}s"
        self.base = base
        """What every part of this kind derives from."""
        self._classes: dict[str, Part] = {}
        self._entry_points: dict[str, list[EntryPoint]] | None = None

    def register(self, name: str) -> Callable[[Part], Part]:
        """Decorator that names a class.

        Raises:
            UserError: another class has that name already, both owners are named; the class has another name already,
                or is of another kind; or it is no name.
        """
        if not NAME.fullmatch(name):
            raise UserError(
                f"{self.kind} {name!r}: a name is made of letters, digits and - _ . +, as in my-{self.kind}"
            )

        def add(part: Part) -> Part:
            if not issubclass(part, self.base):
                raise UserError(f"{self.kind} {name!r}: {_where(part)} does not derive from {self.base.__name__}")
            other = self._classes.get(name)
            if other is not None and _address(other) != _address(part):
                raise self._clash(name, self.owner(name), _where(part))
            for entry in self._found().get(name, ()):
                if _package(entry.module) != _package(part.__module__):  # it may re-export the class
                    raise self._clash(name, _described(entry), _where(part))
            for known, given in self._classes.items():
                if part is given and known != name:
                    raise UserError(f"{self.kind} {name!r}: {_where(part)} is named {known!r} already")
            self._classes[name] = part
            part.name = name  # type: ignore[attr-defined]  # every part declares it
            return part

        return add

    def names(self) -> list[str]:
        """All known names, sorted; nothing is imported for it."""
        return sorted({*self._classes, *self._found()})

    def owner(self, name: str) -> str | None:
        """Who defines a name: `module:class (package version)` or `file:class`, or None where nobody does."""
        entries = self._found().get(name)
        if entries:
            return " and ".join(map(_described, entries))
        part = self._classes.get(name)
        return None if part is None else _where(part)

    def get(self, name: str) -> Part:
        """The class of that name.

        Raises:
            UserError: no such name, with the near misses; two packages define it; or its module does not import, with
                the reason.
        """
        entries = self._found().get(name, [])
        if len(entries) > 1:
            raise self._clash(name, *map(_described, entries))
        for entry in entries:
            self._load(name, entry)
        if name not in self._classes:
            hint = near_misses(name, self.names()) or "; `list` shows what there is, --plugin FILE adds your own"
            raise UserError(f"--{self.kind} {name}: no such {self.kind}{hint}")
        return self._classes[name]

    def __iter__(self) -> Iterator[tuple[str, Part]]:
        """Names and classes; what two packages define or what does not import is left out."""
        for name in self.names():
            with contextlib.suppress(UserError):
                yield name, self.get(name)

    def _load(self, name: str, entry: EntryPoint) -> None:
        try:
            loaded = entry.load()
        except UserError:
            raise
        except (Exception, SystemExit) as error:  # a third party's module may fail in any way
            raise UserError(
                f"--{self.kind} {name}: {_described(entry)} does not import: {type(error).__name__}: {error}"
            ) from error
        if name not in self._classes:
            raise UserError(f"--{self.kind} {name}: {_described(entry)} does not register a {self.kind} of that name")
        if isinstance(loaded, type) and loaded is not self._classes[name]:
            raise self._clash(name, _described(entry), _where(self._classes[name]))

    def _found(self) -> dict[str, list[EntryPoint]]:
        if self._entry_points is None:
            self._entry_points = {}
            for entry in entry_points(group=self.group):
                others = self._entry_points.setdefault(entry.name, [])
                if entry.value not in [other.value for other in others]:
                    others.append(entry)
        return self._entry_points

    def _clash(self, name: str, *owners: str | None) -> UserError:
        return UserError(f"{self.kind} {name!r} is defined twice: by {' and by '.join(map(str, owners))}")


def load_plugin(plugin: str, *, setting: str = "--plugin", beside: Path | None = None) -> str:
    """Import a Python file, or a module by its dotted name, so that its decorators register what it defines.

    A file finds the others of its folder by their names, behind everything that is installed. Loading it again does
    nothing.

    Args:
        plugin: path or dotted name.
        setting: what the user gave it by, for errors.
        beside: folder that is searched first for a relative path, and for a file that is no longer at its recorded path.

    Returns:
        What finds it again from any folder: the absolute path, or the dotted name.

    Raises:
        UserError: there is no such file or module, or it fails to import.
    """
    places = [Path(plugin)] if beside is None else [beside / plugin, Path(plugin), beside / Path(plugin).name]
    file = next((place.resolve() for place in places if place.is_file()), None)
    if file is None and not _is_module(plugin):
        raise UserError(f"{setting} {plugin}: no such file{_hint(plugin, places)}")
    try:
        if file is None:
            importlib.import_module(plugin)
            return plugin
        _import_file(file)
    except UserError:
        raise
    except (Exception, SystemExit) as error:  # the user's file may fail in any way
        reason = f"{type(error).__name__}: {error}{_line(error, file)}"
        raise UserError(f"{setting} {plugin}: does not import: {reason}") from error
    return str(file)


def _is_module(name: str) -> bool:
    """Whether a dotted name leads to a module; its packages are imported."""
    if name.endswith(".py") or not all(part.isidentifier() for part in name.split(".")):
        return False
    try:
        spec = importlib.util.find_spec(name)
    except ModuleNotFoundError as error:
        return error.name is None or not f"{name}.".startswith(f"{error.name}.")
    except Exception:  # it exists, and importing it raises the error
        return True
    return spec is not None and spec.has_location


def _hint(plugin: str, places: list[Path]) -> str:
    """Hint for a plug-in that does not exist."""
    if len(places) > 1:
        return f"; looked for {' and '.join(dict.fromkeys(map(str, places)))}"
    close = difflib.get_close_matches(plugin, map(str, Path(plugin).parent.glob("*.py")), n=1)
    if close:
        return f"; did you mean {close[0]}?"
    return "" if plugin.endswith(".py") else ", nor a module of that name"


def _import_file(file: Path) -> None:
    """Import a file, by its own name where that leads to it, so that one module it is for whoever imports it."""
    if str(file.parent) not in sys.path:
        sys.path.append(str(file.parent))
    importlib.invalidate_caches()
    if _leads_to(file.stem, file):
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


def _leads_to(name: str, file: Path) -> bool:
    """Whether `import name` imports this file."""
    if not name.isidentifier():
        return False
    try:
        spec = importlib.util.find_spec(name)
    except ValueError:  # a module without a spec, such as __main__
        return False
    return spec is not None and spec.origin is not None and Path(spec.origin).resolve() == file


def _line(error: BaseException, file: Path | None) -> str:
    """Line of the file that an error comes from; a syntax error's message contains it already."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(file)]
    return f" (line {lines[-1]})" if lines else ""


def _package(module: str) -> str:
    return module.partition(".")[0]


def _address(part: type) -> str:
    return f"{part.__module__}:{part.__qualname__}"


def _where(part: type) -> str:
    """`file:class` of a class."""
    file = getattr(sys.modules.get(part.__module__), "__file__", None)
    return f"{file or part.__module__}:{part.__qualname__}"


def _described(entry: EntryPoint) -> str:
    """`module:class (package version)` of an entry point."""
    package = "" if entry.dist is None else f" ({entry.dist.name} {entry.dist.version})"
    return f"{entry.value}{package}"
