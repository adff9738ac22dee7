"""What a training is computed in, and that a replayed step is the step."""

import itertools
import json
import time
from copy import deepcopy

import pytest
import torch
import torch.nn.functional as F

from colour.learning import speed, training
from colour.system.devices import pick_device
from colourization import UNet, main
from tests.helpers import needs_gpu

CPU = torch.device("cpu")


@pytest.mark.parametrize("milliseconds, fast", [({torch.float32: 2, torch.bfloat16: 1}, True),
                                                ({torch.float32: 1, torch.bfloat16: 1}, False),
                                                ({torch.float32: 1, torch.bfloat16: 2}, False)])
def test_a_cpu_is_timed(milliseconds, fast, monkeypatch):
    disturbed = itertools.cycle([1, 1, 1, 1, 5])  # by other work, also the last time
    monkeypatch.setattr(F, "conv2d", lambda x, *_, **__: time.sleep(milliseconds[x.dtype] * next(disturbed) / 1000))
    threads = torch.get_num_threads()
    assert speed.has_fast_bf16(CPU) == fast
    assert torch.get_num_threads() == threads


def test_other_devices_are_not_timed(monkeypatch):
    monkeypatch.setattr(F, "conv2d", lambda x, weight, padding: time.sleep(0.002 * (x.dtype == torch.float32)))
    assert not speed.has_fast_bf16(torch.device("mps"))
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation)
    assert not speed.has_fast_bf16(torch.device("cuda"))  # one that would only emulate it


def test_the_answer_is_always_the_same():
    assert len({speed.has_fast_bf16(CPU) for _ in range(5)}) == 1


@pytest.mark.parametrize("precision, fast, expected", [("auto", True, "bf16"), ("auto", False, "fp32"),
                                                       ("bf16", False, "bf16"), ("fp32", True, "fp32")])
def test_the_sidecar_says_what_a_training_was_computed_in(precision, fast, expected, short, run, monkeypatch, tmp_path):
    monkeypatch.setattr(training, "has_fast_bf16", lambda device: fast)
    run(main, *short, "--precision", precision, "--checkpoint", tmp_path / "a.pkl")
    assert json.loads((tmp_path / "a.json").read_text())["precision"] == expected


@needs_gpu
def test_a_replayed_step_does_what_the_step_does():
    pick_device(gpu=True)
    network = UNet(3, 8, 24).cuda()

    def step(grey, nothing):
        network.zero_grad()
        loss = network(grey).square().mean()
        loss.backward()
        return loss.detach()

    replay = speed.replayed(step, torch.device("cuda"), list(network.parameters()))
    for pictures in 4, 4, 4, 3, 4, 3, 3:
        grey, before, results = torch.rand(pictures, 1, 32, 32, device="cuda"), deepcopy(network.state_dict()), []
        for function in step, replay:
            network.load_state_dict(before)
            loss = function(grey, None)
            results.append([loss.clone(), *(one.clone() for one in network.buffers()),
                            *(parameter.grad.clone() for parameter in network.parameters())])
        assert all(map(torch.equal, *results))
