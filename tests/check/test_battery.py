"""`run.py check`: built-in parts pass all checks, and each kind of fault is found."""

from pathlib import Path

import pytest
from tiers import quick

from sslzoo.check import losses, methods, targets
from sslzoo.check.battery import CheckError, run_checks
from sslzoo.check.command import Part, check, find_flags
from sslzoo.check.request import parse_request
from sslzoo.check.tiny import Tiny
from sslzoo.check.training import check_collapse
from sslzoo.cli import main
from sslzoo.config.registry import load_plugin
from sslzoo.losses import LOSSES
from sslzoo.method.base import METHODS
from sslzoo.targets import TARGETS


@pytest.mark.parametrize("name", quick(METHODS.names(), "ascl", "byol", "swav"))
def test_methods_pass_all_checks(name: str) -> None:
    results = run_checks(methods.CHECKS, Tiny.of("--method", name))
    assert [result for result in results if result.failure is not None] == []


@pytest.mark.parametrize("name", TARGETS.names())
def test_targets_pass_all_checks_alone_and_in_a_method(name: str) -> None:
    target = TARGETS.get(name)
    results = run_checks(targets.CHECKS, target(target.Config()))
    results += run_checks(methods.CHECKS, Tiny.of(*find_flags(Part("target", name))))
    assert [result for result in results if result.failure is not None] == []


@pytest.mark.parametrize("name", LOSSES.names())
def test_losses_pass_all_checks_alone_and_in_a_method(name: str) -> None:
    loss = LOSSES.get(name)
    results = run_checks(losses.CHECKS, loss(loss.Config()))
    results += run_checks(methods.CHECKS, Tiny.of(*find_flags(Part("loss", name))))
    assert [result for result in results if result.failure is not None] == []


WRONG = """
import torch
from sslzoo.losses import LOSSES, Loss
from sslzoo.method import METHODS
from sslzoo.methods.byol import BYOL
from sslzoo.methods.moco import MoCo
from sslzoo.targets import TARGETS, Target, TargetOutput


def weights(extra):
    return TargetOutput(torch.cat([torch.ones_like(extra[:, :1]), extra], 1), {})


@TARGETS.register("wrong-sums")
class Sums(Target):
    def forward(self, positive, candidates):
        return weights(0.1 + 0 * candidates)


@TARGETS.register("wrong-order")
class Order(Target):
    def forward(self, positive, candidates):
        extra = torch.zeros_like(candidates)
        extra[:, 0] = 1
        out = weights(extra).weights
        return TargetOutput(out / out.sum(1, keepdim=True), {})


@TARGETS.register("wrong-batch")
class Batch(Target):
    def forward(self, positive, candidates):
        extra = (candidates / candidates[:1]).abs()
        out = weights(extra).weights
        return TargetOutput(out / out.sum(1, keepdim=True), {})


@TARGETS.register("wrong-mean")
class AboveMean(Target):
    def forward(self, positive, candidates):
        out = weights((candidates - candidates.mean()).relu()).weights
        return TargetOutput(out / out.sum(1, keepdim=True), {})


@TARGETS.register("wrong-overflow")
class Overflow(Target):
    def forward(self, positive, candidates):
        out = weights((candidates / 0.005).exp()).weights
        return TargetOutput(out / out.sum(1, keepdim=True), {})


@TARGETS.register("wrong-claim")
class Claim(Target):
    soft = False

    def forward(self, positive, candidates):
        out = weights(candidates.softmax(1)).weights / 2
        return TargetOutput(out, {})


@LOSSES.register("wrong-sign")
class Sign(Loss):
    def forward(self, student, weights):
        return (weights * student.log_softmax(1)).sum(1)


@LOSSES.register("wrong-mean")
class Mean(Loss):
    def forward(self, student, weights):
        return -(weights * student.log_softmax(1)).sum(1).mean()


@LOSSES.register("wrong-rows")
class Rows(Loss):
    def forward(self, student, weights):
        return -(weights * student.log_softmax(1)).sum(1) + student.mean()


@LOSSES.register("wrong-log")
class Log(Loss):
    def forward(self, student, weights):
        return -(weights * (student + 1).log()).sum(1)


@LOSSES.register("wrong-attract")
class Attract(Loss):
    def forward(self, student, weights):
        return 1 - (weights * student).sum(1)


@METHODS.register("wrong-graph")
class Graph(MoCo):
    def contrast(self, query, key):
        return super().contrast(query, key)._replace(embeddings=query)


@METHODS.register("wrong-teacher")
class Taught(BYOL):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.teacher.requires_grad_(True)

    def compute_loss(self, embedding, key):
        output = super().compute_loss(embedding, key)
        leak = sum(p.sum() for p in self.teacher.parameters())
        return output._replace(loss=output.loss + leak)


@METHODS.register("wrong-unused")
class Unused(BYOL):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.spare = torch.nn.Linear(2, 2)


@METHODS.register("wrong-state")
class Forgetful(MoCo):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        keys = self.queue.keys
        del self.queue.keys
        self.queue.keys = keys


@METHODS.register("wrong-alias")
class Alias(MoCo):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.backbone = self.student.backbone


@METHODS.register("wrong-half")
class Half(MoCo):
    def contrast(self, query, key):
        output = super().contrast(query, key)
        return output._replace(loss=(query @ key.T).diagonal().mean())


@METHODS.register("wrong-first")
class First(BYOL):
    def compute_loss(self, embedding, key):
        return super().compute_loss(embedding[:1].expand_as(embedding), key)


@METHODS.register("wrong-local")
class Local(BYOL):
    def compute_loss(self, embedding, key):
        output = super().compute_loss(embedding, key)
        return output._replace(loss=output.loss + embedding.std(0).mean() + embedding.sum().square())
"""

FAILURES = {
    "target wrong-sums": ("rows sum to one", "a row sums to 5"),
    "target wrong-order": ("order of the candidates", "weights do not follow their candidates"),
    "target wrong-batch": ("order of the anchors", "an anchor's weights depend on the other anchors"),
    "target wrong-mean": ("anchors one by one", "an anchor alone has other weights than in a batch"),
    "target wrong-overflow": ("sums at extreme similarities", "weights are NaN or Inf with all similarities 1"),
    "target wrong-claim": ("rows sum to one", "soft is False, but candidates have weight"),
    "loss wrong-sign": ("sign of the gradient", "the loss does not decrease"),
    "loss wrong-mean": ("a loss for each anchor", "losses have shape (), not (B,)"),
    "loss wrong-rows": ("anchors one by one", "an anchor's loss depends on the other anchors"),
    "loss wrong-log": ("finite at extreme similarities (alone)", "a loss is NaN or Inf with all similarities -1"),
    "loss wrong-attract": ("sign of the gradient", "repels is True, but pairs without weight get no gradient"),
    "method wrong-graph": ("shapes", "embeddings carries a gradient"),
    "method wrong-teacher": ("gradients reach the student, never the teacher", "momentum encoder gets a gradient"),
    "method wrong-unused": ("gradients reach the student, never the teacher", "spare.weight is trainable but gets no"),
    "method wrong-state": ("state_dict round trip", "after state_dict() and load_state_dict()"),
    "method wrong-alias": ("state_dict round trip", "are one tensor"),
    "method wrong-half": ("finite in bf16 and fp16", "the loss is torch.bfloat16 under torch.bfloat16 autocast"),
    "method wrong-first": ("order of the batch", "in another order"),
}


@pytest.fixture
def wrong(tmp_path: Path) -> Path:
    file = tmp_path / "wrong.py"
    file.write_text(WRONG)
    load_plugin(str(file))
    return file


@pytest.mark.parametrize("part", FAILURES)
def test_each_fault_fails_its_check(wrong: Path, part: str) -> None:
    kind, name = part.split()
    check_name, failure = FAILURES[part]
    if kind == "method":
        results = run_checks(methods.CHECKS, Tiny.of("--method", name))
    elif kind == "target":
        results = run_checks(targets.CHECKS, TARGETS.get(name)(TARGETS.get(name).Config()))
    else:
        results = run_checks(losses.CHECKS, LOSSES.get(name)(LOSSES.get(name).Config()))
    failures = {result.check: result.failure for result in results if result.failure is not None}
    assert failure in failures[check_name]


@pytest.mark.long
def test_method_without_communication_fails_on_two_processes(wrong: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status = check(parse_request(["wrong-local", "--plugin", str(wrong), "--steps", "0"]))
    output = " ".join(capsys.readouterr().out.split())
    assert status == 1
    assert "one and two processes FAILED: loss on process 0 of 2" in output


@pytest.mark.long
def test_command_reports_that_all_checks_passed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "adaptive-hard", "--steps", "10"]) == 0
    output = capsys.readouterr().out
    assert "14 of 14 checks passed" in output
    assert "FAILED" not in output


@pytest.mark.long
def test_collapse_in_training_is_found(wrong: Path) -> None:
    with pytest.raises(CheckError, match=r"after 80 steps: (complete|dimensional) collapse: "):
        check_collapse(["--method", "moco", "--loss", "wrong-attract"], 80)


INVALID_ARGUMENTS = {
    "": "check: requires names of methods, targets or losses, or --all",
    "mocoo": "check mocoo: no part has that name; did you mean moco",
    "moco --plugin nowhere.py": "--plugin nowhere.py: no such file",
    "moco --steps many": "argument --steps: invalid int value: 'many'",
}


@pytest.mark.parametrize("words", INVALID_ARGUMENTS)
def test_invalid_argument_is_one_line_error(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", *words.split()]) == 2
    error = capsys.readouterr().err
    assert INVALID_ARGUMENTS[words] in error
    assert error.count("\n") == 1


def test_part_that_cannot_be_created_is_a_failure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "broken.py"
    file.write_text(
        "from sslzoo.targets import TARGETS, Target\n"
        "@TARGETS.register('wrong-init')\n"
        "class Init(Target):\n"
        "    def __init__(self, config):\n"
        "        raise TypeError('invalid')\n"
    )
    try:
        assert main(["check", "wrong-init", "--plugin", str(file)]) == 1
    finally:
        TARGETS._classes.pop("wrong-init", None)
    assert "TypeError: invalid" in " ".join(capsys.readouterr().out.split())
