"""Render the page as Markdown."""

from collections.abc import Iterable

from sslzoo.comparison.content import Content
from sslzoo.comparison.figures import Figure
from sslzoo.comparison.tables import Table


def render_markdown(content: Content) -> str:
    """Render the page; figures refer to the files in `images/`."""
    setting = "\n".join(f"- {name}: {escape(text)}" for name, text in content.setting.items())
    parts = [f"# {escape(content.title)}", escape(content.introduction)]
    parts += [f"**{escape(text)}**" for text in content.warnings]
    parts += [
        setting,
        "## Results",
        render_table(content.results),
        render_list(content.result_notes),
        render_figure(content.accuracy),
    ]
    parts += ["## Cost", render_table(content.cost), render_list(content.cost_notes)]
    parts += ["## Training", render_figure(content.curves)]
    parts += ["## Features of the test images", *map(escape, content.skipped)]
    if content.tsne is not None:
        parts += [render_figure(content.tsne), "## Nearest neighbors", escape(content.neighbors_note)]
        parts += map(render_figure, content.neighbors)
    parts += ["## Differences", render_table(content.differences)]
    parts += ["## How to reproduce it", f"```sh\n{content.command}\n```"]
    if content.published is not None:
        parts += ["## Published numbers", escape(content.published_note), render_table(content.published)]
    return "\n\n".join(parts) + "\n"


def render_table(content: Table) -> str:
    """Render a table with right-aligned numbers."""
    rule = ["---" if i < content.text_columns else "---:" for i in range(len(content.columns))]
    lines = [[escape(name) for name in content.columns], rule]
    lines += [[f"**{escape(cell.text)}**" if cell.bold else escape(cell.text) for cell in row] for row in content.rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def render_figure(content: Figure) -> str:
    """Render a figure with its caption below."""
    return f"![{escape(content.title)}](images/{content.name}.png)\n\n{escape(content.caption)}"


def render_list(notes: Iterable[str]) -> str:
    """Render a list."""
    return "\n".join(f"- {escape(note)}" for note in notes)


def escape(text: str) -> str:
    """Escape a text for Markdown and join its lines."""
    for mark in "\\`*_[]<>|":
        text = text.replace(mark, f"\\{mark}")
    return " ".join(text.split())
