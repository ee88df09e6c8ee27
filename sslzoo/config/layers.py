"""Find, read, merge and write YAML layers."""

from collections.abc import Iterable, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from sslzoo.runtime.errors import UserError, near_misses

Layer = dict[str, Any]


class StrictLoader(yaml.SafeLoader):
    """Loader of plain YAML types that rejects duplicate keys."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value != "<<":
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(None, None, f"{key.value} is given twice", key.start_mark)
                seen.add(key.value)
        return super().construct_mapping(node, deep)


def configs_folder() -> Path:
    """Return the folder of the configs that ship with the package."""
    return Path(str(files("sslzoo.configs")))


def config_names(folder: str = "") -> list[str]:
    """List the shipped layers below `folder`, such as `dataset/cifar10`, without suffix."""
    root = configs_folder()
    return sorted(path.relative_to(root).with_suffix("").as_posix() for path in (root / folder).rglob("*.yaml"))


def find_layer(name: str, *, setting: str = "--config", beside: Path | None = None) -> Path:
    """Find the file of a layer: a path (also relative to the including file), or the name of a shipped layer.

    Raises:
        UserError: no file or shipped layer has that name.
    """
    candidates = [Path(name), configs_folder() / f"{name}.yaml"]
    if beside is not None:
        candidates.insert(0, beside / name)
    for path in candidates:
        if path.is_file():
            return path
    hint = near_misses(name, config_names())
    raise UserError(f"{setting} {name}: no such file, nor a config of that name{hint}")


def read_layers(path: Path, _open: tuple[Path, ...] = ()) -> list[tuple[str, Layer]]:
    """Read a YAML file and the layers of its `include:` list, each with its source, the file itself last.

    Raises:
        UserError: a file is not YAML or not a mapping, or includes itself.
    """
    if path.resolve() in _open:
        raise UserError(f"{path}: includes itself via {' -> '.join(p.name for p in _open)}")
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), StrictLoader)
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise UserError(f"{path}: not readable as YAML: {line}{error.problem}") from None
    except RecursionError:
        raise UserError(f"{path}: not readable as YAML: nested too deeply") from None
    except (yaml.YAMLError, ValueError) as error:  # bytes that are not text, or an invalid date such as 2026-13-13
        raise UserError(f"{path}: not readable as YAML: {' '.join(str(error).split())}") from None
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None
    if content is None:
        content = {}
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise UserError(f"{path}: a config must be a mapping of settings, not a {type(content).__name__}")
    include = content.pop("include", [])
    names = [include] if isinstance(include, str) else include
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise UserError(f"{path}: include must be a name or a list of names")
    included: list[tuple[str, Layer]] = []
    for name in names:
        below = find_layer(name, setting=f"{path}: include", beside=path.parent)
        included += read_layers(below, (*_open, path.resolve()))
    return [*included, (str(path), content)]


def read_layer(path: Path) -> Layer:
    """Read a YAML file as one mapping, merged over the layers that it includes."""
    return merge_all(layer for _, layer in read_layers(path))


class _Dumper(yaml.SafeDumper):
    """Dumper that writes lists on one line."""


_Dumper.add_representer(list, lambda dumper, value: dumper.represent_sequence("tag:yaml.org,2002:seq", value, True))


def dump_layer(layer: Layer) -> str:
    """Write a layer as YAML, in its order."""
    return yaml.dump(layer, Dumper=_Dumper, sort_keys=False, width=110)


def merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> Layer:
    """Merge `above` over `below`: mappings are merged recursively, other values are replaced.

    A new name (`method: byol` over `method: {name: moco, ...}`) drops the settings of the old part. The free mappings
    `kwargs` are replaced as a whole, as by their flags.
    """
    merged: Layer = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        if isinstance(old, Mapping) and isinstance(value, Mapping) and key != "kwargs":
            renamed = "name" in value and value["name"] != old.get("name", value["name"])
            merged[key] = dict(value) if renamed else merge(old, value)
        else:
            merged[key] = value
    return merged


def merge_all(layers: Iterable[Mapping[str, Any]]) -> Layer:
    """Merge layers; later ones win."""
    merged: Layer = {}
    for layer in layers:
        merged = merge(merged, layer)
    return merged
