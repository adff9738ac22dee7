"""The write-up: its numbers are generated, belong to the shipped weights, and are those in the PDF."""

import hashlib
import json
import re
from dataclasses import asdict

import pytest
import torch
from PIL import Image
from torch import nn

from activations import capture
from colour.jobs.checkpoints import PHOTO_WEIGHTS
from colour.jobs.flags import recipe_of
from colour.learning.pictures import PictureSet
from colour.learning.task import Regression
from colour.palette import Palette
from colour.system.files import ROOT
from colour_regression import RegressionCNN
from colourization import MODELS, DilatedUNet, build_parser
from tests.helpers import ASSIGNMENT
from writeup import closer_than_grey
from writeup.augmentation import STUDY, summary
from writeup.figures import c_skip_connections, d_dilation, f_augmentation
from writeup.figures.__main__ import digest, statements
from writeup.figures.c_skip_connections import RECIPE, TRAINING
from writeup.figures.common import GENERATED, WEIGHTS, Horses, Values, score

FOLDER = ROOT / "writeup"
TEX = re.sub(r"(?m)(?<!\\)%.*$", "", (FOLDER / "a2-writeup.tex").read_text())  # without comments
BODY = TEX[TEX.index(r"\begin{document}"):TEX.index(r"\begin{thebibliography}")]
VALUES = dict(re.findall(r"^\\setval\{([^}]*)\}\{(.*)\}$", (GENERATED / "values.tex").read_text(), re.M))
MADE_ANEW = "run make -C writeup figures, read what it says, then make -C writeup pdf"


def test_every_number_that_the_text_names_is_generated():
    named = set(re.findall(r"\\(?:val|pc|dB)\{([^}#]+)\}", TEX))
    assert len(named) > 70
    assert not named - set(VALUES)


def test_no_measured_number_is_typed_by_hand():
    text = re.sub(r"\\begin\{(tikzpicture|scope)\}.*?\\end\{\1\}", "", BODY, flags=re.S)
    text = re.sub(r"(?m)\\newcommand.*$|[\d.]+(?:\\linewidth|pt|cm|em)", "", text)
    assert re.findall(r"\d+\.\d+|\d+\\,\\%", text) == []


def test_every_generated_file_is_used_and_every_used_file_exists():
    patterns = [re.sub(r"#\d", r"\\w+", name) for name in re.findall(r"generated/([\w.#]+)", TEX)]
    files = {path.name for path in GENERATED.iterdir() if not path.name.startswith(".")}
    files -= {f"train_{TRAINING}.json"}
    unused = {file for file in files
              if not any(re.fullmatch(rf"{pattern}(\.tex|\.png)?", file) for pattern in patterns)}
    assert not unused
    strips = {f"strip_{name}" for name in re.findall(r"\\strip\{[^}]*\}\{(\w+)\}", BODY)}
    acts = {f"act_{network}_{block}" for network in ("cnn", "unet") for block in re.findall(r"\\acts\{(\w+)\}", BODY)}
    plain = set(re.findall(r"\{generated/(\w+)\}", BODY))
    names = {file.rsplit(".", 1)[0] for file in files}
    assert strips | acts | plain <= names and len(strips) > 8 and len(acts) == 12
    assert {name for name in names if name.startswith("strip_")} == strips


def test_the_questions_of_the_sheet_are_answered_in_its_order():
    sheet = (ROOT / "tests" / "assignment" / "SHEET.md").read_text()
    parts = re.findall(r"(?ms)^### ([A-G])\. (.*?)(?=^##)", sheet)
    asked = [f"{letter}.{number}" for letter, text in parts for number in re.findall(r"(?m)^(\d)\. ", text)]
    assert [letter for letter, _ in parts] == re.findall(r"\\section\*\{([A-G])\\quad", BODY) == list("ABCDEFG")
    assert asked == re.findall(r"\\question\{([A-G]\.\d)", BODY) and len(asked) > 9


# Channels into and out of each convolution, by hand from the sheet; 32 filters
CHANNELS = {"RegressionCNN": [(1, 32), (32, 64), (64, 64), (64, 32), (32, 3), (3, 3)],
            "CNN": [(1, 32), (32, 64), (64, 64), (64, 32), (32, 24), (24, 24)],
            "UNet": [(1, 32), (32, 64), (64, 64), (64 + 64, 32), (32 + 32, 24), (24 + 1, 24)]}


def rows_of(table: str) -> list[list[str]]:
    text = (GENERATED / f"table_{table}.tex").read_text()
    return [re.split(r" *& *", line.removesuffix(r" \\")) for line in text.splitlines() if "&" in line][1:]


def test_weights_and_biases_are_those_of_the_sheet():
    *blocks, whole = rows_of("layers")
    for (into, out), (_, filters, size, _, _, weights, biases) in zip(CHANNELS["RegressionCNN"], blocks, strict=True):
        assert size == rf"$3\times3\times{into}$" and weights == f"{9 * into * out:,}" and filters == biases == str(out)
    assert whole[-2:] == [f"{9 * sum(into * out for into, out in CHANNELS['RegressionCNN']):,}",
                          str(sum(out for _, out in CHANNELS["RegressionCNN"]))]
    for name, *numbers in rows_of("counts"):
        channels = CHANNELS["CNN" if "CNN" in name else "UNet"]
        counts = (9 * sum(into * out for into, out in channels), sum(out for _, out in channels),
                  2 * sum(out for _, out in channels[:-1]))
        assert numbers == [f"{count:,}" for count in (*counts, sum(counts))]


def test_sizes_of_layers_are_those_of_the_network():
    _, outputs = capture(RegressionCNN(3, 32), torch.zeros(1, 1, 32, 32))
    rows = rows_of("layers")[:-1]
    assert [re.findall(r"\w+", row[0])[-1] for row in rows] == list(outputs)
    for row, output in zip(rows, outputs.values()):
        depth, height, width = output.shape[1:]
        assert row[4] == rf"${height}\times{width}\times{depth}$"


@pytest.mark.parametrize("name", WEIGHTS)
def test_numbers_are_those_of_the_shipped_weights(name):
    sidecar = json.loads((ROOT / "weights" / f"{name}.json").read_text())
    assert VALUES[f"sha256.{name}"] == sidecar["sha256"], MADE_ANEW
    colour = f"{name}.colour" if name.startswith("regression") else f"{name}_mean.colour"  # histories have the mean's
    for key, value, unit, tolerance in (("loss", f"{name}.loss", 1, 0.002), ("acc", f"{name}.acc", 100, 0.11),
                                        ("colour", colour, 1, 0.011)):
        if key in sidecar["validation"]:
            assert float(VALUES[value]) == pytest.approx(unit * sidecar["validation"][key], abs=tolerance)


def test_the_training_is_that_of_the_sheet_complete_and_timeless():
    run = json.loads((GENERATED / f"train_{TRAINING}.json").read_text())
    args = build_parser().parse_args(["--model", "UNet", "-b", "10", "-e", "5", "--precision", "fp32"])
    assert (args.model, recipe_of(args)) == (run["model"], RECIPE)
    assert asdict(RECIPE).items() <= {**run, "augment": tuple(run["augment"])}.items()
    for key in "loss", "acc", "colour":
        assert run["history"][-1][f"val_{key}"] == pytest.approx(run["mean"][key], abs=1e-3)
    assert float(VALUES[f"{TRAINING}.acc"]) == pytest.approx(100 * run["scores"]["acc"], abs=0.051)
    assert "seconds" not in run["history"][0]


@pytest.mark.parametrize("name", [TRAINING, "cnn", "unet"])
def test_curves_are_those_of_the_trainings(name):
    path = GENERATED / f"train_{name}.json" if name == TRAINING else ROOT / "weights" / f"{name}_k3_f32.json"
    history = json.loads(path.read_text())["history"]
    head, *lines = (GENERATED / f"curve_{name}.dat").read_text().splitlines()
    for epoch, (line, record) in enumerate(zip(lines, history, strict=True), 1):
        row = dict(zip(head.split(), map(float, line.split()), strict=True))
        assert row["epoch"] == epoch and row["val_loss"] == pytest.approx(record["val_loss"], abs=1e-4)
        assert row["val_acc"] == pytest.approx(100 * record["val_acc"], abs=1e-3)


def test_the_statements_of_the_text_hold():
    numbers = Values()
    for name, text in VALUES.items():
        try:
            numbers.put(name, float(text.replace(",", "")))
        except ValueError:
            numbers.put(name, text)
    found = list(statements(numbers))
    assert len(found) > 15
    assert [statement for statement, holds in found if not holds] == []


def test_the_pdf_is_made_from_these_sources():
    pdf = (FOLDER / "a2-writeup.pdf").read_bytes()
    assert pdf.startswith(b"%PDF") and pdf.rstrip().endswith(b"%%EOF")
    assert b"/Title(Colourization using CNN: answer key)" in pdf and b"/Author(The colourization developers)" in pdf
    for key, path in {"SourceMD5": FOLDER / "a2-writeup.tex", "ValuesMD5": GENERATED / "values.tex"}.items():
        found = re.search(rf"/{key} ?\((\w+)\)".encode(), pdf)
        assert found, f"no {key} in the PDF"
        md5 = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
        assert found[1].decode().lower() == md5, f"{path.name} has changed: make -C writeup pdf"
    assert VALUES["digest"] == digest(), MADE_ANEW


# Receptive field behind each block, by hand: a 3x3 filter adds 2 jumps (dilated 4), pooling 1
BY_HAND = {"CNN": [4, 10, 18, 26, 30, 32], "UNet": [4, 10, 18, 26, 30, 32], "DUNet": [4, 10, 26, 34, 38, 40]}


def interval(network: nn.Module, block: str, unit: int) -> tuple[int, int]:
    """Return the first and last input pixel, along one axis, that ``unit`` of the block's output depends on."""
    first = last = unit
    blocks = list(BLOCK_LAYERS)
    for name in reversed(blocks[:blocks.index(block) + 1]):
        for layer in reversed(BLOCK_LAYERS[name]):
            if layer == "up":
                first, last = first // 2, last // 2
            elif layer == "pool":
                first, last = 2 * first, 2 * last + 1
            else:
                reach = 2 if isinstance(network, DilatedUNet) and name == "rfconv" else 1
                first, last = first - reach, last + reach
    return first, last


BLOCK_LAYERS = {"downconv1": ("conv", "pool"), "downconv2": ("conv", "pool"), "rfconv": ("conv",),
                "upconv1": ("conv", "up"), "upconv2": ("conv", "up"), "finalconv": ("conv",)}


@pytest.mark.parametrize("name", ASSIGNMENT)
def test_receptive_fields_agree_with_the_extent_of_gradients(name):
    torch.manual_seed(0)
    network = MODELS[name](3, 8, 5).double().eval()
    sizes = d_dilation.formula(network)
    assert [size for size, _ in sizes.values()] == BY_HAND[name]
    assert [jump for _, jump in sizes.values()] == [2, 4, 4, 2, 1, 1]
    grey = torch.rand(16, 1, 64, 64, dtype=torch.float64)
    for block, (size, jump) in sizes.items():
        for unit in range(32 // jump, 32 // jump + (4 if block == "finalconv" else 1)):
            magnitude = d_dilation.gradient(network, block, unit, grey)
            first, last = d_dilation.reach(magnitude)
            assert (first, last) == interval(network, block, unit)
            assert magnitude[first:last + 1, first:last + 1].all()
            assert abs(last - first + 1 - size) == (2 if block == "finalconv" else 0)


def test_a_network_that_forgets_to_dilate_is_noticed():
    torch.manual_seed(0)
    network = DilatedUNet(3, 8, 5, dilation=0).double().eval()
    assert [size for size, _ in d_dilation.formula(network).values()] == BY_HAND["UNet"]
    grey = torch.rand(16, 1, 64, 64, dtype=torch.float64)
    first, last = d_dilation.reach(d_dilation.gradient(network, "rfconv", 8, grey))
    assert last - first + 1 == 18


def test_cutting_a_join_cuts_it_and_nothing_else():
    network = MODELS["UNet"](3, 4, 5).eval()
    x = torch.rand(1, 1, 32, 32)
    with torch.no_grad():
        for block, joined in {"upconv1": 8, "upconv2": 4, "finalconv": 1}.items():
            copy = c_skip_connections.cut(network, block)
            conv = getattr(copy, block) if block == "finalconv" else getattr(copy, block)[0]
            seen = (conv.weight != 0).all(dim=0).all(dim=2).all(dim=1).tolist()
            assert seen == [True] * (len(seen) - joined) + [False] * joined
            assert not torch.equal(copy(x), network(x))


def test_verdicts_of_the_study(tmp_path, monkeypatch):
    losses = {"none": (1.20, 1.22), "hflip": (1.10, 1.19), "vflip": (1.23, 1.30), "hshift": (1.19, 1.21)}
    runs = [{"name": name, "seed": seed, "loss": loss, "acc": 0.5} for name, pair in losses.items()
            for seed, loss in enumerate(pair)]
    settings = {"epochs": 20, "batch_size": 50, "holdout": 1000, "pretraining": 0.4}
    given = tmp_path / "study.json"
    given.write_text(json.dumps({"settings": settings, "runs": runs}))
    monkeypatch.setattr("writeup.figures.common.GENERATED", tmp_path)
    values = Values()
    f_augmentation.make(values, None, given)
    assert [values[f"study.{name}.verdict"] for name in ("hflip", "vflip", "hshift")] == [
        "lowered the loss", "raised the loss", "made no clear difference"]
    assert values["study.seeds"] == 2 and values.texts["study.holdout"] == "1,000"
    assert r"$1.145 \pm 0.064$" in (tmp_path / "table_study.tex").read_text()


def test_the_two_parts_of_the_squared_error():
    """The squared error falls into two parts: that of the mean of the channels, and what is left without it."""
    palette = Palette.load()
    images = torch.randint(60, 190, (4, 3, 32, 32), dtype=torch.uint8)  # no chroma has to shrink: no colour is extreme
    horses = Horses(None, PictureSet(images), palette)
    network = RegressionCNN(3, 4)
    with torch.no_grad():
        network.finalconv.weight.mul_(0.01)
        network.finalconv.bias[:] = torch.tensor([0.4, 0.5, 0.45])
        figures = score(network, Regression(), horses)
        rgb = images.double() / 256
        error = network.eval()(rgb.mean(dim=1, keepdim=True).float()).double() - rgb
    brightness = error.mean(dim=1, keepdim=True).expand_as(error)
    parts = {"brightness": brightness, "colour": error - brightness}
    for key, part in parts.items():
        assert 10 ** (-figures[key] / 10) == pytest.approx(float(part.square().mean()), rel=1e-4)


def test_the_readme_has_the_figures_of_the_study():
    rows = re.findall(r"(?m)^\| (\w+) \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) % \| ([\d.]+) % \|$",
                      (FOLDER / "README.md").read_text())
    figures = summary(json.loads(STUDY.read_text())["runs"])
    assert rows == [(name, f"{loss:.4f}", f"{loss_spread:.4f}", f"{100 * acc:.1f}", f"{100 * acc_spread:.1f}")
                    for name, ((loss, loss_spread), (acc, acc_spread)) in
                    ((name, (figure["loss"], figure["acc"])) for name, figure in figures.items())]


def test_photographs_closer_than_grey(tmp_path, capsys):
    """A grey one has nothing to gain, and stops nothing."""
    Image.new("RGB", (40, 30), (128, 128, 128)).save(tmp_path / "a.png")
    Image.new("RGB", (40, 30), (130, 120, 90)).save(tmp_path / "b.png")
    closer_than_grey.main(["--image", str(tmp_path), "--decode", "mean", "--weights", str(PHOTO_WEIGHTS)])
    head, grey, coloured = capsys.readouterr().out.splitlines()
    assert "% of 2 closer" in head and grey.split() == ["a", "-inf", "dB"] and float(coloured.split()[1])
