"""A network is a class and a line in MODELS, whatever its layers are called and in which order they are registered."""

import pytest
import torch
from torch import nn

import activations
import colourization
from colour.jobs import checkpoints
from colour.learning.muon import Muon
from colour.learning.networks import Architecture, output_layer
from colour.system.cli import UserError
from colourization import CNN, MyConv2d, UNet
from tests.helpers import one_line


class Shortcut(nn.Module):
    """A 1x1 shortcut is registered first."""

    def __init__(self, kernel, num_filters, num_colours):
        super().__init__()
        self.shortcut = MyConv2d(1, num_filters, 1)
        self.body = nn.Sequential(MyConv2d(1, num_filters, kernel), nn.BatchNorm2d(num_filters), nn.ReLU())
        self.answer = MyConv2d(num_filters, num_colours, kernel)

    def forward(self, x):
        return self.answer(self.body(x) + self.shortcut(x))


class Stem(nn.Module):
    """The first layer has twice the filters, and pictures are halved three times."""

    multiple = 8

    def __init__(self, kernel, num_filters, num_colours):
        super().__init__()
        self.stem = nn.Sequential(MyConv2d(1, 2 * num_filters, kernel), nn.MaxPool2d(8), nn.Upsample(scale_factor=8))
        self.answer = MyConv2d(2 * num_filters + 1, num_colours, kernel)

    def forward(self, x):
        return self.answer(torch.cat([self.stem(x), x], dim=1))


class ViewedConv2d(MyConv2d):
    """The filter is handled as in 2018, which needs parameters that lie in memory in their written order."""

    def forward(self, x):
        weight = torch.kron(self.weight.view(len(self.weight), -1), torch.ones(1, 1)).view(self.weight.shape)
        return nn.functional.conv2d(x, weight, self.bias, padding=weight.shape[-1] // 2)


class HeadFirst(nn.Module):
    """The layer that makes the output is registered before the others."""

    def __init__(self, kernel, num_filters, num_colours):
        super().__init__()
        self.head = ViewedConv2d(num_filters, num_colours, 1)
        self.body = nn.Sequential(ViewedConv2d(1, num_filters, kernel), ViewedConv2d(num_filters, num_filters, kernel))

    def forward(self, x):
        return self.head(self.body(x))


@pytest.mark.parametrize("kind", [Shortcut, Stem, HeadFirst])
def test_any_new_network(kind, run, short, tmp_path, monkeypatch):
    monkeypatch.setitem(colourization.MODELS, "New", kind)
    weights, out = tmp_path / "new.pkl", tmp_path / "out"
    flags = *short, "--model", "New", "--kernel", 5, "--checkpoint", weights, "--optimizer", "muon"
    for epochs in (1, 2):
        status, _, error = run(colourization.main, *flags, "--resume", "-e", epochs)
        assert status == 0, error
    network, architecture, _ = checkpoints.load_network(weights, colourization.MODELS)
    assert type(network) is kind and architecture == ("New", 5, 4, 24)
    for job in ["--valid", "--checkpoint", weights], ["--compare", weights], [
            "--image", tmp_path / "out" / f"eval_{tmp_path.name}_new.png", "--checkpoint", weights, "--size", 21]:
        status, _, error = run(colourization.main, *job, "--outdir", out, "--holdout", 20)
        assert status == 0, error
    status, _, error = run(activations.main, 7, "--checkpoint", weights, "--outdir", tmp_path / "act")
    assert status == 0, error
    checkpoints.sidecar_path(weights).unlink()  # then the flags say what the shapes do not
    if kind is not HeadFirst:  # how many outputs it has, only the sidecar tells
        sizes = {"model": "New", "kernel": 5, "num_filters": 4}
        assert checkpoints.load_network(weights, colourization.MODELS, **sizes)[1] == architecture


@pytest.mark.parametrize("kind, name", [(CNN, "finalconv"), (UNet, "finalconv"), (Shortcut, "answer"),
                                        (HeadFirst, "head")])
def test_the_output_layer_runs_last(kind, name):
    network = kind(3, 4, 5).train()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    assert output_layer(network, 5) is getattr(network, name) and network.training
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    muon, = (group["params"] for group in Muon(network, 0.01, 0).param_groups[:1])
    assert all(one is not network.get_parameter(f"{name}.weight") for one in muon)


class Wrong(CNN):
    def __init__(self, output):
        super().__init__(3, 4, 5)
        self.output = output

    def forward(self, x):
        return self.output(super().forward(x))


@pytest.mark.parametrize("output, found", [
    (lambda logits: None, "NoneType"), (lambda logits: logits.argmax(dim=1), "(1, 4, 4)"),
    (lambda logits: logits[:, :3], "(1, 3, 4, 4)"), (lambda logits: (logits, 1), "tuple"),
    (lambda logits: logits[..., ::2], "(1, 5, 4, 2)")])
def test_a_wrong_output_is_named(output, found):
    with pytest.raises(UserError) as error:
        output_layer(Wrong(output), 5)
    assert found in one_line(error) and "(1, 5, 4, 4)" in one_line(error) and "Wrong.forward" in one_line(error)


@pytest.mark.parametrize("output", [torch.detach, torch.zeros_like])
def test_an_output_that_cannot_be_trained_is_named(output):
    with pytest.raises(UserError, match="Wrong.forward returns .* cut off"):
        output_layer(Wrong(output), 5)


def test_a_network_that_cannot_take_a_picture():
    with pytest.raises(UserError, match="Wrong.forward fails for a picture of 4x4 pixels, in or after output "):
        output_layer(Wrong(nn.Conv2d(7, 5, 1)), 5)


def test_an_architecture_builds_its_network():
    network = Architecture("UNet", 5, 4, 7).build(colourization.MODELS)
    assert type(network) is UNet and network.finalconv.weight.shape == (7, 8, 5, 5)


@pytest.mark.parametrize("training", [True, False])
def test_looking_for_the_output_layer_changes_nothing(training):
    network = CNN(3, 2, 5).train(training)
    output_layer(network)
    assert all(layer.training == training and not layer._forward_hooks for layer in network.modules())
