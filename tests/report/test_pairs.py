"""The table of compatible methods and targets agrees with the command line."""

from pathlib import Path

import pytest

from sslzoo.experiment.compose import compose
from sslzoo.losses import LOSSES, Loss
from sslzoo.method.base import METHODS
from sslzoo.method.combination import choose_loss, explain_mismatch
from sslzoo.report.pairs import find_pairs, format_pairs_markdown
from sslzoo.runtime.errors import UserError
from sslzoo.targets import TARGETS, Target

DOCS = Path(__file__).parents[2] / "docs"
DISTINCT = {tuple(cells): name for name, cells in find_pairs().rows.items()}


@pytest.mark.parametrize("name", DISTINCT.values())
def test_cells_agree_with_the_command_line(name: str) -> None:
    pairs = find_pairs()
    for target, cell in zip(pairs.targets, pairs.rows[name], strict=True):
        if cell.startswith("("):
            reason = pairs.reasons[int(cell.strip("()")) - 1]
            with pytest.raises(UserError) as error:
                compose(["--method", name, "--target", target])
            assert reason in str(error.value)
            assert f"--target {target}" in str(error.value)
        else:
            experiment = compose(["--method", name, "--target", target])
            assert experiment.loss.name == cell.removesuffix(" *")
        assert cell.endswith(" *") == (target == METHODS.get(name).default_target)


def test_documentation_contains_the_table() -> None:
    assert format_pairs_markdown() in (DOCS / "methods.md").read_text(encoding="utf-8")


def create_part(base: type, name: str, **traits: bool) -> type:
    return type(name, (base,), {"name": name, **traits})


def test_each_mismatch_has_its_reason() -> None:
    moco, byol = METHODS.get("moco"), METHODS.get("byol")
    plain, cosine = TARGETS.get("one-hot"), LOSSES.get("cosine")
    softmax = LOSSES.get("cross-entropy")
    beside, alone = create_part(Target, "beside", positive=False), create_part(Loss, "alone", positive=False)
    hard_only = create_part(Loss, "hard-only", soft=False)
    reason = explain_mismatch(moco, beside, softmax)
    assert reason == "beside gives no weight to the positive, but cross-entropy scores it"
    assert explain_mismatch(moco, plain, alone) == "alone ignores the positive, but one-hot gives weight to it"
    assert "hard-only scores the positive only, but hard gives" in explain_mismatch(
        moco, TARGETS.get("hard"), hard_only
    )
    assert explain_mismatch(moco, plain, cosine).startswith("cosine only attracts, and moco has no predictor")
    for fitting in ((moco, beside, alone), (moco, plain, hard_only), (byol, plain, cosine), (byol, plain, softmax)):
        assert explain_mismatch(*fitting) is None


def test_target_with_its_own_default_loss_uses_it() -> None:
    target = create_part(Target, "beside", positive=False)
    target.default_loss = "cosine"
    assert choose_loss(METHODS.get("byol"), target).name == "cosine"
    assert choose_loss(METHODS.get("moco"), TARGETS.get("hard")).name == "cross-entropy"
