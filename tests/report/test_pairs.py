"""The table framework x target: every cell is what the command line does."""

from pathlib import Path

import pytest

from sslzoo.experiment.compose import compose
from sslzoo.losses import LOSSES, Loss
from sslzoo.method.base import METHODS
from sslzoo.method.combination import choose_loss, explain_mismatch
from sslzoo.report.pairs import pairs, pairs_markdown
from sslzoo.runtime.errors import UserError
from sslzoo.targets import TARGETS, Target

DOCS = Path(__file__).parents[2] / "docs"
DISTINCT = {tuple(cells): name for name, cells in pairs().rows.items()}


@pytest.mark.parametrize("name", DISTINCT.values())
def test_cells_are_what_the_command_line_does(name: str) -> None:
    found = pairs()
    for target, cell in zip(found.targets, found.rows[name], strict=True):
        if cell.startswith("("):
            reason = found.reasons[int(cell.strip("()")) - 1]
            with pytest.raises(UserError) as error:
                compose(["--method", name, "--target", target])
            assert reason in str(error.value)
            assert f"--target {target}" in str(error.value)
        else:
            experiment = compose(["--method", name, "--target", target])
            assert experiment.loss.name == cell.removesuffix(" *")
        assert cell.endswith(" *") == (target == METHODS.get(name).default_target)


def test_the_documentation_has_the_table_of_the_registry() -> None:
    assert pairs_markdown() in (DOCS / "methods.md").read_text(encoding="utf-8")


def part(base: type, name: str, **traits: bool) -> type:
    return type(name, (base,), {"name": name, **traits})


def test_each_reason() -> None:
    moco, byol = METHODS.get("moco"), METHODS.get("byol")
    plain, cosine = TARGETS.get("one-hot"), LOSSES.get("cosine")
    softmax = LOSSES.get("cross-entropy")
    beside, alone = part(Target, "beside", positive=False), part(Loss, "alone", positive=False)
    hard_only = part(Loss, "hard-only", soft=False)
    reason = explain_mismatch(moco, beside, softmax)
    assert reason == "beside gives no weight to the positive, but cross-entropy scores it"
    assert explain_mismatch(moco, plain, alone) == "alone ignores the positive, but one-hot gives weight to it"
    assert "hard-only scores the positive only, but hard gives" in explain_mismatch(
        moco, TARGETS.get("hard"), hard_only
    )
    assert explain_mismatch(moco, plain, cosine).startswith("cosine only attracts, and moco has no predictor")
    for fitting in ((moco, beside, alone), (moco, plain, hard_only), (byol, plain, cosine), (byol, plain, softmax)):
        assert explain_mismatch(*fitting) is None


def test_a_target_that_needs_another_loss_brings_it() -> None:
    target = part(Target, "beside", positive=False)
    target.default_loss = "cosine"
    assert choose_loss(METHODS.get("byol"), target).name == "cosine"
    assert choose_loss(METHODS.get("moco"), TARGETS.get("hard")).name == "cross-entropy"
