"""Generated pages of the documentation: methods, reference and notebooks. `mkdocs.yml` loads this file as a hook.

The pages exist only in the built site. They come from the registries, the config schema, `docs/equations.yaml`, the
tables of `docs/results.md` and the notebooks in `examples/`, so they cannot be out of date.
"""

import contextlib
import html
import inspect
import io
import json
import os
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType
from typing import Any, get_args, get_origin
from unittest import mock

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

import sslzoo
from sslzoo.cli import COMMANDS, main
from sslzoo.config.registry import Registry
from sslzoo.config.schema import PartConfig
from sslzoo.data.augment import Augmentation
from sslzoo.embedding.job import EmbeddingJob
from sslzoo.evaluation.job import EvaluationJob
from sslzoo.experiment.schema import Experiment
from sslzoo.losses import LOSSES
from sslzoo.method import METHODS, PairMethod
from sslzoo.targets import TARGETS

DOCS = Path(__file__).resolve().parent
EXAMPLES = DOCS.parent / "examples"
PARTS: dict[str, Registry[Any]] = {"method": METHODS, "target": TARGETS, "loss": LOSSES}
FOR_SCRIPTS = (
    *("train", "evaluate", "compare", "embed"),
    *("Run", "Evaluation", "Embeddings", "Event", "Interrupted", "UserError"),
)
"""Public names for scripts and notebooks; the others are for plug-ins."""
CELL = str.maketrans({"|": "\\|", "\n": " "})


def pages() -> dict[str, str]:
    """Markdown of all generated pages, by path below `docs/`."""
    return {
        **{f"methods/{name}.md": method_page(name) for name in METHODS.names()},
        "reference/config.md": config_page(),
        "reference/api.md": api_page(),
        "reference/commands.md": commands_page(),
        **{f"examples/{file.stem}.md": notebook_page(file) for file in sorted(EXAMPLES.glob("*.ipynb"))},
    }


# --- methods ---------------------------------------------------------------------------------------------------------


def method_page(name: str) -> str:
    """One method: source, equation, settings, results."""
    method = METHODS.get(name)
    equation = equations()[name]
    summary, _, details = (inspect.getdoc(method) or "").partition("\n\n")
    choice = "It has no pairs, so it takes no target."
    if issubclass(method, PairMethod):
        target = f"[`{method.default_target}`](../methods.md#targets)"
        choice = f"Target: {target}. Loss: [`{method.default_loss}`](../methods.md#losses)."
    return (
        f"# {name}\n\n{prose(summary)}\n\n"
        f"**Source:** {with_links(method.paper)}\n\n"
        f"```sh\naccelerate launch run.py --method {name}\n```\n\n"
        f"{choice}\n\n{prose(details)}\n\n"
        f"## Loss\n\n{rendered(equation['equation'])}\n\n{with_subscripts(equation['where'])}\n\n"
        f"## Options\n\n{settings_table(method.Config, 'method', 'flag')}\n\n"
        f"The settings for single data sets are in `configs/method/{name}.yaml`.\n\n"
        f"## Results\n\n{results(name)}\n"
    )


def equations() -> dict[str, dict[str, str]]:
    """Equation and its symbols for each method."""
    loaded: dict[str, dict[str, str]] = yaml.safe_load((DOCS / "equations.yaml").read_text(encoding="utf-8"))
    return loaded


def rendered(lines: str) -> str:
    """Lines of LaTeX as MathML, which browsers display without scripts; as LaTeX where the converter is missing."""
    try:
        from latex2mathml.converter import convert
    except ImportError:
        return f"```latex\n{lines}\n```"
    formulas = (convert(line, display="block") for line in lines.splitlines())
    return "\n".join(f'<div class="equation">{formula}</div>' for formula in formulas)


def with_links(paper: str) -> str:
    """A source with links to arXiv."""
    return re.sub(r"arXiv (\d{4}\.\d{5})", r"[arXiv \1](https://arxiv.org/abs/\1)", paper)


def with_subscripts(text: str) -> str:
    """Indices such as those of `z_j` and `s_{2N-2}` as HTML."""
    return re.sub(r"\b(\w)_(?:\{([^}]+)\}|(\w+))", lambda index: f"{index[1]}<sub>{index[2] or index[3]}</sub>", text)


def results(name: str) -> str:
    """The rows of `docs/results.md` whose first cell is the method, section by section."""
    found = []
    for section in re.split(r"^## ", (DOCS / "results.md").read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
        title = section.partition("\n")[0]
        for head, rule, rows in re.findall(r"^(\|.*\|)\n(\|[-|]+\|)\n((?:\|.*\|\n)+)", section, flags=re.MULTILINE):
            chosen = [row for row in rows.splitlines() if row.strip("| ").split("|")[0].strip().lower() in named(name)]
            if chosen:
                link = f"[{title}](../results.md#{anchor(title)})"
                found.append("\n".join([f"{link}:\n", head, rule, *chosen]))
    return "\n\n".join(found) if found else "No results yet."


def named(name: str) -> set[str]:
    """How tables call a method, in lower case."""
    targets = {"one-hot", "hard", "adaptive-hard", "adaptive-soft"}
    return {name, *(f"{name}, {target}" for target in targets), *(f"{name}, target {target}" for target in targets)}


# --- reference -------------------------------------------------------------------------------------------------------


def config_page() -> str:
    """All settings of a run and of `evaluate`."""
    sections = [f"## General\n\n{settings_table(Experiment, '', 'key', nested=False)}"]
    for name, field in Experiment.model_fields.items():
        config = field.annotation
        if name not in PARTS and isinstance(config, type) and issubclass(config, BaseModel) and config.model_fields:
            sections.append(f"## {name}\n\n{opening(config)}\n\n{settings_table(config, name, 'key')}")
    augmentation = settings_table(Augmentation, "augmentations.NAME", "key")
    sections.append(f"## augmentations\n\n{opening(Augmentation)} NAME is `strong`, for example.\n\n{augmentation}")
    methods = ", ".join(f"[`{name}`](../methods/{name}.md#options)" for name in METHODS.names())
    sections.append(f"## method\n\nThe settings depend on the method: {methods}.")
    for kind in ("target", "loss"):
        tables = [
            f"### {kind}.name: {name}\n\n{opening(part)}\n\n{settings_table(part.Config, kind, 'key')}"
            for name, part in PARTS[kind]
        ]
        sections.append(f"## {kind}\n\n" + "\n\n".join(tables))
    sections.append(
        "## evaluate\n\nSettings of `run.py evaluate` besides `backbone`, `dataset`, `evaluation` and `augmentations`, "
        f"which are as above.\n\n{settings_table(EvaluationJob, '', 'key', nested=False)}"
    )
    sections.append(
        "## embed\n\nSettings of `run.py embed` besides `backbone`, `dataset` and `augmentations`, which are as "
        "above.\n\n"
        f"{settings_table(EmbeddingJob, '', 'key', nested=False)}"
    )
    return (
        "# Config reference\n\nEvery setting as a key of a config file. The flag of `optimizer.weight_decay` is "
        "`--optimizer.weight-decay`. The default is that of the schema; the configs of data sets and recipes override "
        "it, and `--print-config` shows the result.\n\n" + "\n\n".join(sections) + "\n"
    )


def settings_table(config: type[BaseModel], prefix: str, spelling: str, *, nested: bool = True) -> str:
    """A row for each setting; `spelling` is `key`, as in config files, or `flag`."""
    rows = list(settings(config, prefix, nested=nested))
    if not rows:
        return "No settings."
    lines = [f"| {'option' if spelling == 'flag' else 'key'} | type | default | description |", "|---|---|---|---|"]
    for key, kind, default, text in rows:
        name = f"--{key.replace('_', '-')}" if spelling == "flag" else key
        lines.append(f"| `{name}` | {kind.translate(CELL)} | {default.translate(CELL)} | {text.translate(CELL)} |")
    return "\n".join(lines)


def settings(
    config: type[BaseModel], prefix: str, defaults: BaseModel | None = None, *, nested: bool = True
) -> Iterator[tuple[str, str, str, str]]:
    """Key, type, default and description of each setting, those of nested configs included."""
    for name, field in config.model_fields.items():
        if name == "name" and issubclass(config, PartConfig):
            continue  # the part itself, chosen by --method, --target or --loss
        key = f"{prefix}.{name}" if prefix else name
        default = field.get_default(call_default_factory=True) if defaults is None else getattr(defaults, name)
        if is_section(field):
            if nested and isinstance(default, BaseModel):
                yield from settings(type(default), key, default)
            continue
        yield key, type_of(field), default_of(default), prose(field.description or "")


def is_section(field: FieldInfo) -> bool:
    """Whether a field holds a group of settings."""
    kinds = get_args(field.annotation) or (field.annotation,)
    return any(isinstance(kind, type) and issubclass(kind, BaseModel) for kind in kinds)


def type_of(field: FieldInfo) -> str:
    """The type of a setting, with its limits."""
    signs = {"gt": ">", "ge": ">=", "lt": "<", "le": "<="}
    limits = [
        f"{sign} {getattr(limit, attribute)}"
        for limit in field.metadata
        for attribute, sign in signs.items()
        if getattr(limit, attribute, None) is not None
    ]
    return ", ".join([type_name(field.annotation), *limits])


def type_name(annotation: Any) -> str:
    """A type as a reader of the documentation writes it."""
    if annotation is type(None):
        return "null"
    arguments = get_args(annotation)
    origin = str(get_origin(annotation))
    if "Literal" in origin:
        return " or ".join(f"`{str(value).lower() if isinstance(value, bool) else value}`" for value in arguments)
    if "Annotated" in origin:
        return type_name(arguments[0])
    if "tuple" in origin or "list" in origin:
        kinds = dict.fromkeys(type_name(kind) for kind in arguments if kind is not Ellipsis)
        count = "" if Ellipsis in arguments else f" of {len(arguments)}"
        return f"list{count}: {', '.join(kinds)}"
    if "dict" in origin:
        return "mapping"
    if arguments:
        return " or ".join(type_name(kind) for kind in arguments)
    name: str = annotation.__name__
    return {"str": "text", "Path": "path", "dict": "mapping"}.get(name, name)


def default_of(value: Any) -> str:
    """A default as YAML."""
    if "PydanticUndefined" in type(value).__name__:
        return "by method"
    if value is None:
        return "null"
    if isinstance(value, tuple):
        return f"`[{', '.join(str(item) for item in value)}]`"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{value}`" if str(value) else "empty"


def api_page() -> str:
    """The public names of the package, by mkdocstrings."""
    public = {name: getattr(sslzoo, name) for name in sorted(sslzoo.__all__, key=lambda name: (name.islower(), name))}
    registries = {name: part for name, part in public.items() if isinstance(part, Registry)}
    others = [name for name in public if name not in registries and name not in FOR_SCRIPTS]
    rows = "\n".join(f"| `{name}` | `{part.base.__name__}` | `{part.group}` |" for name, part in registries.items())
    return "\n\n".join(
        [
            "# Python API",
            "The public names of `sslzoo`. They are imported on first use, so that `import sslzoo` is fast.",
            "## For scripts and notebooks",
            "Examples: [Python and notebooks](../python.md).",
            *(documented(public[name], name) for name in FOR_SCRIPTS),
            "## For plug-ins and their tests",
            "Examples: [Plug-ins](../plugins.md).",
            f"| registry | base class of its parts | entry points |\n|---|---|---|\n{rows}",
            documented(Registry, "Registry"),
            *(documented(public[name], name) for name in others),
            "",
        ]
    )


def documented(part: type | FunctionType, name: str) -> str:
    """The directive by which mkdocstrings documents a class or function under its public name."""
    options = {"heading": name, "toc_label": name, "heading_level": 3}
    lines = "".join(f"\n        {key}: {value}" for key, value in options.items())
    return f"::: {part.__module__}.{part.__qualname__}\n    options:{lines}"


def commands_page() -> str:
    """The help of each command; the flags of settings are those of the config reference."""
    sections = []
    for command in COMMANDS:
        words = ["--help"] if command == "pretrain" else [command, "--help"]
        shown = " ".join(["python run.py", *words])
        sections.append(f"## {command}\n\n```console\n$ {shown}\n{help_text(words)}\n```")
    return (
        "# Commands\n\nThe help of each command. `pretrain` is the command without a name. Flags of settings are "
        "listed in the [config reference](config.md).\n\n" + "\n\n".join(sections) + "\n"
    )


def help_text(words: list[str]) -> str:
    """What a command prints, up to the boxes of settings."""
    printed = io.StringIO()
    with (
        mock.patch.dict(os.environ, {"COLUMNS": "100", "NO_COLOR": "1"}),
        contextlib.redirect_stdout(printed),
        contextlib.suppress(SystemExit),
    ):
        main(words)
    general = re.split(r"^\s*(?:╭.*|options *)$", printed.getvalue(), maxsplit=1, flags=re.MULTILINE)[0]
    lines = (
        textwrap.fill(line, 100, subsequent_indent=" " * 18) if len(line) > 100 else line
        for line in general.splitlines()
    )
    return "\n".join(lines).strip()


# --- notebooks -------------------------------------------------------------------------------------------------------


def notebook_page(file: Path) -> str:
    """A notebook with its stored outputs as Markdown, without scripts."""
    parts = []
    for cell in json.loads(file.read_text(encoding="utf-8"))["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source.replace("](../docs/", "](../").replace(".ipynb)", ".md)"))
        else:
            parts += [f"```python\n{source}\n```", *shown(cell["outputs"])]
    link = f"The notebook is `examples/{file.name}`."
    return "\n\n".join([parts[0], link, *parts[1:]]) + "\n"


def shown(outputs: list[dict[str, Any]]) -> Iterator[str]:
    """The outputs of a cell: images, tables of pandas, and text."""
    lines = ""
    for output in outputs:
        data = output.get("data", {"text/plain": output.get("text", "")})
        table = re.search(r"<table.*</table>", "".join(data.get("text/html", "")), flags=re.DOTALL)
        if table is None and "image/png" not in data:
            lines += re.sub(r"\x1b\[[\d;]*m", "", "".join(data["text/plain"])).rstrip("\n") + "\n"
            continue
        if lines.strip():
            yield text_block(lines)
        lines = ""
        if table is not None:
            yield table[0].replace(' border="1" class="dataframe"', "")
        else:
            content = "".join(data["image/png"]).replace("\n", "")
            yield f'<img alt="output of the cell" src="data:image/png;base64,{content}">'
    if lines.strip():
        yield text_block(lines)


def text_block(lines: str) -> str:
    """Text that is shown as it is; lines are wrapped where they would not fit."""
    wrapped = (textwrap.fill(line, 92) if len(line) > 92 else line for line in lines.strip("\n").splitlines())
    return "<pre><code>" + html.escape("\n".join(wrapped)) + "</code></pre>"


# --- text ------------------------------------------------------------------------------------------------------------


def opening(part: type) -> str:
    """The first paragraph of a docstring."""
    return prose((inspect.getdoc(part) or "").partition("\n\n")[0])


def prose(text: str) -> str:
    """A docstring as Markdown: formulas keep their characters."""
    return re.sub(r"([*_<])", r"\\\1", text) if "`" not in text else escape_outside_code(text)


def escape_outside_code(text: str) -> str:
    """Escape Markdown except between backticks."""
    parts = text.split("`")
    return "`".join(part if number % 2 else re.sub(r"([*_<])", r"\\\1", part) for number, part in enumerate(parts))


def anchor(title: str) -> str:
    """The anchor of a heading, as mkdocs makes it."""
    return re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", title.lower()).strip())


# --- mkdocs ----------------------------------------------------------------------------------------------------------


def on_config(config: Any) -> Any:
    """Add the pages of methods to the navigation."""
    for section in config.nav:
        if "Methods" in section:
            section["Methods"] += [{name: f"methods/{name}.md"} for name in METHODS.names()]
    return config


def on_files(files: Any, config: Any) -> Any:
    """Add the generated pages."""
    from mkdocs.structure.files import File

    for path, content in pages().items():
        files.append(File.generated(config, path, content=content))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Link the names of methods in the overview to their pages, and notebooks to theirs."""
    if page.file.src_uri != "methods.md":
        return re.sub(r"\.\./examples/(\w+)\.ipynb", r"examples/\1.md", markdown)
    names = set(METHODS.names())

    def linked(row: re.Match[str]) -> str:
        return re.sub(r"`([\w-]+)`", lambda m: f"[`{m[1]}`](methods/{m[1]}.md)" if m[1] in names else m[0], row[0])

    before, heading, rest = markdown.partition("## Methods with a queue")
    methods, targets, after = rest.partition("## Targets")
    head, table, end = after.partition("## Methods and targets")
    return (
        before
        + heading
        + re.sub(r"^\|.*?\|", linked, methods, flags=re.MULTILINE)
        + targets
        + head
        + table
        + re.sub(r"^\| `[\w-]+` \|", linked, end, flags=re.MULTILINE)
    )
