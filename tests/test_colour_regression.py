"""The regression network is the CNN with three outputs; the command that scores and trains it."""

import json

import pytest
import torch

import colour_regression
from colour_regression import RegressionCNN
from colourization import CNN, MyConv2d


@pytest.mark.parametrize("kernel", [1, 3, 5])
@pytest.mark.parametrize("filters", [16, 32])
def test_the_network_is_the_cnn_with_three_outputs(kernel, filters):
    regression, cnn = RegressionCNN(kernel, filters), CNN(kernel, filters, 3)
    cnn.load_state_dict(regression.state_dict())
    x = torch.rand(2, 1, 32, 32)
    assert torch.allclose(regression.eval()(x), cnn.eval()(x), atol=1e-6)
    convolutions = [module for module in regression.modules() if isinstance(module, (torch.nn.Conv2d, MyConv2d))]
    assert [type(module) for module in convolutions] == [torch.nn.Conv2d] * 5 + [MyConv2d]


def test_refused_flags(refused, short):
    for flags, said in (["--train", "--image", "x.jpg"], "--image"), (["--train", "--metrics", "x.json"], "--metrics"):
        assert said in refused(colour_regression.main, *short, *flags)


def test_regression_trains_and_is_scored(run, short, tmp_path):
    weights = tmp_path / "r.pkl"
    status, out, _ = run(colour_regression.main, "--train", *short, "-e", 2, "--checkpoint", weights)
    assert status == 0 and "Epoch [2/2], Loss: " in out and "Val Acc" not in out
    status, out, _ = run(colour_regression.main, "--checkpoint", weights, *short)
    mse = json.loads(weights.with_suffix(".json").read_text())["validation"]["loss"]
    assert status == 0 and f"Val Loss (mean squared error): {mse:.6f}" in out
    assert (tmp_path / "out" / f"eval_{tmp_path.name}_r.png").exists()
    for flags in [], ["--keep_grey"]:  # then there is no error but that of colour
        run(colour_regression.main, "--checkpoint", weights, *short, *flags, "--metrics", tmp_path / "m.json")
        figures = json.loads((tmp_path / "m.json").read_text())["r"]
        assert (abs(figures["psnr"] - figures["colour"]) < 1e-3) == bool(flags)
