"""The page as Markdown."""

from collections.abc import Iterable

from sslzoo.compare.content import Content
from sslzoo.compare.figures import Figure
from sslzoo.compare.tables import Table


def as_markdown(content: Content) -> str:
    """The whole page; its images are the files beside it."""
    setting = "\n".join(f"- {name}: {plain(text)}" for name, text in content.setting.items())
    parts = [f"# {plain(content.title)}", plain(content.introduction)]
    parts += [f"**{plain(text)}**" for text in content.warnings]
    parts += [setting, "## Results", table(content.results), bullets(content.result_notes), figure(content.accuracy)]
    parts += ["## Cost", table(content.cost), bullets(content.cost_notes)]
    parts += ["## Training", figure(content.curves)]
    parts += ["## Features of the test images", *map(plain, content.left_out)]
    if content.tsne is not None:
        parts += [figure(content.tsne), "## Nearest neighbors", plain(content.neighbors_note)]
        parts += map(figure, content.neighbors)
    parts += ["## What differed", table(content.differences)]
    parts += ["## How to repeat it", f"```sh\n{content.command}\n```"]
    if content.published is not None:
        parts += ["## Published numbers", plain(content.published_note), table(content.published)]
    return "\n\n".join(parts) + "\n"


def table(content: Table) -> str:
    """Columns and cells, numbers aligned right."""
    rule = ["---" if i < content.words else "---:" for i in range(len(content.columns))]
    lines = [[plain(name) for name in content.columns], rule]
    lines += [[f"**{plain(cell.text)}**" if cell.strong else plain(cell.text) for cell in row] for row in content.rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def figure(content: Figure) -> str:
    """The bitmap, its caption below."""
    return f"![{plain(content.title)}](images/{content.name}.png)\n\n{plain(content.caption)}"


def bullets(notes: Iterable[str]) -> str:
    """A list."""
    return "\n".join(f"- {plain(note)}" for note in notes)


def plain(text: str) -> str:
    """Text that Markdown shows as it is, on one line."""
    for mark in "\\`*_[]<>|":
        text = text.replace(mark, f"\\{mark}")
    return " ".join(text.split())
