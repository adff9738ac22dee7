"""The shipped weights score what their sidecars say."""

import json
import re

import pytest
import torch

from colour.jobs.checkpoints import load, load_network
from colour.learning.pictures import PictureSet, load_sets
from colour.learning.task import Classification, Regression
from colour.learning.training import evaluate
from colour.palette import Palette
from colour.system.files import ROOT, sha256
from tests.helpers import NETWORKS
from writeup.figures.b_classification import HANDOUT, HANDOUT_REGRESSION

CLASSIFICATION = Classification(Palette.load())


def rows(readme: str) -> dict[str, list[float | None]]:
    """Return the table of scores in a README: colour, accuracy and loss, each ours and the handout's."""
    found = {}
    for line in (ROOT / readme).read_text().splitlines():
        name, *cells = line.strip("| ").split("|")
        if len(cells) == 6 and " dB " in cells[0]:
            numbers = [re.match(r"[\d.]+", cell.strip()) for cell in cells]
            found[name.strip()] = [number and float(number[0]) for number in numbers]
    return found


STATED = rows("weights/README.md")


def test_both_tables_of_scores_agree():
    assert len(STATED) == 8
    assert rows("README.md") == {name: row for name, row in STATED.items() if name.endswith("f32")}


def test_the_handouts_scores_are_those_that_were_measured():
    measured = {name: [colour, round(100 * accuracy, 1), loss] for name, (_, colour, loss, accuracy) in HANDOUT.items()}
    measured |= {name: [None, None, loss] for name, loss in HANDOUT_REGRESSION.items()}
    assert {name: row[1::2] for name, row in STATED.items()} == measured


@pytest.fixture(scope="module")
def valid_set():
    return load_sets("horse", None, None, torch.device("cpu"), CLASSIFICATION)[1]


@pytest.mark.parametrize("name", STATED)
def test_shipped_weights_score_what_is_said_of_them(name, valid_set):
    path = ROOT / "weights" / f"{name}.pkl"
    sidecar = json.loads(path.with_suffix(".json").read_text())
    regression = name.startswith("regression")
    task, pictures = (Regression(), PictureSet(valid_set.images)) if regression else (CLASSIFICATION, valid_set)
    weights = load(path)
    network, architecture = load_network(weights, NETWORKS, task)
    assert weights.sidecar == sidecar and architecture.model == sidecar["model"]
    figures = evaluate(network, pictures, task.for_validation())
    said = sidecar["validation"]
    assert figures["loss"] == pytest.approx(said["loss"], abs=1e-3)
    assert figures["colour"] == pytest.approx(said["colour"], abs=0.005)
    assert sidecar["history"][-1]["val_loss"] == said["loss"]
    assert sidecar["sha256"] == sha256(path)
    assert sidecar["command"].startswith("python colour") and sidecar["seed"] == 0
    assert len(sidecar["history"]) == sidecar["epochs"]
    assert path.stat().st_size < 1_000_000

    colour, handouts_colour, accuracy, handouts_accuracy, loss, handouts_loss = STATED[name]
    assert loss == pytest.approx(figures["loss"], abs=1e-5 if regression else 1e-3) and loss < handouts_loss
    assert colour == pytest.approx(figures["colour"], abs=0.006) and colour > (handouts_colour or 0)
    if not regression:
        assert accuracy == pytest.approx(100 * figures["acc"], abs=0.1) and accuracy > handouts_accuracy


RECIPE = ("optimizer", "learn_rate", "schedule", "batch_size", "epochs", "augment", "weight_decay", "label_smoothing",
          "seed", "precision", "init", "holdout")


def test_networks_are_compared_by_the_same_training():
    names = [name for name in STATED if not name.startswith("regression")]
    sidecars = [json.loads((ROOT / "weights" / f"{name}.json").read_text()) for name in names]
    assert len(names) == 6
    for name in RECIPE:
        assert all(sidecar[name] == sidecars[0][name] for sidecar in sidecars), name
