"""load_data: what the assignment imports, and the command."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import load_data
from colour.data.cifar10 import CATEGORIES, HORSES, load_horses
from colour.jobs import plots
from colour.system.files import ROOT
from tests.cifar import SMALL

# The command


def test_main_horses(capsys, tmp_path):
    assert load_data.main(["--outdir", str(tmp_path)]) == 0
    printed = capsys.readouterr()
    assert str(HORSES) in printed.out and "uint8 (5000, 3, 32, 32), 15.4 MB" in printed.out
    assert printed.out.splitlines()[-2].split() == ["horse", "5,000", "1,000"]
    assert printed.out.splitlines()[-1].endswith(str(tmp_path / "test_pictures.png")) and printed.err == ""
    with Image.open(tmp_path / "test_pictures.png") as picture:  # 50 rows of 20
        assert picture.height > 50 * 64 and picture.width > 20 * 64
        left, top = plots.MARGIN, plots.MARGIN + plots.GAP + 2 * plots.LINE  # of number 0
        first = np.asarray(picture)[top:top + 64:2, left:left + 64:2]
    assert np.array_equal(first, load_horses()[1][0].transpose(1, 2, 0))


def test_main_all(small, capsys, tmp_path):
    folder, _, labels = small
    assert load_data.main(["--category", "all", "--data", str(folder.parent), "--outdir", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert str(folder) in out and "(100, 3, 32, 32)" in out and "(20, 3, 32, 32)" in out
    for number, name in enumerate(CATEGORIES):
        counts = [str((part == number).sum()) for part in (labels[:-SMALL], labels[-SMALL:])]
        assert [name, *counts] in [line.split() for line in out.splitlines()]


def test_main_one_category(small, capsys, tmp_path):
    folder, _, labels = small
    load_data.main(["--category", "3", "--data", str(folder), "--outdir", str(tmp_path)])
    out = capsys.readouterr().out
    assert f"({(labels[:-SMALL] == 3).sum()}, 3, 32, 32)" in out and "horse" not in out


@pytest.mark.parametrize("argv, reason", [
    (["--category", "hrose"], "horse, ship, truck"), (["--data", "nowhere"], "nowhere"),
    (["--data", __file__], "no pictures in"), (["--bogus"], "--bogus"),
    (["--category", "cat", "--data", "EMPTY"], "is empty")])
def test_mistakes(argv, reason, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("EMPTY").mkdir()
    for name in ("no_proxy", "NO_PROXY", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")  # nobody is there: no network
    with pytest.raises(SystemExit) as ended:
        load_data.main(argv)
    printed = capsys.readouterr()
    errors = [line for line in printed.err.splitlines() if not line.startswith("downloading ")]
    assert ended.value.code == 2 and printed.out == ""
    assert len(errors) == 1 and errors[0].startswith("error: ") and reason in errors[0]
    assert not list(Path("EMPTY").iterdir())


def test_import_is_light():
    code = ("import sys, load_data\n"
            "print([name for name in ('torch', 'scipy', 'tqdm', 'tarfile', 'urllib.request') if name in sys.modules])")
    assert subprocess.check_output([sys.executable, "-c", code], cwd=ROOT, text=True) == "[]\n"
