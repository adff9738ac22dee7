"""Several processes learn what one learns; a training that torchrun starts, as a user does, may lose one of them."""

import os
import signal
import socket
import time
from contextlib import suppress
from pathlib import Path

import pytest
import torch

from colour.jobs import checkpoints
from colour.learning.pictures import PictureSet
from colour.learning.task import Classification
from colour.learning.training import Recipe, example_state, train
from colour.palette import Palette
from colour.system.files import ROOT
from colourization import CNN, UNet
from load_data import load_horses
from tests import forking

TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2")
RECIPE = Recipe(epochs=2, batch_size=7, learn_rate=1e-4, augment=("hflip", "vshift"), precision="fp32")
# Each process takes the steps below: 22 pictures in batches of 7; the last has one picture, so one process has none.
SCRIPT = """
import sys, torch
sys.path.insert(0, sys.argv[2])
from colour.system import torchrun
from tests.promises.test_torchrun import few_steps
with torchrun.processes(torch.device("cpu")):
    torch.save(few_steps(), f"{sys.argv[1]}/{torchrun.rank()}.pt")
"""


def few_steps():
    """Return the training state after two short epochs."""
    images = torch.from_numpy(load_horses()[0][:22])
    pictures = PictureSet(images, images[:, 0] // 16)
    torch.manual_seed(0)
    network = UNet(3, 4, 16)
    task = Classification(Palette(torch.linspace(0, 0.9, 16)[:, None].expand(16, 3).numpy()))
    *_, state = train(network, pictures, pictures, RECIPE, task)
    return state


def together(*words):
    """Run two processes of one training as torchrun starts them, but forked, which saves importing PyTorch."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
    shared = {**os.environ, "OMP_NUM_THREADS": "1", "TORCHELASTIC_RUN_ID": "1", "WORLD_SIZE": "2",
              "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    programs = [forking.Program(words, environment={**shared, "RANK": rank, "LOCAL_RANK": rank}) for rank in "01"]
    (out, error), (no_out, other_error) = (program.communicate(timeout=120) for program in programs)
    assert [program.returncode for program in programs] == [0, 0], error + other_error
    assert no_out == ""  # the first one alone prints
    return out


def test_two_processes_learn_what_one_learns(tmp_path):
    script = tmp_path / "steps.py"
    script.write_text(SCRIPT)
    together(script, tmp_path, ROOT)
    one = few_steps()
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2))
    for name, value in one["model"].items():
        assert torch.equal(first["model"][name], second["model"][name]), name
        # BatchNorm subtracts these again, so their gradients are rounding errors, which Adam turns into whole steps.
        if not name.endswith((".0.bias", "running_mean")):
            assert torch.allclose(first["model"][name].double(), value.double(), rtol=1e-5, atol=1e-5), name
    for several, single in zip(first["history"], one["history"], strict=True):
        for figure in "loss", "acc", "val_loss":
            assert several[figure] == pytest.approx(single[figure], abs=1e-4 if figure == "val_loss" else 1e-5)
        assert several["val_colour"] == pytest.approx(single["val_colour"], abs=1e-2)  # dB
    assert all(record == {**other, "seconds": record["seconds"]}
               for record, other in zip(first["history"], second["history"], strict=True))


FLAGS = ("colourization.py", "--model", "CNN", "-f", 2, "-b", 11)


def worker(rank, checkpoint):
    """Find the numbers of the processes that have this rank in the training of a checkpoint."""
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended meanwhile, or is somebody else's
            if (f"LOCAL_RANK={rank}\0".encode() in (folder / "environ").read_bytes()
                    and bytes(checkpoint) in (folder / "cmdline").read_bytes()):
                yield int(folder.name)


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="looks for processes as Linux shows them")
def test_a_training_under_torchrun(few_files, tmp_path):
    path = tmp_path / "two.pkl"
    flags = (*FLAGS, "--data", few_files, "--outdir", tmp_path, "--checkpoint", path)
    process = forking.Program([*TORCHRUN, *flags, "-e", 10_000], environment={**os.environ, "OMP_NUM_THREADS": "1"})
    try:
        assert process.stdout.readline().startswith("Epoch [1/")
        lost, = worker(1, path)
        os.kill(lost, signal.SIGKILL)
        start = time.monotonic()
        _, error = process.communicate(timeout=120)
        assert process.returncode != 0 and time.monotonic() - start < 60
    finally:
        process.terminate()  # the launcher ends its workers
        process.wait(60)
    assert "a process of this training failed or was lost" in error and "--resume goes on" in error
    network = CNN(3, 2, 24)
    checkpoints.check_state(path, checkpoints.load_state(path), example_state(network, Recipe()), None, steps=10)
    epochs = checkpoints.load(path).sidecar["epochs"]
    out = together(*flags, "-e", epochs + 1, "--resume")
    assert out.startswith(f"Epoch [{epochs + 1}/") and out.count("Epoch") == out.count("weights in") == 1
