"""The commands of the assignment, verbatim, on a copy of the repository."""

import json
import re

import pytest

from colour.system.files import ROOT, sha256
from tests import forking
from tests.helpers import shell

TRAINING = "python colourization.py --model UNet --checkpoint unet_k3_f32.pkl -b 10 -e 5"
COMMANDS = {  # what they print, and the pictures that they leave in outputs/
    "python colour_regression.py": ("Val Loss (mean squared error): 0.00", ["eval_weights_regression_cnn_k3_f32.png"]),
    "python colourization.py --model CNN --checkpoint weights/cnn_k3_f32.pkl --valid":
        ("Val Acc: ", ["eval_weights_cnn_k3_f32.png"]),
    TRAINING: ("Epoch [1/5], Loss: ", ["training_curve_unet_k3_f32.png"]),
    "python colourization.py --model UNet --checkpoint weights/unet_k3_f32.pkl --valid":
        ("Val Acc: ", ["eval_weights_unet_k3_f32.png"]),
    "python colourization.py --model DUNet --checkpoint weights/dunet_k3_f32.pkl --valid":
        ("Val Acc: ", ["eval_weights_dunet_k3_f32.png"]),
    "python activations.py 7 --model CNN --checkpoint weights/cnn_k3_f32.pkl":
        ("downconv1", ["act7/weights_cnn_k3_f32_downconv1.png", "act7/weights_cnn_k3_f32_overview.png",
                       "act7/input.png", "act7/input_grey.png"]),
    "python activations.py 7 --model UNet --checkpoint weights/unet_k3_f32.pkl":
        ("rfconv", ["act7/weights_unet_k3_f32_rfconv.png", "act7/weights_unet_k3_f32_prediction.png"]),
}


@pytest.mark.parametrize("command", [command for command in COMMANDS if command != TRAINING])
def test_command(tree, command):
    said, pictures = COMMANDS[command]
    done = forking.run(command.split()[1:], tree)
    assert done.returncode == 0, done.stderr
    assert said in done.stdout
    assert done.stderr == ""
    for picture in pictures:
        assert (tree / "outputs" / picture).read_bytes().startswith(b"\x89PNG")


def test_training_command(tree, few_files):
    """Everything is as in the command, but the pictures are few."""
    command = f"{TRAINING} --data {few_files}"
    done = forking.run(command.split()[1:], tree)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    for epoch in range(1, 6):
        assert lines[epoch - 1].startswith(f"Epoch [{epoch}/5], Loss: ")
        assert "Val Loss: " in lines[epoch - 1] and "Val Acc: " in lines[epoch - 1]
        assert re.search(r" s, \d\d:\d\d left$" if epoch < 5 else " s$", lines[epoch - 1])
    assert done.stderr == ("training a UNet of 112,344 parameters on 30 pictures: epochs 1 to 5, 3 batches each; "
                           "it saves to unet_k3_f32.pkl\n")
    assert (tree / "outputs" / "training_curve_unet_k3_f32.png").exists()
    sidecar = json.loads((tree / "unet_k3_f32.json").read_text())
    assert sidecar["sha256"] == sha256(tree / "unet_k3_f32.pkl")
    assert sidecar["model"] == "UNet" and sidecar["epochs"] == 5 == len(sidecar["history"])
    assert sidecar["command"] == command
    assert forking.run(command.split()[1:], tree).returncode == 2  # a second time would overwrite


@pytest.mark.parametrize("script", ["colourization.py", "colour_regression.py", "activations.py", "load_data.py",
                                    "-m colour.kmeans"])
def test_help(tree, script):
    done = forking.run([*script.split(), "--help"], tree)
    assert done.returncode == 0
    assert "usage:" in done.stdout and str(ROOT) not in done.stdout and str(tree) not in done.stdout


def test_imports_do_nothing(tree):
    before = sorted(tree.rglob("*"))
    code = """import torch, sys; loaded_by_torch = {*sys.modules}
def unwanted(*names): assert not {*names} & (sys.modules.keys() - loaded_by_torch)  # some versions load tqdm
import colourization
unwanted('sklearn', 'matplotlib', 'tqdm', 'scipy')
import colour_regression, activations, load_data
unwanted('sklearn', 'matplotlib')"""
    done = shell(f'python -c "{code}"', tree)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert sorted(tree.rglob("*")) == before
