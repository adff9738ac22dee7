"""The shipped weights score what their sidecars say."""

import json

import pytest
import torch

from colour.checkpoints import load_network
from colour.files import ROOT, sha256
from colour.palette import Palette
from colour.task import Classification, Regression
from colour.training import PictureSet, evaluate, load_sets
from tests.helpers import NETWORKS

CLASSIFICATION = Classification(Palette.load())

# What the weights of the original handout score on the same 1,000 horses: loss, accuracy
HANDOUT = {
    "cnn_k3_f32": (1.581, 0.412), "cnn_k3_f16": (1.632, 0.403), "unet_k3_f32": (1.379, 0.482),
    "unet_k3_f16": (1.344, 0.487), "dunet_k3_f32": (1.449, 0.454), "dunet_k3_f16": (1.389, 0.471),
    "regression_cnn_k3_f32": (0.00627, None), "regression_cnn_k3_f16": (0.00711, None),
}


@pytest.fixture(scope="module")
def valid_set():
    return load_sets("horse", None, None, torch.device("cpu"), CLASSIFICATION)[1]


@pytest.mark.parametrize("name", HANDOUT)
def test_shipped_weights_score_what_their_sidecar_says(name, valid_set):
    path = ROOT / "weights" / f"{name}.pkl"
    sidecar = json.loads(path.with_suffix(".json").read_text())
    regression = name.startswith("regression")
    task, pictures = (Regression(), PictureSet(valid_set.images)) if regression else (CLASSIFICATION, valid_set)
    network, architecture, known = load_network(path, NETWORKS, task)
    assert known == sidecar and architecture.model == sidecar["model"]
    figures = evaluate(network, pictures, task)
    assert figures["loss"] == pytest.approx(sidecar["validation"]["loss"], abs=1e-3)
    loss, accuracy = HANDOUT[name]
    assert figures["loss"] < loss
    if accuracy:
        assert figures["acc"] == pytest.approx(sidecar["validation"]["acc"], abs=1e-3)
        assert figures["acc"] > accuracy
    assert sidecar["sha256"] == sha256(path)
    assert sidecar["command"].startswith("python colour") and sidecar["seed"] == 0
    assert len(sidecar["history"]) == sidecar["epochs"] >= 60
    assert sidecar["history"][-1]["val_loss"] == sidecar["validation"]["loss"]
    assert path.stat().st_size < 1_000_000
