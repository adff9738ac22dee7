"""Other folders, homes, languages and readers than usual."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from tests.helpers import shell


def test_started_from_another_folder(tree, tmp_path):
    done = shell(f"python '{tree}/colourization.py' --valid --model UNet --holdout 20 --outdir out", tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "eval_weights_unet_k3_f32.png").exists()


@pytest.mark.parametrize("environment", [
    {"HOME": None, "XDG_CACHE_HOME": None, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    {"PYTHONIOENCODING": "ascii"},
], ids=["no home and C locale", "ASCII terminal"])
def test_surroundings(tree, tmp_path, environment):
    """The names of the files are not ASCII."""
    shutil.copy(tree / "weights" / "cnn_k3_f16.pkl", tmp_path / "größe 16.pkl")
    command = [sys.executable, tree / "colourization.py", "--valid", "--checkpoint", "größe 16.pkl", "--holdout", "20",
               "--outdir", "öut é", "--metrics", "scores ü.json"]
    changed = {name: value for name, value in {**os.environ, **environment}.items() if value is not None}
    done = subprocess.run(command, cwd=tmp_path, env=changed, capture_output=True, timeout=300)
    assert done.returncode == 0 and done.stderr == b"", done.stderr
    assert (tmp_path / "öut é" / "eval_größe 16.png").exists()
    assert len(json.loads((tmp_path / "scores ü.json").read_text())) == 5


def test_output_closed_early(tree):
    done = subprocess.run(f"'{sys.executable}' colourization.py --valid --holdout 20 | head -1", cwd=tree, shell=True,
                          capture_output=True, text=True, timeout=300)
    assert done.stdout.startswith("Val Loss: ") and done.stdout.count("\n") == 1
    assert done.stderr == ""
