"""Two gloo processes with half the batch each do what one process does with the whole batch."""

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing
from torch import Tensor, nn

from sslzoo.check.tiny import Tiny, run
from sslzoo.distributed import average_norm_statistics, encode_shuffled, gather, local_part, rank, state_digests
from sslzoo.method import METHODS

WORLD, STEPS = 2, 3
CASES = [f"--method {name}" for name in METHODS.names()] + [
    "--method moco --target adaptive-hard --method.symmetric",
    "--method moco --method.split-bn 1",
    "--method ascl --method.split-bn 2",
    "--method byol --target hard --method.split-bn 4",
    "--method byol --target adaptive-soft --method.symmetric false",
]
"""Every method with its settings for the digits, and others that take another way through one."""
Outcome = tuple[list[float], dict[str, Tensor], dict[str, Tensor]]
"""Loss of each step, gradients of the last one, and the state after it."""


def train(flags: str) -> Outcome:
    """A few steps of plain SGD on this process's share of every batch, gradients averaged as DDP does."""
    tiny = Tiny.of(*flags.split())
    method = tiny.method()
    losses = []
    for step in range(STEPS):
        method.before_epoch(step)
        output = run(method, tiny.sample(seed=step).local())
        method.zero_grad()
        output.loss.backward()
        method.after_batch(output)
        method.before_step(step / STEPS)
        trained = {key: value for key, value in method.named_parameters() if value.grad is not None}
        gradients = {key: gather(value.grad[None]).mean(0) for key, value in trained.items()}
        with torch.no_grad():
            for key, value in trained.items():
                value -= 0.1 * gradients[key]
        average_norm_statistics(method)
        method.after_step((step + 1) / STEPS)
        losses.append(gather(output.loss[None]).mean().item())
    return losses, gradients, method.state_dict()


def process(number: int, folder: str) -> None:
    """What each of the two processes runs; the results go to a file."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=number, world_size=WORLD)
    assert dist.get_world_size() == WORLD
    mine = torch.arange(6.0).view(3, 2) + 100 * rank()
    answers = {
        "gathered": gather(mine),
        "own": local_part(gather(mine)),
        "shuffled": gather(encode_shuffled(lambda x: 2 * x, mine, 0, 1)),
        "outcomes": [train(case) for case in CASES],
        "digests": state_digests(Tiny.of("--method", "moco").method()),
        "drifted": state_digests(nn.Linear(number + 1, 1)),
    }
    torch.save(answers, Path(folder) / f"{number}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, object]]:
    folder = tmp_path_factory.mktemp("two")
    torch.multiprocessing.spawn(process, (str(folder),), nprocs=WORLD)
    return [torch.load(folder / f"{number}.pt") for number in range(WORLD)]


def test_gather_has_all_rows_in_rank_order(answers: list[dict[str, Tensor]]) -> None:
    everything = torch.cat([torch.arange(6.0).view(3, 2) + 100 * number for number in range(WORLD)])
    for number, answer in enumerate(answers):
        assert torch.equal(answer["gathered"], everything)
        assert torch.equal(answer["own"], everything[3 * number : 3 * number + 3])
        assert torch.equal(answer["shuffled"], 2 * everything)


@pytest.mark.parametrize("case", range(len(CASES)), ids=CASES)
def test_a_method_trains_as_in_one_process(answers: list[dict[str, list[Outcome]]], case: int) -> None:
    losses, gradients, state = train(CASES[case])
    for answer in answers:
        their_losses, their_gradients, their_state = answer["outcomes"][case]
        assert their_losses == pytest.approx(losses, abs=1e-5)
        for ours, theirs in ((gradients, their_gradients), (state, their_state)):
            assert ours.keys() == theirs.keys()
            for key in ours:
                torch.testing.assert_close(theirs[key], ours[key], atol=1e-5, rtol=1e-4, msg=key)
    states = [answer["outcomes"][case][2] for answer in answers]
    assert all(torch.equal(states[0][key], states[1][key]) for key in state)


def test_digests_tell_equal_states_from_drifted_ones(answers: list[dict[str, list[str]]]) -> None:
    for answer in answers:
        assert len(answer["digests"]) == len(answer["drifted"]) == WORLD
        assert len(set(answer["digests"])) == 1
        assert len(set(answer["drifted"])) == 2
