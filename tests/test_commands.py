"""Every command as a user types it, on a copy of the tree; and what is refused, in one line."""

import json
import os
import shlex
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch

import activations
import colour_regression
import colourization
from colour.files import ROOT, sha256
from colourization import CNN, UNet

TRAINING = "python colourization.py --model UNet --checkpoint unet_k3_f32.pkl -b 10 -e 5"
COMMANDS = {  # of the assignment: what they print, and the pictures they leave in outputs/
    "python colour_regression.py": ("Val Loss (mean squared error): 0.00", ["regression_output.png"]),
    "python colourization.py --model CNN --checkpoint weights/cnn_k3_f32.pkl --valid":
        ("Val Acc: ", ["eval_CNN.png"]),
    TRAINING: ("Epoch [1/5], Loss: ", ["training_curve.png"]),
    "python colourization.py --model UNet --checkpoint weights/unet_k3_f32.pkl --valid":
        ("Val Acc: ", ["eval_UNet.png"]),
    "python colourization.py --model DUNet --checkpoint weights/dunet_k3_f32.pkl --valid":
        ("Val Acc: ", ["eval_DUNet.png"]),
    "python activations.py 7 --model CNN --checkpoint weights/cnn_k3_f32.pkl":
        ("downconv1", ["act7/CNN_downconv1.png", "act7/CNN_finalconv.png", "act7/input.png", "act7/input_grey.png"]),
    "python activations.py 7 --model UNet --checkpoint weights/unet_k3_f32.pkl":
        ("rfconv", ["act7/UNet_rfconv.png", "act7/UNet_prediction.png", "act7/UNet_uncertainty.png"]),
}


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """A copy of the repository in a folder whose name is no plain word, without pictures."""
    tree = tmp_path_factory.mktemp("a copy é")
    for name in ("colour", "weights"):
        shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__", "retrained"))
    (tree / "data").mkdir()
    shutil.copy(ROOT / "data" / "cifar10_horses.npz", tree / "data")
    for script in ROOT.glob("*.py"):
        shutil.copy(script, tree)
    return tree


def shell(command, folder, **options):
    words = shlex.split(command)
    assert words.pop(0) == "python"
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run([sys.executable, *words], cwd=folder, env=environment, capture_output=True, text=True,
                          timeout=300, **options)


@pytest.mark.parametrize("command", [command for command in COMMANDS if command != TRAINING])
def test_commands_of_the_assignment(tree, command):
    said, pictures = COMMANDS[command]
    done = shell(command, tree)
    assert done.returncode == 0, done.stderr
    assert said in done.stdout
    assert done.stderr == ""
    for picture in pictures:
        assert (tree / "outputs" / picture).read_bytes().startswith(b"\x89PNG")


def test_training_as_the_assignment_has_it(tree):
    """Shortened: on a few pictures, by holding out the others; everything else as in the command."""
    done = shell(f"{TRAINING} --holdout 4900", tree)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    for epoch in range(1, 6):
        assert lines[epoch - 1].startswith(f"Epoch [{epoch}/5], Loss: ")
        assert "Val Loss: " in lines[epoch - 1] and "Val Acc: " in lines[epoch - 1] and lines[epoch - 1].endswith(" s")
    assert (tree / "outputs" / "training_curve.png").exists()
    sidecar = json.loads((tree / "unet_k3_f32.json").read_text())
    assert sidecar["sha256"] == sha256(tree / "unet_k3_f32.pkl")
    assert sidecar["model"] == "UNet" and sidecar["epochs"] == 5 == len(sidecar["history"])
    assert sidecar["command"] == f"{TRAINING} --holdout 4900"
    assert shell(f"{TRAINING} --holdout 4900", tree).returncode == 2  # a second time would overwrite


def test_started_from_another_folder(tree, tmp_path):
    done = shell(f"python '{tree}/colourization.py' --valid --model UNet --outdir out", tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "eval_UNet.png").exists()


@pytest.mark.parametrize("environment", [
    {"HOME": None, "XDG_CACHE_HOME": None},
    {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    {"PYTHONIOENCODING": "ascii"},
], ids=["no home", "C locale", "ASCII terminal"])
def test_surroundings(tree, tmp_path, environment):
    """With names that are not ASCII."""
    shutil.copy(tree / "weights" / "cnn_k3_f16.pkl", tmp_path / "größe 16.pkl")
    command = [sys.executable, tree / "colourization.py", "--valid", "--checkpoint", "größe 16.pkl", "--holdout", "20",
               "--outdir", "öut é", "--metrics", "scores ü.json"]
    changed = {name: value for name, value in {**os.environ, **environment}.items() if value is not None}
    done = subprocess.run(command, cwd=tmp_path, env=changed, capture_output=True, timeout=300)
    assert done.returncode == 0 and done.stderr == b"", done.stderr
    assert (tmp_path / "öut é" / "eval_CNN.png").exists()
    assert len(json.loads((tmp_path / "scores ü.json").read_text())) == 5


@pytest.mark.parametrize("script", ["colourization.py", "colour_regression.py", "activations.py", "load_data.py",
                                    "-m colour.kmeans"])
def test_help_says_what_each_flag_is_for(tree, script):
    done = shell(f"python {script} --help", tree)
    assert done.returncode == 0
    assert "usage:" in done.stdout and str(ROOT) not in done.stdout and str(tree) not in done.stdout


def test_imports_do_nothing(tree):
    code = ("import colourization, colour_regression, activations, load_data, sys; "
            "assert not {'matplotlib', 'sklearn'} & sys.modules.keys()")
    before = sorted(tree.rglob("*"))
    done = shell(f'python -c "{code}"', tree)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert sorted(tree.rglob("*")) == before


def test_output_closed_early(tree):
    done = subprocess.run(f"'{sys.executable}' colourization.py --valid -m CNN | head -1", cwd=tree, shell=True,
                          capture_output=True, text=True, timeout=300)
    assert done.stdout.startswith("Val Loss: ") and done.stdout.count("\n") == 1
    assert done.stderr == ""


# In this process: small networks, every flag, every refusal


@pytest.fixture
def small(tmp_path):
    """A small UNet's weights, without a sidecar."""
    torch.manual_seed(0)
    torch.save(UNet(3, 4, 24).state_dict(), tmp_path / "small.pkl")
    return tmp_path / "small.pkl"


def run(capsys, main, *argv):
    """Run a script's main; its status, standard output and standard error."""
    try:
        status = main(list(map(str, argv)))
    except SystemExit as stop:
        status = stop.code
    return status, *capsys.readouterr()


def refused(capsys, main, *argv):
    """Check that this ends with status 2 and one line on standard error; return the line."""
    status, out, error = run(capsys, main, *argv)
    assert status == 2 and out == ""
    assert error.startswith("error: ") and error.count("\n") == 1 and error.endswith("\n")
    return error


def short(tmp_path, *more):
    """Flags of a training that takes a second."""
    return "-f", 4, "-e", 1, "--holdout", 4900, "--outdir", tmp_path / "out", *more


@pytest.mark.parametrize("flags, said", [
    (["-k", 4], "-k"), (["-k", 0], "-k"), (["-f", 0], "-f"), (["-b", 0], "-b"), (["-e", 0], "-e"), (["-e", "x"], "-e"),
    (["-l", 0], "-l"), (["-l", -1], "-l"), (["-l", "nan"], "-l"), (["-s", -1], "-s"),
    (["--model", "VGG"], "--model"),
    (["--augment", "hflip,rot"], "rot"), (["--holdout", 5000], "--holdout 5000"), (["--holdout", 0], "--holdout"),
    (["--weight_decay", -1], "--weight_decay"), (["--schedule", "cosine"], "--schedule"),
    (["--temperature", 0], "--temp"),
    (["--category", "unicorn"], "unicorn"), (["--colours", "none.npy"], "none.npy"), (["--data", "nowhere"], "nowhere"),
    (["--unknown"], "--unknown"), (["--val"], "--val"), (["--compare", "none.pkl"], "none.pkl"),
    (["--valid", "--checkpoint", "none.pkl"], "none.pkl"), (["--valid", "--image", "x.jpg"], "--image"),
    (["--metrics", "x.json"], "--metrics"),
    (["--grey_start", "-m", "CNN"], "--grey_start"),
])
def test_refused_flags(capsys, tmp_path, flags, said):
    assert said in refused(capsys, colourization.main, *short(tmp_path), "--checkpoint", tmp_path / "x.pkl", *flags)
    assert not list(tmp_path.glob("x.*"))


def test_a_gpu_that_is_not_there(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    for main in colourization.main, colour_regression.main, lambda argv: activations.main(["7", *argv]):
        assert "--gpu" in refused(capsys, main, "--gpu")


def test_refused_flags_of_regression(capsys, tmp_path):
    for flags, said in (["--train", "--image", "x.jpg"], "--image"), (["--train", "--metrics", "x.json"], "--metrics"):
        assert said in refused(capsys, colour_regression.main, *short(tmp_path), *flags)


def test_existing_weights_are_not_overwritten(capsys, tmp_path, small):
    before = sha256(small)
    for main in colourization.main, lambda argv: colour_regression.main(["--train", *argv]):
        error = refused(capsys, main, *short(tmp_path), "--checkpoint", small)
        assert "--overwrite" in error and "--valid" in error and "--resume" in error
    assert "--init" in refused(capsys, colourization.main, *short(tmp_path), "--checkpoint", small, "--resume")
    assert sha256(small) == before
    status, out, _ = run(capsys, colourization.main, *short(tmp_path), "--checkpoint", small, "--overwrite")
    assert status == 0 and sha256(small) != before


def test_folders_that_cannot_be_written(capsys, tmp_path, small):
    (tmp_path / "file").write_text("")
    blocked = tmp_path / "file" / "folder"
    assert "--outdir" in refused(capsys, colourization.main, "--valid", "--checkpoint", small, "--outdir", blocked)
    assert "--checkpoint" in refused(capsys, colourization.main, *short(tmp_path), "--checkpoint", blocked / "x.pkl")


def test_resuming(capsys, tmp_path):
    weights = tmp_path / "x.pkl"
    flags = *short(tmp_path, "--schedule", "constant", "--augment", "hflip"), "--checkpoint", weights
    assert run(capsys, colourization.main, *flags, "--resume")[0] == 0  # nothing there yet: it starts
    status, out, _ = run(capsys, colourization.main, *flags, "--resume", "-e", 3)
    assert status == 0 and "Epoch [2/3]" in out and "Epoch [1/3]" not in out
    whole = *flags[:-1], tmp_path / "whole.pkl"
    assert run(capsys, colourization.main, *whole, "-e", 3)[0] == 0
    resumed, uninterrupted = (torch.load(path, weights_only=True) for path in (weights, tmp_path / "whole.pkl"))
    assert all(torch.equal(resumed[name], uninterrupted[name]) for name in uninterrupted)
    for other in (["-b", 50], ["-f", 8], ["-l", 0.1], ["-m", "UNet"], ["--augment", "vflip"], ["-s", 5]):
        error = refused(capsys, colourization.main, *flags, "--resume", "-e", 4, *other)
        assert "--resume" in error and any(name in error for name in (
            "batch_size", "num_filters", "learn_rate", "model", "augment", "seed"))


@pytest.mark.parametrize("decode", ["argmax", "mean", "annealed"])
def test_scores_are_those_of_the_decoding_that_is_drawn(capsys, tmp_path, small, decode):
    flags = ["--valid", "--checkpoint", small, "--outdir", tmp_path, "--holdout", 20, "--decode", decode]
    status, out, _ = run(capsys, colourization.main, *flags, "--metrics", tmp_path / "plain.json")
    assert status == 0 and out.startswith("Val Loss: ") and "all-grey picture" in out and "palette ceiling" in out
    run(capsys, colourization.main, *flags, "--keep_grey", "--metrics", tmp_path / "kept.json")
    plain, kept = (json.loads((tmp_path / name).read_text()) for name in ("plain.json", "kept.json"))
    assert kept["small"]["psnr"] > plain["small"]["psnr"]  # random colours: knowing the grey must help
    assert kept["small"]["acc"] == plain["small"]["acc"]
    assert kept["palette ceiling"] == plain["palette ceiling"]


def test_comparison_takes_regression_too(capsys, tmp_path, small):
    torch.manual_seed(0)
    torch.save(CNN(3, 4, 3).state_dict(), tmp_path / "regression.pkl")
    (tmp_path / "other").mkdir()
    shutil.copy(small, tmp_path / "other")
    files = [small, tmp_path / "regression.pkl", tmp_path / "other" / "small.pkl"]
    status, out, _ = run(capsys, colourization.main, "--compare", *files, "--outdir", tmp_path, "--holdout", 20,
                         "--metrics", tmp_path / "m.json")
    assert status == 0
    rows = json.loads((tmp_path / "m.json").read_text())
    assert {str(small), str(files[2]), "regression"} < rows.keys()
    assert "acc" not in rows["regression"] and "acc" in rows[str(small)]
    assert (tmp_path / "compare.png").exists()


def test_pictures_of_every_epoch_and_pretraining(capsys, tmp_path):
    first = *short(tmp_path, "--plot", "-m", "DUNet", "--grey_start"), "--checkpoint", tmp_path / "first.pkl"
    assert run(capsys, colourization.main, *first)[0] == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "DUNet_train_001.png", "DUNet_valid_001.png", "training_curve.png"}
    second = *short(tmp_path)[2:], "--init", tmp_path / "first.pkl", "--checkpoint", tmp_path / "second.pkl"
    assert run(capsys, colourization.main, *second)[0] == 0
    sidecar = json.loads((tmp_path / "second.json").read_text())
    assert sidecar["model"] == "DUNet" and sidecar["num_filters"] == 4
    assert sidecar["init"] == sha256(tmp_path / "first.pkl")
    assert "--init" in refused(capsys, colourization.main, *second, "--overwrite", "--grey_start")


def test_regression_trains_and_is_scored(capsys, tmp_path):
    weights = tmp_path / "r.pkl"
    flags = "--outdir", tmp_path, "--holdout", 4900
    status, out, _ = run(capsys, colour_regression.main, "--train", "-f", 4, "-e", 2, *flags, "--checkpoint", weights)
    assert status == 0 and "Epoch [2/2], Loss: " in out and "Val Acc" not in out
    status, out, _ = run(capsys, colour_regression.main, "--checkpoint", weights, *flags)
    mse = json.loads(weights.with_suffix(".json").read_text())["validation"]["loss"]
    assert status == 0 and f"Val Loss (mean squared error): {mse:.6f}" in out
    assert (tmp_path / "regression_output.png").exists()


def test_a_grey_photograph_of_one_colour_has_no_colourfulness_to_divide_by(capsys, tmp_path, monkeypatch):
    """A set of constant pictures goes through every score without a warning."""
    flat = np.full((8, 3, 32, 32), 100, np.uint8)
    monkeypatch.setattr(colourization, "load_category", lambda *_: (flat, flat))
    torch.save(CNN(3, 4, 24).state_dict(), tmp_path / "x.pkl")
    status, out, error = run(capsys, colourization.main, "--valid", "--checkpoint", tmp_path / "x.pkl",
                             "--outdir", tmp_path)
    assert status == 0 and error == ""
