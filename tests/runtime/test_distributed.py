"""Two gloo processes with half the batch each compute the same as one process with the whole batch."""

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing
from tiers import quick
from torch import Tensor, nn

from sslzoo.check.processes import WORLD, Outcome, require_equal, train, train_on_two_processes
from sslzoo.check.tiny import Tiny
from sslzoo.method.base import METHODS
from sslzoo.runtime.distributed import encode_shuffled, gather, local_part, rank, state_digests

CASES = [f"--method {name}" for name in METHODS.names()] + [
    "--method moco --target adaptive-hard --method.symmetric",
    "--method moco --method.split-bn 1",
    "--method ascl --method.split-bn 2",
    "--method byol --target hard --method.split-bn 4",
    "--method byol --target adaptive-soft --method.symmetric false",
    "--method w-mse --method.sub-batch 16 --method.projector.out 8 --method.divisions 2 "
    "--method.views strong strong strong",
    "--method swav --method.views strong strong local local --method.queue-length 33 --method.queue-epoch 1",
    "--method swav --method.split-bn 4",
    "--method dino --method.projector.norm batch",
]
"""Every method with its settings for the digits, and settings that use other code paths."""


def run_process(number: int, folder: str) -> None:
    """Run one of the two processes; write the results to a file."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=number, world_size=WORLD)
    assert dist.get_world_size() == WORLD
    mine = torch.arange(6.0).view(3, 2) + 100 * rank()
    results = {
        "gathered": gather(mine),
        "local": local_part(gather(mine)),
        "shuffled": gather(encode_shuffled(lambda x: 2 * x, mine, 0, 1)),
        "digests": state_digests(Tiny.of("--method", "moco").method()),
        "drifted": state_digests(nn.Linear(number + 1, 1)),
    }
    torch.save(results, Path(folder) / f"{number}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, object]]:
    folder = tmp_path_factory.mktemp("two")
    torch.multiprocessing.spawn(run_process, (str(folder),), nprocs=WORLD)
    return [torch.load(folder / f"{number}.pt") for number in range(WORLD)]


def test_gather_returns_all_rows_in_rank_order(results: list[dict[str, Tensor]]) -> None:
    everything = torch.cat([torch.arange(6.0).view(3, 2) + 100 * number for number in range(WORLD)])
    for number, result in enumerate(results):
        assert torch.equal(result["gathered"], everything)
        assert torch.equal(result["local"], everything[3 * number : 3 * number + 3])
        assert torch.equal(result["shuffled"], 2 * everything)


@pytest.fixture(scope="module")
def on_two_processes(request: pytest.FixtureRequest) -> dict[str, list[Outcome | str]]:
    """Outcomes of the cases that were selected; the two processes start once for all of them."""
    mine = [item for item in request.session.items if item.path == request.path and hasattr(item, "callspec")]
    cases = [item.callspec.params["case"] for item in mine]
    return dict(zip(cases, train_on_two_processes([case.split() for case in cases]), strict=True))


@pytest.mark.parametrize("case", quick(CASES, "--method moco", "--method byol", "--method swav", "--method w-mse"))
def test_method_trains_as_in_one_process(on_two_processes: dict[str, list[Outcome | str]], case: str) -> None:
    require_equal(train(case.split()), on_two_processes[case])


def test_digests_differ_only_if_states_have_drifted(results: list[dict[str, list[str]]]) -> None:
    for result in results:
        assert len(result["digests"]) == len(result["drifted"]) == WORLD
        assert len(set(result["digests"])) == 1
        assert len(set(result["drifted"])) == 2
