"""Write the page of a comparison as HTML, Markdown and CSV; the HTML loads nothing from the network."""

from importlib.resources import files

from jinja2 import Environment, StrictUndefined
from rich.console import Console

from sslzoo.comparison.content import Content, create_content
from sslzoo.comparison.csv_files import list_rows, list_runs, write_records
from sslzoo.comparison.folder import ComparisonFolder
from sslzoo.comparison.markdown import render_markdown
from sslzoo.comparison.rows import Comparison


def write_page(comparison: Comparison, folder: ComparisonFolder, console: Console) -> None:
    """Draw the figures and write report.html, report.md, report.csv and summary.csv."""
    content = create_content(comparison, folder, console)
    folder.html.write_text(render_html(content), encoding="utf-8")
    folder.markdown.write_text(render_markdown(content), encoding="utf-8")
    write_records(folder.runs_csv, list_runs(comparison))
    write_records(folder.rows_csv, list_rows(comparison))


def render_html(content: Content) -> str:
    """Render the page; all values are escaped."""
    template = (files("sslzoo.comparison") / "report.html.j2").read_text(encoding="utf-8")
    return Environment(autoescape=True, undefined=StrictUndefined).from_string(template).render(vars(content))
