"""One training on disk: how it begins, what it records and saves, how it resumes and stops."""

import getpass
import json
import os
import re
import shutil
import signal
from dataclasses import asdict, replace

import pytest
import torch

import colour_regression
import colourization
from colour.jobs import checkpoints, runs
from colour.jobs.runs import Run, requests_to_stop, train_and_save, training_lock
from colour.learning import training
from colour.learning.networks import Architecture
from colour.learning.task import Classification, Decoding, Regression
from colour.learning.training import Recipe
from colour.palette import Palette
from colour.system.cli import UserError
from colour.system.files import sha256
from colourization import CNN
from tests.helpers import one_line, same

pytestmark = pytest.mark.usefixtures("one_thread")


def sidecar_of(weights) -> dict:
    return json.loads(checkpoints.sidecar_path(weights).read_text())


# Beginning


def test_existing_weights_are_not_overwritten(run, refused, short, small_unet):
    before = sha256(small_unet)
    for main in colourization.main, lambda argv: colour_regression.main(["--train", *argv]):
        error = refused(main, *short, "--checkpoint", small_unet)
        assert "--overwrite" in error and "--valid" in error and "--resume" not in error  # there is no state
    assert "--init" in refused(colourization.main, *short, "--checkpoint", small_unet, "--resume")
    assert sha256(small_unet) == before
    status, *_ = run(colourization.main, *short, "--checkpoint", small_unet, "--overwrite")
    assert status == 0 and sha256(small_unet) != before


def test_a_file_that_is_not_ours_is_not_replaced(refused, short, small_unet, tmp_path):
    """Without .pkl a checkpoint has the sidecar of one with it; somebody's package.json is no sidecar at all."""
    for name in "package.json", "small.json":
        (tmp_path / name).write_text('{"name": "mine"}')
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.json")}
    assert len(before) == 2
    for flags in [], ["--resume"]:
        for checkpoint in small_unet.with_suffix(""), tmp_path / "package.pkl":
            assert "--overwrite" in refused(colourization.main, *short, *flags, "--checkpoint", checkpoint)
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.parametrize("flags, said", [
    (["--checkpoint", "."], "is a folder"), (["--checkpoint", ".", "--overwrite"], "is a folder"),
    (["--checkpoint", "new.pkl", "--resume", "--overwrite"], "give one of them"),
    (["--checkpoint", "net.pkl", "--init", "net.pkl", "--overwrite"], "the same weights"),
    (["--checkpoint", ""], "--checkpoint: it is empty"), (["--init", ""], "--init: it is empty"),
    (["--valid", "--metrics", "."], "--metrics"), (["--valid", "--metrics", "net.json"], "--metrics")])
def test_what_could_only_fail_or_harm_later_is_refused_at_once(refused, short, small_unet, flags, said, monkeypatch):
    monkeypatch.chdir(small_unet.parent)
    small_unet.with_suffix(".json").write_text(json.dumps({"sha256": sha256(small_unet)}))
    before = {path: path.read_bytes() for path in small_unet.parent.glob("*.*")}
    named = [flag.replace("net", small_unet.stem) if flag.startswith("net.") else flag for flag in flags]
    assert said in refused(colourization.main, *short, *named)
    assert {path: path.read_bytes() for path in before} == before


def test_a_table_of_scores_may_be_replaced(run, short, small_unet, tmp_path):
    for _ in range(2):
        status, *_ = run(colourization.main, *short, "--valid", "--checkpoint", small_unet,
                         "--metrics", tmp_path / "scores.json")
        assert status == 0


def test_the_state_of_a_training_without_weights_is_not_overwritten(tmp_path):
    """A training that was stopped in its first epoch has a state and no weights yet."""
    path = tmp_path / "net.pkl"
    runs.may_begin(path, overwrite=False)
    checkpoints.save_state(path, {})
    with pytest.raises(UserError) as error:
        runs.may_begin(path, overwrite=False)
    assert one_line(error).startswith(str(path.with_name("net.state.pt"))) and "--resume" in one_line(error)
    assert "--valid" not in one_line(error)
    runs.may_begin(path, overwrite=True)


def test_folders_that_cannot_be_written(refused, short, tmp_path, small_unet):
    (tmp_path / "file").write_text("")
    blocked = tmp_path / "file" / "folder"
    assert "--outdir" in refused(colourization.main, "--valid", "--checkpoint", small_unet, "--outdir", blocked)
    assert "--checkpoint" in refused(colourization.main, *short, "--checkpoint", blocked / "x.pkl")


def test_a_lock_is_for_one_checkpoint(tmp_path):
    with (training_lock(tmp_path / "a.pkl"), training_lock(tmp_path / "b.pkl"),
          pytest.raises(UserError, match="another run is training .*a.pkl"), training_lock(tmp_path / "a.pkl")):
        pytest.fail("locked twice")
    with (training_lock(tmp_path / "a"), pytest.raises(UserError, match="another run"),
          training_lock(tmp_path / "a.pkl")):
        pytest.fail("they would share a sidecar")
    with training_lock(tmp_path / "a.pkl"):
        pass
    assert not list(tmp_path.iterdir())


def test_two_links_to_a_checkpoint_are_one(tmp_path):
    (tmp_path / "link.pkl").symlink_to("a.pkl")
    with (training_lock(tmp_path / "a.pkl"), pytest.raises(UserError, match="another run"),
          training_lock(tmp_path / "link.pkl")):
        pytest.fail("locked twice")


def test_what_a_killed_run_left_half_written_is_removed(tmp_path):
    half, other = tmp_path / ".net[1].pkl.abc.tmp", tmp_path / ".net.pkl.abc.tmp"
    half.touch(), other.touch()
    with training_lock(tmp_path / "net[1].pkl"):
        assert not half.exists() and other.exists()


def test_a_user_without_a_name(run, short, monkeypatch):
    """As in a container; some versions of PyTorch make a folder of this name."""
    for name in "LOGNAME", "USER", "LNAME", "USERNAME":
        monkeypatch.delenv(name, raising=False)
    pwd = pytest.importorskip("pwd")
    monkeypatch.setattr(pwd, "getpwuid", lambda uid: {}[uid])
    monkeypatch.setattr(runs, "train_and_save", lambda *_: print(getpass.getuser()))
    assert run(colourization.main, *short) == (0, "user\n", "")


# What is recorded


def test_what_identifies_a_training(tmp_path):
    run = Run(Architecture("UNet", 3, 4, 24), "horse", "1c80", tmp_path / "x.pkl", tmp_path, "python ...", 100,
              "5ha")
    palette, recipe = Palette.load(), Recipe(precision="fp32")
    identity = run.identity(recipe, Classification(palette, Decoding("mean")))
    assert identity.items() >= {"model": "UNet", "kernel": 3, "num_filters": 4, "category": "horse", "holdout": 100,
                                "init": "5ha", "palette_sha256": palette.sha256()}.items()
    assert "epochs" not in identity and asdict(recipe).items() - {("epochs", 25)} <= identity.items()
    identity = run.identity(Recipe(schedule="onecycle"), Regression())
    assert identity["epochs"] == 25 and identity["palette_sha256"] is None


def test_pictures_of_every_epoch_and_training_from_given_weights(run, refused, short, tmp_path):
    first = *short, "--plot", "-m", "DUNet", "--checkpoint", tmp_path / "first.pkl"
    assert run(colourization.main, *first)[0] == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "first_train_001.png", "first_valid_001.png", "training_curve_first.png"}
    second = *short[2:], "--init", tmp_path / "first.pkl", "--checkpoint", tmp_path / "second.pkl"
    assert run(colourization.main, *second)[0] == 0
    sidecar = sidecar_of(tmp_path / "second.pkl")
    assert sidecar["model"] == "DUNet" and sidecar["num_filters"] == 4
    assert sidecar["init"] == sha256(tmp_path / "first.pkl")


# Resuming


def test_resuming(run, refused, short, tmp_path):
    weights = tmp_path / "x.pkl"
    flags = *short, "--schedule", "constant", "--augment", "hflip", "--checkpoint", weights
    assert run(colourization.main, *flags, "--resume")[0] == 0  # there is nothing yet: it starts
    status, out, _ = run(colourization.main, *flags, "--resume", "-e", 3)
    assert status == 0 and "Epoch [2/3]" in out and "Epoch [1/3]" not in out
    assert re.search(r"\[2/3\].* s, 00:\d\d left\n", out) and re.search(r"\[3/3\].* s\n", out)
    whole = *flags[:-1], tmp_path / "whole.pkl"
    assert run(colourization.main, *whole, "-e", 3)[0] == 0
    resumed, uninterrupted = (torch.load(path, weights_only=True) for path in (weights, tmp_path / "whole.pkl"))
    assert all(torch.equal(resumed[name], uninterrupted[name]) for name in uninterrupted)
    for other in (["-b", 50], ["-f", 8], ["-l", 0.1], ["-m", "UNet"], ["--augment", "vflip"], ["-s", 5]):
        error = refused(colourization.main, *flags, "--resume", "-e", 4, *other)
        assert "--resume" in error and any(name in error for name in (
            "batch_size", "num_filters", "learn_rate", "model", "augment", "seed"))


def test_a_hyperparameter_newer_than_the_training_had_its_default(run, refused, short, tmp_path):
    flags = *short, "--checkpoint", tmp_path / "x.pkl"
    assert run(colourization.main, *flags)[0] == 0
    state = checkpoints.load_state(tmp_path / "x.pkl")
    for name in "optimizer", "label_smoothing", "num_outputs", "precision":
        del state["run"][name]
    checkpoints.save_state(tmp_path / "x.pkl", state)
    error = refused(colourization.main, *flags, "--resume", "-e", 2, "--optimizer", "muon")
    assert "--optimizer" in error and "'adam'" in error
    status, _, error = run(colourization.main, *flags, "--resume", "-e", 2)
    assert status == 0, error


def test_pictures_are_identified_by_their_bytes(run, refused, few_files, tmp_path):
    folder, flags = tmp_path / "a", ("-f", 4, "--checkpoint", tmp_path / "x.pkl", "--outdir", tmp_path / "out")
    shutil.copytree(few_files, folder)
    assert run(colourization.main, *flags, "-e", 1, "--data", folder)[0] == 0
    folder = folder.rename(tmp_path / "renamed")
    assert run(colourization.main, *flags, "-e", 2, "--data", folder, "--resume")[0] == 0
    for file in sorted(folder.iterdir())[::2]:
        file.unlink()
    assert "--data" in refused(colourization.main, *flags, "-e", 3, "--data", folder, "--resume")


def test_colour_is_validated_alike_however_pictures_are_decoded(run, short, tmp_path):
    figures = []
    for flags in [], ["--decode", "mean", "--keep_grey"]:
        assert run(colourization.main, *short, *flags, "--checkpoint", tmp_path / f"{len(flags)}.pkl")[0] == 0
        figures.append(sidecar_of(tmp_path / f"{len(flags)}.pkl")["validation"])
    assert figures[0] == figures[1]
    _, out, _ = run(colourization.main, "--valid", "--checkpoint", tmp_path / "0.pkl", "--decode", "mean",
                    *short[4:], "--metrics", tmp_path / "scores.json")
    scores = json.loads((tmp_path / "scores.json").read_text())["0"]
    assert scores["colour"] == pytest.approx(figures[0]["colour"], abs=1e-6)


def test_a_finished_one_cycle_training_says_how_to_go_on(run, refused, short, tmp_path):
    flags = *short, "--checkpoint", tmp_path / "x.pkl", "--schedule", "onecycle"
    assert run(colourization.main, *flags)[0] == 0
    status, _, error = run(colourization.main, *flags, "--resume")
    assert status == 0 and "--init" in error and "raise" not in error


def test_a_training_with_the_former_grey_start_is_refused(run, refused, short, tmp_path):
    flags = *short, "--checkpoint", tmp_path / "x.pkl"
    assert run(colourization.main, *flags)[0] == 0
    for began_with, status in (True, 2), (False, 0):
        state = checkpoints.load_state(tmp_path / "x.pkl")
        state["run"]["grey_start"] = began_with
        checkpoints.save_state(tmp_path / "x.pkl", state)
        found, _, error = run(colourization.main, *flags, "--resume", "-e", 2)
        assert found == status and ("--grey_start" in error) == began_with, error


@pytest.mark.parametrize("fast", [True, False])
def test_resuming_keeps_the_saved_precision(fast, run, refused, short, tmp_path, monkeypatch):
    """Another machine, or a busier one, may choose another precision: it is chosen once for a training."""
    flags = *short, "--checkpoint", tmp_path / "x.pkl"
    monkeypatch.setattr(training, "has_fast_bf16", lambda device: fast)
    assert run(colourization.main, *flags)[0] == 0
    assert run(colourization.main, *flags[:-1], tmp_path / "whole.pkl", "-e", 2)[0] == 0
    monkeypatch.setattr(training, "has_fast_bf16", lambda device: not fast)
    status, out, error = run(colourization.main, *flags, "--resume", "-e", 2)
    assert status == 0 and "Epoch [2/2]" in out, error
    assert sidecar_of(tmp_path / "x.pkl")["precision"] == ("bf16" if fast else "fp32")
    resumed, whole = (checkpoints.load(tmp_path / name).state for name in ("x.pkl", "whole.pkl"))
    assert same(resumed, whole)
    other = "fp32" if fast else "bf16"
    assert "--precision" in refused(colourization.main, *flags, "--resume", "-e", 3, "--precision", other)


def test_resuming_keeps_the_number_of_threads(run, short, tmp_path, monkeypatch):
    monkeypatch.setattr("colour.system.devices.free_threads", lambda: 2)
    weights = tmp_path / "a.pkl"
    run(colourization.main, *short, "--checkpoint", weights)
    monkeypatch.setattr("colour.system.devices.free_threads", lambda: 1)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    run(colourization.main, *short, "--checkpoint", weights, "--resume", "-e", 2)
    assert torch.get_num_threads() == sidecar_of(weights)["threads"] == 2
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # the user decides
    run(colourization.main, *short, "--checkpoint", weights, "--resume", "-e", 3)
    assert torch.get_num_threads() == sidecar_of(weights)["threads"] == 1


def test_a_run_killed_between_weights_and_state_repeats_the_epoch(run, refused, short, tmp_path, monkeypatch):
    flags = *short, "--checkpoint", tmp_path / "x.pkl", "--precision", "fp32"
    assert run(colourization.main, *flags)[0] == 0

    def fail(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "save_state", fail)
        status, *_ = run(colourization.main, *flags, "--resume", "-e", 2)
    after_two, sidecar, _ = checkpoints.load(tmp_path / "x.pkl")
    assert status == 2 and sidecar["epochs"] == 2
    status, out, _ = run(colourization.main, *flags, "--resume", "-e", 2)
    assert status == 0 and "Epoch [2/2]" in out
    assert same(checkpoints.load(tmp_path / "x.pkl").state, after_two)


def test_resuming_a_finished_training_trains_nothing(run, short, tmp_path):
    flags = *short, "--checkpoint", tmp_path / "x.pkl"
    assert run(colourization.main, *flags)[0] == 0
    before = sha256(tmp_path / "x.pkl")
    status, out, error = run(colourization.main, *flags, "--resume")
    assert status == 0 and "Epoch" not in out and "raise --epochs" in error
    assert sha256(tmp_path / "x.pkl") == before


# Stopping


@pytest.mark.parametrize("number", runs.SIGNALS)
def test_the_first_signal_is_a_request_and_the_second_acts_as_usual(number, capfd):
    received = []
    before = signal.signal(number, lambda number, frame: received.append(number))
    try:
        with requests_to_stop() as stop:
            assert stop() == 0
            os.kill(os.getpid(), number)
            assert stop() == number and not received
            os.kill(os.getpid(), number)
            assert received == [number]
        os.kill(os.getpid(), number)
        assert len(received) == 2
        signal.signal(number, signal.SIG_IGN)  # as nohup does
        with requests_to_stop() as stop:
            os.kill(os.getpid(), number)
            assert stop() == 0
    finally:
        signal.signal(number, before)
    assert capfd.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("error", [RuntimeError("a bug"), ZeroDivisionError("a bug")])
def test_a_bug_is_not_explained_away(error, few_horses, tmp_path, monkeypatch):
    def fail(*_):
        raise error
        yield

    monkeypatch.setattr(runs, "train", fail)
    run = Run(Architecture("CNN", 3, 2, 24), "horse", "1c80", tmp_path / "x.pkl", tmp_path, "python ...")
    with pytest.raises(type(error), match="a bug"):
        train_and_save(CNN(3, 2, 24), few_horses, few_horses, replace(Recipe(), precision="fp32"),
                       Classification(Palette.load()), run)
    assert not list(tmp_path.iterdir())
