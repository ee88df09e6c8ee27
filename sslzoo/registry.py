"""Names of parts: methods, targets, losses and datasets, the built-in ones found as any other package's are."""

import importlib.util
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Generic, TypeVar

from sslzoo.errors import UserError, near_misses

Part = TypeVar("Part", bound=type)


class Registry(Generic[Part]):
    """Classes of one kind by name.

    A name comes from an entry-point group (`sslzoo.methods`, for instance), imported when it is first asked for,
    or from the decorator `@registry.register("name")` in a file given by `--plugin`.
    """

    def __init__(self, kind: str, *, group: str | None = None) -> None:
        self.kind = kind
        self.group = group or f"sslzoo.{kind}s"
        self._classes: dict[str, Part] = {}
        self._entry_points: dict[str, EntryPoint] | None = None

    def register(self, name: str) -> Callable[[Part], Part]:
        """Decorator that names a class.

        Raises:
            UserError: another class has that name already; both owners are named.
        """

        def add(part: Part) -> Part:
            owner = self._owner(name)
            if owner is not None and owner != f"{part.__module__}:{part.__qualname__}":
                raise UserError(
                    f"{self.kind} {name!r} is defined twice: by {owner} and by {part.__module__}:{part.__qualname__}"
                )
            self._classes[name] = part
            part.name = name  # type: ignore[attr-defined]  # every part declares it
            return part

        return add

    def names(self) -> list[str]:
        """All known names, sorted; nothing is imported for it."""
        return sorted({*self._classes, *self._found()})

    def get(self, name: str) -> Part:
        """The class of that name.

        Raises:
            UserError: no such name, with the near misses; or its module does not import, with the reason.
        """
        if name in self._classes:
            return self._classes[name]
        entry = self._found().get(name)
        if entry is None:
            raise UserError(f"--{self.kind} {name}: no such {self.kind}{near_misses(name, self.names())}")
        try:
            entry.load()
        except UserError:
            raise
        except Exception as error:  # a third party's module may fail in any way
            raise UserError(
                f"--{self.kind} {name}: {entry.value} does not import: {type(error).__name__}: {error}"
            ) from error
        if name not in self._classes:
            raise UserError(f"--{self.kind} {name}: {entry.value} does not register a {self.kind} of that name")
        return self._classes[name]

    def __iter__(self) -> Iterator[tuple[str, Part]]:
        for name in self.names():
            yield name, self.get(name)

    def _found(self) -> dict[str, EntryPoint]:
        if self._entry_points is None:
            self._entry_points = {}
            for entry in entry_points(group=self.group):
                other = self._entry_points.setdefault(entry.name, entry)
                if other.value != entry.value:
                    raise UserError(
                        f"{self.kind} {entry.name!r} is defined twice: by {other.value} and by {entry.value}"
                    )
        return self._entry_points

    def _owner(self, name: str) -> str | None:
        if name in self._classes:
            part = self._classes[name]
            return f"{part.__module__}:{part.__qualname__}"
        entry = self._found().get(name)
        return entry.value if entry is not None else None


def load_plugin(path: str) -> None:
    """Run a Python file so that its decorators register what it defines (`--plugin my_file.py`).

    Raises:
        UserError: there is no such file, or it fails to import.
    """
    file = Path(path)
    if not file.is_file():
        raise UserError(f"--plugin {path}: no such file")
    name = f"sslzoo_plugin_{file.stem}"
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise UserError(f"--plugin {path}: not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except UserError:
        raise
    except Exception as error:  # the user's file may fail in any way
        raise UserError(f"--plugin {path}: does not import: {type(error).__name__}: {error}") from error
