"""Links, navigation and generated pages of the documentation are complete; mkdocs is not needed."""

import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import yaml
from pydantic import BaseModel

from sslzoo.data.augment import Augmentation
from sslzoo.embedding.job import EmbeddingJob
from sslzoo.evaluation.job import EvaluationJob
from sslzoo.experiment.schema import Experiment
from sslzoo.losses import LOSSES
from sslzoo.method import METHODS
from sslzoo.targets import TARGETS

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "RELEASING.md", *sorted(DOCS.glob("*.md"))]
LINK = re.compile(r"\]\((?!https?://)([^)#\s]*)(?:#([^)\s]*))?\)")


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def generated(generate: ModuleType) -> dict[str, str]:
    pages: dict[str, str] = generate.pages()
    return pages


def find_anchors(generate: ModuleType, text: str) -> set[str]:
    """Return the anchors of the headings of a page, without code blocks."""
    text = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    return {generate.anchor(title) for title in re.findall(r"^#+ (.*)", text, flags=re.MULTILINE)}


def list_keys(config: type[BaseModel], prefix: str) -> Iterator[str]:
    """Yield the keys of all settings of a config, except nested configs and names of parts."""
    for name, field in config.model_fields.items():
        nested = field.annotation
        if isinstance(nested, type) and issubclass(nested, BaseModel):
            yield from list_keys(nested, f"{prefix}{name}.")
        elif not (prefix in ("method.", "target.", "loss.") and name == "name"):
            yield f"{prefix}{name}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_resolve(page: Path, generate: ModuleType) -> None:
    text = page.read_text(encoding="utf-8")
    broken = []
    for path, anchor in LINK.findall(text):
        file = page.parent / path if path else page
        if not file.is_file() or (anchor and anchor not in find_anchors(generate, file.read_text(encoding="utf-8"))):
            broken.append(f"{path}#{anchor}" if anchor else path)
    assert broken == []


def test_links_of_generated_pages_resolve(generate: ModuleType, generated: dict[str, str]) -> None:
    for source, text in generated.items():
        for path, anchor in LINK.findall(text):
            target = (DOCS / source).parent / path if path else DOCS / source
            relative = target.resolve().relative_to(DOCS).as_posix()
            content = generated.get(relative) or (DOCS / relative).read_text(encoding="utf-8")
            assert not anchor or anchor in find_anchors(generate, content), (source, path, anchor)


def test_all_pages_are_in_the_navigation(generated: dict[str, str]) -> None:
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    entries = re.findall(r"[\w/-]+\.md", str(yaml.safe_load(text)["nav"]))
    reference = [path for path in generated if path.startswith(("reference/", "examples/"))]
    assert sorted(entries) == sorted([*(page.name for page in DOCS.glob("*.md")), *reference])


@pytest.mark.parametrize("name", METHODS.names())
def test_each_method_has_a_complete_page(name: str, generate: ModuleType, generated: dict[str, str]) -> None:
    page, method = generated[f"methods/{name}.md"], METHODS.get(name)
    assert method.paper
    assert f"**Source:** {generate.with_links(method.paper)}" in page
    assert generate.equations()[name]["where"].strip()
    assert "No results yet" not in page
    flags = {f"`--{key.replace('_', '-')}`" for key in list_keys(method.Config, "method.")}
    assert {flag for flag in flags if flag not in page} == set()


def test_each_method_has_an_equation(generate: ModuleType) -> None:
    assert sorted(generate.equations()) == METHODS.names()
    for equation in generate.equations().values():
        for line in equation["equation"].splitlines():
            assert line.count("{") == line.count("}")
            assert line.count(r"\left(") == line.count(r"\right)")


def test_config_reference_lists_each_key(generated: dict[str, str]) -> None:
    page = generated["reference/config.md"]
    expected = {
        *list_keys(Experiment, ""),
        *list_keys(EvaluationJob, ""),
        *list_keys(EmbeddingJob, ""),
        *list_keys(Augmentation, "augmentations.NAME."),
    }
    for kind, registry in (("target", TARGETS), ("loss", LOSSES)):
        for name, part in registry:
            assert f"### {kind}.name: {name}\n" in page
            expected |= {*list_keys(part.Config, f"{kind}.")}
    sections = {"augmentations", "method", "target", "loss"}
    missing = {key for key in expected if f"| `{key}` |" not in page and key not in sections}
    assert missing == {"method.views", "method.split_bn"}  # these differ by method and are on its page


def test_reference_lists_public_names_and_commands(generated: dict[str, str]) -> None:
    import sslzoo
    from sslzoo.cli import COMMANDS

    api = generated["reference/api.md"]
    registries = {"DATASETS", "LOSSES", "METHODS", "TARGETS"}
    assert [name for name in sslzoo.__all__ if name not in registries and f"heading: {name}\n" not in api] == []
    assert [name for name in registries if f"| `{name}` |" not in api] == []
    commands = generated["reference/commands.md"]
    assert [name for name in COMMANDS if f"## {name}\n" not in commands] == []
    assert "╭" not in commands
    assert "--log-every" not in commands  # flags of settings are in the config reference
    blocks = re.findall(r"^```console\n(.*?)^```", commands, flags=re.MULTILINE | re.DOTALL)
    assert max(len(line) for block in blocks for line in block.splitlines()) <= 100


def test_site_loads_nothing_from_the_network() -> None:
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    assert "http" not in text
    assert "font: false" in text
    assert "analytics" not in text
