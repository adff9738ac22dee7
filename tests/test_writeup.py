"""The write-up: its numbers are generated, belong to the shipped weights, and are those in the PDF."""

import hashlib
import json
import re

import pytest

from colour.files import ROOT
from colourization import MODELS, DilatedUNet
from writeup import figures
from writeup.figures import GENERATED, TRAININGS, WEIGHTS

FOLDER = ROOT / "writeup"
TEX = re.sub(r"(?m)(?<!\\)%.*$", "", (FOLDER / "a2-writeup.tex").read_text())  # without comments
BODY = TEX[TEX.index(r"\begin{document}"):TEX.index(r"\begin{thebibliography}")]
VALUES = dict(re.findall(r"^\\setval\{([^}]*)\}\{(.*)\}$", (GENERATED / "values.tex").read_text(), re.M))
MADE_ANEW = "run python -m writeup.figures, read what it says, then make -C writeup pdf"


def test_every_number_that_the_text_names_is_generated():
    named = set(re.findall(r"\\(?:val|pc|dB)\{([^}#]+)\}", TEX))
    assert len(named) > 70
    missing = named - set(VALUES)
    if VALUES["study.done"] == "0":
        missing = {name for name in missing if not name.startswith("study.")}
    assert not missing


def test_no_measured_number_is_typed_by_hand():
    text = re.sub(r"\\begin\{(tikzpicture|scope)\}.*?\\end\{\1\}", "", BODY, flags=re.S)
    text = re.sub(r"(?m)\\newcommand.*$|[\d.]+(?:\\linewidth|pt|cm|em)", "", text)
    assert re.findall(r"\d+\.\d+|\d+\\,\\%", text) == []


def test_every_generated_file_is_used_and_every_used_file_exists():
    patterns = [name.replace("#1", r"\w+").replace("#2", r"\w+")
                for name in re.findall(r"generated/([\w.#]+)", TEX)]
    files = {path.name for path in GENERATED.iterdir() if not path.name.startswith(".")}
    files -= {f"train_{name}.json" for name in TRAININGS}
    files -= {"augmentation.json", "sources.json", "curve_dunet_e25.dat"}  # kept, not shown
    unused = {file for file in files
              if not any(re.fullmatch(rf"{pattern}(\.tex|\.png)?", file) for pattern in patterns)}
    assert not unused
    strips = {f"strip_{name}" for name in re.findall(r"\\strip\{[^}]*\}\{(\w+)\}", BODY)}
    acts = {f"act_{network}_{block}" for network in ("cnn", "unet") for block in re.findall(r"\\acts\{(\w+)\}", BODY)}
    plain = set(re.findall(r"\{generated/(\w+)\}", BODY)) - {"table_study"}
    names = {file.rsplit(".", 1)[0] for file in files}
    assert strips | acts | plain <= names and len(strips) > 8 and len(acts) == 12


@pytest.mark.parametrize("name", WEIGHTS)
def test_numbers_are_those_of_the_shipped_weights(name):
    sidecar = json.loads((ROOT / "weights" / f"{name}.json").read_text())
    sources = json.loads((GENERATED / "sources.json").read_text())
    assert sources[f"weights/{name}.pkl"] == sidecar["sha256"], MADE_ANEW
    for key, (unit, tolerance) in {"loss": (1, 0.002), "acc": (100, 0.11)}.items():
        if key in sidecar["validation"]:
            assert float(VALUES[f"{name}.{key}"]) == pytest.approx(unit * sidecar["validation"][key], abs=tolerance)


@pytest.mark.parametrize("name", TRAININGS)
def test_the_trainings_are_complete_and_timeless(name):
    run = json.loads((GENERATED / f"train_{name}.json").read_text())
    assert len(run["history"]) == run["epochs"] and not run["grey_start"]
    assert run["command"].startswith("python colourization.py " + TRAININGS[name])
    assert run["history"][-1]["val_loss"] == pytest.approx(run["scores"]["loss"], abs=1e-3)
    assert float(VALUES[f"{name}.acc"]) == pytest.approx(100 * run["scores"]["acc"], abs=0.051)
    assert "seconds" not in run["history"][0]
    curve = (GENERATED / f"curve_{name}.dat").read_text().splitlines()
    assert len(curve) == 1 + run["epochs"]


def test_the_statements_of_the_text_hold():
    numbers = {}
    for name, text in VALUES.items():
        try:
            numbers[name] = float(text.replace(",", ""))
        except ValueError:
            numbers[name] = text
    statements = list(figures.statements(numbers))
    assert len(statements) > 15
    assert [statement for statement, holds in statements if not holds] == []


def test_the_pdf_is_made_from_these_sources():
    pdf = (FOLDER / "a2-writeup.pdf").read_bytes()
    assert pdf.startswith(b"%PDF") and pdf.rstrip().endswith(b"%%EOF")
    for key, path in {"SourceMD5": FOLDER / "a2-writeup.tex", "ValuesMD5": GENERATED / "values.tex"}.items():
        found = re.search(rf"/{key} ?\((\w+)\)".encode(), pdf)
        assert found, f"no {key} in the PDF"
        digest = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
        assert found[1].decode().lower() == digest, f"{path.name} has changed: make -C writeup pdf"
    assert VALUES["digest"] == figures.digest(), MADE_ANEW


# Receptive field behind each block, by hand: a 3x3 filter adds 2 jumps (dilated 4), pooling 1
BY_HAND = {"CNN": [4, 10, 18, 26, 30, 32], "UNet": [4, 10, 18, 26, 30, 32], "DUNet": [4, 10, 26, 34, 38, 40]}


@pytest.mark.parametrize("name", MODELS)
def test_receptive_fields_agree_with_the_extent_of_gradients(name):
    network = MODELS[name](3, 2, 5)
    sizes = figures.formula(network)
    assert [size for size, _ in sizes.values()] == BY_HAND[name]
    assert [jump for _, jump in sizes.values()] == [2, 4, 4, 2, 1, 1]
    clear = figures.transparent(network)
    for block, (size, jump) in sizes.items():
        for unit in range(48 // jump, 48 // jump + (4 if block == "finalconv" else 1)):
            first, last, dense = figures.gradient_extent(clear, block, unit)
            assert (first, last) == figures.interval(network, block, unit)
            assert dense
            assert abs(last - first + 1 - size) == (2 if block == "finalconv" else 0)


def test_a_network_that_forgets_to_dilate_is_noticed():
    network = DilatedUNet(3, 2, 5, dilation=0)
    assert [size for size, _ in figures.formula(network).values()] == BY_HAND["UNet"]
    first, last, _ = figures.gradient_extent(figures.transparent(network), "rfconv", 12)
    assert last - first + 1 == 18


def test_cutting_a_join_cuts_it_and_nothing_else():
    import torch

    network = MODELS["UNet"](3, 4, 5).eval()
    x = torch.rand(1, 1, 32, 32)
    with torch.no_grad():
        for block, joined in {"upconv1": 8, "upconv2": 4, "finalconv": 1}.items():
            copy = figures.cut(network, block)
            conv = getattr(copy, block) if block == "finalconv" else getattr(copy, block)[0]
            seen = (conv.weight != 0).all(dim=0).all(dim=2).all(dim=1).tolist()
            assert seen == [True] * (len(seen) - joined) + [False] * joined
            assert not torch.equal(copy(x), network(x))


def test_verdicts_of_the_study(tmp_path, monkeypatch):
    losses = {"none": (1.20, 1.22), "hflip": (1.10, 1.19), "vflip": (1.23, 1.30), "hshift": (1.19, 1.21)}
    runs = [{"name": name, "seed": seed, "loss": loss, "acc": 0.5} for name, pair in losses.items()
            for seed, loss in enumerate(pair)]
    given = tmp_path / "study.json"
    given.write_text(json.dumps({"command": "python -m writeup.augmentation", "runs": runs}))
    monkeypatch.setattr(figures, "GENERATED", tmp_path)
    values = figures.Values()
    figures.study(values, given)
    assert [values[f"study.{name}.verdict"] for name in ("hflip", "vflip", "hshift")] == [
        "lowered the loss", "raised the loss", "made no clear difference"]
    assert values["study.done"] == 1 and values["study.seeds"] == 2
    assert values["study.helped"] == "flip left--right" and values["study.judges"] == "the test horses"
    assert r"$1.145 \pm 0.064$" in (tmp_path / "table_study.tex").read_text()


def test_without_a_study_there_is_none(tmp_path, monkeypatch):
    monkeypatch.setattr(figures, "GENERATED", tmp_path)
    values = figures.Values()
    figures.study(values, tmp_path / "none.json")
    assert values["study.done"] == 0 and not list(tmp_path.iterdir())
