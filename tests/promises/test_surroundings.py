"""Other folders, homes, languages and readers than usual."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from colour.system.files import ROOT
from tests import forking


def test_surroundings(tree, tmp_path):
    """Another folder, no home, the C locale, a terminal of ASCII; the names of the files are not ASCII."""
    environment = {"HOME": None, "XDG_CACHE_HOME": None, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0",
                   "PYTHONSAFEPATH": "1", "PYTHONIOENCODING": "ascii"}
    shutil.copy(tree / "weights" / "cnn_k3_f16.pkl", tmp_path / "größe 16.pkl")
    command = [sys.executable, tree / "colourization.py", "--valid", "--checkpoint", "größe 16.pkl", "--holdout", "20",
               "--outdir", "öut é", "--metrics", "scores ü.json"]
    changed = {name: value for name, value in {**os.environ, **environment}.items() if value is not None}
    done = subprocess.run(command, cwd=tmp_path, env=changed, capture_output=True, timeout=300)
    assert done.returncode == 0 and done.stderr == b"", done.stderr
    assert (tmp_path / "öut é" / "eval_größe 16.png").exists()
    assert len(json.loads((tmp_path / "scores ü.json").read_text())) == 5


def test_output_closed_early(tree):
    program = forking.Program([tree / "colourization.py", "--valid", "--holdout", "20"], tree)
    assert program.stdout.readline().startswith("Val Loss: ")
    program.hang_up()
    assert program.communicate() == ("", "") and program.returncode == 0


@pytest.mark.skipif(not shutil.which("git"), reason="needs git")
def test_a_checkout_on_windows_keeps_line_ends(tmp_path):
    shutil.copy(ROOT / ".gitattributes", tmp_path)
    (tmp_path / "train.sh").write_bytes(b"echo 1\n")
    for command in "init -q .", "add .":
        subprocess.run(["git", *command.split()], cwd=tmp_path, check=True, capture_output=True)
    (tmp_path / "train.sh").unlink()
    subprocess.run(["git", "-c", "core.autocrlf=true", "checkout-index", "train.sh"], cwd=tmp_path, check=True)
    assert (tmp_path / "train.sh").read_bytes() == b"echo 1\n"
