"""What a process does alone: its share, its BatchNorm, what it refuses. In promises/ several processes train."""

import pytest
import torch

import colour_regression
import colourization
from colour.system import torchrun
from colour.system.cli import UserError


@pytest.fixture
def second_of_two(monkeypatch):
    """This process counts as the second of two that torchrun started."""
    for name, value in {"TORCHELASTIC_RUN_ID": "1", "WORLD_SIZE": "2", "RANK": "1", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)


def test_a_process_alone_takes_everything():
    assert (torchrun.rank(), torchrun.world_size(), torchrun.launched()) == (0, 1, False)
    assert list(range(7))[torchrun.share()] == list(range(7))
    assert torchrun.total([1, torch.tensor(2.5)]) == [1, 2.5] and torchrun.from_rank_zero(lambda: 7) == 7


def test_one_process_of_torchrun_is_alone(second_of_two, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert not torchrun.launched() and torchrun.world_size() == 1


def test_a_process_of_two_takes_every_second_picture(second_of_two, monkeypatch):
    assert (torchrun.rank(), torchrun.world_size(), torchrun.launched()) == (1, 2, True)
    assert list(range(7))[torchrun.share()] == [1, 3, 5]
    # The mean over 3 of 7 pictures, averaged with the other process, counts as 3/7.
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda pictures: pictures.add_(4))
    loss = torchrun.weighted(torch.tensor(1.0), torch.zeros(3, 1))
    assert loss / 2 == pytest.approx(3 / 7)


def test_more_processes_than_gpus_are_refused(second_of_two, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(UserError, match="more GPUs than the 1 of this machine"):
        torchrun.own_gpu()


def test_an_error_of_the_first_process_is_printed_once(second_of_two, monkeypatch):
    answer = [None, UserError("it is wrong")]
    monkeypatch.setattr(torch.distributed, "broadcast_object_list", lambda mine: mine.__setitem__(slice(2), answer))
    with pytest.raises(SystemExit) as end:
        torchrun.from_rank_zero(pytest.fail)
    assert end.value.code == 2
    monkeypatch.setenv("RANK", "0")
    with pytest.raises(UserError):
        torchrun.from_rank_zero(lambda: None)


def test_other_processes_than_the_first_exit_at_once(second_of_two, monkeypatch):
    """PyTorch sometimes aborts them at their end, and with them the first."""
    for name in "init_process_group", "destroy_process_group":
        monkeypatch.setattr(torch.distributed, name, lambda *_: None)
    ends = []
    monkeypatch.setattr("os._exit", ends.append)
    with torchrun.processes(torch.device("cpu")):
        assert not ends
    assert ends == [0]
    with pytest.raises(UserError), torchrun.processes(torch.device("cpu")):
        raise UserError("an error has another status")
    assert ends == [0]


def test_shared_batch_norm_equals_the_librarys(monkeypatch):
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda tensor: None)  # alone
    torch.manual_seed(0)
    norm = torch.nn.BatchNorm2d(5)
    torch.nn.init.normal_(norm.weight)
    shared = torchrun.SharedBatchNorm2d(5)
    shared.load_state_dict(norm.state_dict())
    for _ in range(3):
        x = torch.randn(4, 5, 6, 7) * 3 + 10
        ours, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
        for module, image in (shared, ours), (norm, theirs):
            module(image).square().sum().backward()
        assert torch.allclose(shared(x), norm(x), atol=1e-5)
        assert torch.allclose(ours.grad, theirs.grad, atol=1e-4)
    for name, value in norm.state_dict().items():
        assert torch.allclose(shared.state_dict()[name].double(), value.double(), rtol=1e-5), name
    assert torch.allclose(shared.eval()(x), norm.eval()(x), atol=1e-5)


@pytest.mark.parametrize("main, flags", [(colourization.main, ["--valid"]), (colour_regression.main, [])])
def test_torchrun_is_for_training(main, flags, second_of_two, refused, tmp_path):
    assert refused(main, *flags, "--outdir", tmp_path).startswith("error: torchrun is for training")
