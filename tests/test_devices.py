"""What a training is computed in, and the memory that it keeps."""

import itertools
import json
import platform
import subprocess
import sys
import time

import pytest
import torch
import torch.nn.functional as F

from colour import devices
from colour.files import ROOT
from colourization import main

CPU = torch.device("cpu")


@pytest.mark.parametrize("milliseconds, fast", [({torch.float32: 2, torch.bfloat16: 1}, True),
                                                ({torch.float32: 1, torch.bfloat16: 1}, False),
                                                ({torch.float32: 1, torch.bfloat16: 2}, False)])
def test_a_cpu_is_timed(milliseconds, fast, monkeypatch):
    monkeypatch.setattr(F, "conv2d", lambda x, weight, padding: time.sleep(milliseconds[x.dtype] / 1000))
    threads = torch.get_num_threads()
    assert devices.has_fast_bf16(CPU) == fast
    assert torch.get_num_threads() == threads


def test_the_answer_is_always_the_same():
    assert len({devices.has_fast_bf16(CPU) for _ in range(5)}) == 1


def test_weights_in_the_thousands_learn_in_bfloat16(tmp_path):
    """Its 8 bits are too few for the grey input of the last layer, which therefore stays in float32."""
    losses = {}
    for precision in "fp32", "bf16":
        main(["-m", "UNet", "-f", "4", "-e", "2", "--holdout", "4900", "--grey_start", "--precision", precision,
              "-b", "10", "-l", "0.002", "--outdir", str(tmp_path), "--checkpoint", str(tmp_path / f"{precision}.pkl")])
        history = json.loads((tmp_path / f"{precision}.json").read_text())["history"]
        losses[precision] = [epoch["loss"] for epoch in history]
    assert losses["bf16"] == pytest.approx(losses["fp32"], abs=0.01)
    assert losses["fp32"][-1] < 1.1


@pytest.mark.parametrize("precision, fast, expected", [("auto", True, "bf16"), ("auto", False, "fp32"),
                                                       ("bf16", False, "bf16"), ("fp32", True, "fp32")])
def test_the_sidecar_says_what_a_training_was_computed_in(precision, fast, expected, monkeypatch, tmp_path):
    monkeypatch.setattr(devices, "has_fast_bf16", lambda device: fast)
    main(["-f", "2", "-e", "1", "--holdout", "4900", "--precision", precision, "--outdir", str(tmp_path),
          "--checkpoint", str(tmp_path / "a.pkl")])
    assert json.loads((tmp_path / "a.json").read_text())["precision"] == expected


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="others have no such setting")
def test_freed_memory_is_kept_for_the_next_step():
    code = """if True:
        import resource, torch
        from colour.devices import pick_device
        from colourization import Data, UNet, train

        pick_device(gpu=False)
        data = Data(torch.zeros(1000, 3, 32, 32, dtype=torch.uint8), torch.zeros(1000, 32, 32, dtype=torch.uint8))
        for _ in train(UNet(3, 32, 24), data, data, epochs=4, batch_size=500):
            print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)"""
    counts = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    faults = [int(count) for count in counts.split()]
    assert min(after - before for before, after in itertools.pairwise(faults)) < faults[0] / 10
