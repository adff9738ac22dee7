"""Trainings that are killed, interrupted, started twice or gone wrong lose nothing.

    KILLS=100 KILL_SEED=1 python -m pytest tests/promises/test_survival.py
"""

import json
import os
import random
import shlex
import signal
import time

import pytest
import torch

import colourization
from colour.jobs import checkpoints
from colour.jobs.runs import may_begin
from colour.system.cli import UserError
from colour.system.files import ROOT
from tests import forking
from tests.helpers import same


@pytest.fixture(scope="module")
def command(few_files, tmp_path_factory):
    """The command of a training of many small steps; the path to save to is still missing."""
    outdir = tmp_path_factory.mktemp("outputs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        flags = "--model UNet -f 1 -b 2 --schedule onecycle --augment hflip,vshift -e 8"
        yield [*shlex.split(flags), "--data", str(few_files), "--outdir", str(outdir), "--checkpoint"]


def start(command, path, *flags):
    """Start a training, in float32 at first; after that it must go on in what was saved."""
    first = () if checkpoints.state_path(path).exists() else ("--precision", "fp32")
    return forking.Program([ROOT / "colourization.py", *command, path, *first, *flags])


@pytest.fixture(scope="module")
def whole(command, tmp_path_factory):
    """The weights and the history of an uninterrupted training."""
    return finish(command, tmp_path_factory.mktemp("whole") / "whole.pkl")


def finish(command, path):
    done = start(command, path, "--resume")
    out, error = done.communicate(timeout=120)
    assert done.returncode == 0, error
    assert "Epoch [8/8]" in out
    return what_was_learnt(path)


def what_was_learnt(path):
    weights, sidecar, _ = checkpoints.load(path)
    seconds = [record.pop("seconds") for record in sidecar["history"]]
    assert len(seconds) == sidecar["epochs"]
    return weights, sidecar["history"]


def learnt_the_same(one, other) -> bool:
    (weights, history), (others, other_history) = one, other
    return history == other_history and same(weights, others)


def test_killed_at_any_moment_and_resumed(command, whole, tmp_path):
    """An epoch here mostly writes and flushes its three files, so that kills also fall in the middle of that."""
    path, moments = tmp_path / "killed.pkl", random.Random(int(os.environ.get("KILL_SEED", 0)))
    for kill in range(int(os.environ.get("KILLS", 2))):
        training = start(command, path, "--resume")
        training.stdout.readline()  # the line of its first epoch
        time.sleep(moments.uniform(0, 0.3))
        training.kill()
        training.communicate()
        sidecar = checkpoints.load(path).sidecar  # complete whatever the moment; a sidecar of other weights is ignored
        if sidecar.get("epochs") == 8:  # it has ended, perhaps without its last state: resume it and begin again
            assert learnt_the_same(what_was_learnt(path), whole)
            rest = start(command, path, "--resume")
            rest.communicate(timeout=120)
            assert rest.returncode == 0 and learnt_the_same(what_was_learnt(path), whole)
            path = tmp_path / f"killed{kill}.pkl"
    assert learnt_the_same(finish(command, path), whole)
    assert not [name for name in os.listdir(tmp_path) if name.endswith((".tmp", ".lock"))]


def test_a_request_to_stop_saves_the_batch(command, whole, tmp_path):
    """It then dies of the signal, so that a loop of the shell ends, too."""
    path = tmp_path / "stopped.pkl"
    training = start(command, path)
    assert "Epoch [1/8]" in training.stdout.readline()
    training.send_signal(signal.SIGHUP)
    _, error = training.communicate(timeout=60)
    assert training.returncode == -signal.SIGHUP
    assert "--resume goes on" in error and "Traceback" not in error
    state = torch.load(checkpoints.state_path(path), weights_only=True)
    assert 0 < len(state["history"]) < 8 and state["done"] < 19  # within an epoch of 19 batches, or after one
    with pytest.raises(UserError, match="--resume"):
        may_begin(path, overwrite=False)
    assert learnt_the_same(finish(command, path), whole)


def test_two_runs_on_one_checkpoint(command, tmp_path, refused):
    path = tmp_path / "one.pkl"
    first = start(command, path, "--schedule", "constant", "-e", 10_000)
    assert "Epoch [1/" in first.stdout.readline()
    for flag in "--resume", "--overwrite":
        assert refused(colourization.main, *command, path, flag).startswith("error: another run is training")
    first.kill()  # which frees the lock
    first.communicate()
    assert colourization.main([*command, str(path), "--overwrite", "-e", "1"]) == 0


def test_a_loss_that_is_not_finite_stops_the_run(command, tmp_path, run):
    path = tmp_path / "diverged.pkl"
    assert colourization.main([*command, str(path), "-e", "1", "--schedule", "constant"]) == 0
    kept = path.read_bytes(), checkpoints.state_path(path).read_bytes()
    # Each step makes every weight a million million times larger.
    status, _, error = run(colourization.main, *command, path, "-l", "1e6", "--weight_decay", "1e6", "--overwrite")
    begins, error = error.splitlines()
    assert status == 2 and begins.startswith("training a UNet ")
    assert error.startswith("error: the loss is no longer finite at batch ")
    assert "epoch 1" in error and "--learn_rate" in error
    assert kept == (path.read_bytes(), checkpoints.state_path(path).read_bytes())


def test_a_training_state_of_another_network(command, tmp_path, refused):
    """Whatever is in the file, it fits the network or it is refused."""
    path = tmp_path / "net.pkl"
    state_path = checkpoints.state_path(path)
    assert colourization.main([*command, str(path), "-e", "1", "--precision", "fp32"]) == 0
    good = torch.load(state_path, weights_only=True)
    moment = good["optimizer"][0]
    record = good["history"][0]
    bad = [{"model": {**good["model"], "finalconv.bias": torch.zeros(3)}}, {"model": {}}, {"model": 5},
           {"optimizer": {}}, {"optimizer": {**good["optimizer"], 0: {**moment, "step": 1}}},
           {"optimizer": {**good["optimizer"], 0: {**moment, "exp_avg": torch.zeros(2)}}},
           {"history": [{**record, "loss": "0"}]}, {"history": [{}]}, {"history": 7}, {"done": -1}, {"done": "1"},
           {"done": 3, "tally": {**good["tally"], "pixels": 0}}, {"tally": {}}, {"run": 3},
           {"tally": {**good["tally"], "loss": "x"}}]
    for change in bad:
        torch.save({**good, **change}, state_path)
        assert str(state_path) in refused(colourization.main, *command, path, "-e", "1", "--resume"), change
    torch.save(good, state_path)
    assert json.loads(checkpoints.sidecar_path(path).read_text())["epochs"] == 1
    assert colourization.main([*command, str(path), "-e", "1", "--resume"]) == 0
