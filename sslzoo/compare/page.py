"""The answer of a comparison: a page that needs no network, with the same as Markdown and CSV beside it."""

from importlib.resources import files

from jinja2 import Environment, StrictUndefined
from rich.console import Console

from sslzoo.compare.content import Content, create_content
from sslzoo.compare.folder import ComparisonFolder
from sslzoo.compare.lines import row_lines, run_lines, write_lines
from sslzoo.compare.markdown import as_markdown
from sslzoo.compare.rows import Comparison


def write_page(comparison: Comparison, folder: ComparisonFolder, console: Console) -> None:
    """Draw the images, and write report.html, report.md, report.csv and summary.csv."""
    content = create_content(comparison, folder, console)
    folder.html.write_text(as_html(content), encoding="utf-8")
    folder.markdown.write_text(as_markdown(content), encoding="utf-8")
    write_lines(folder.runs_csv, run_lines(comparison))
    write_lines(folder.rows_csv, row_lines(comparison))


def as_html(content: Content) -> str:
    """The page; all that is shown is escaped."""
    template = (files("sslzoo.compare") / "report.html.j2").read_text(encoding="utf-8")
    return Environment(autoescape=True, undefined=StrictUndefined).from_string(template).render(vars(content))
