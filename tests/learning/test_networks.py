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


class HeadFirst(nn.Module):
    """The layer that makes the output is registered before the others."""

    def __init__(self, kernel, num_filters, num_colours):
        super().__init__()
        self.head = MyConv2d(num_filters, num_colours, 1)
        self.body = nn.Sequential(MyConv2d(1, num_filters, kernel), nn.ReLU())

    def forward(self, x):
        return self.head(self.body(x))


class Odd(nn.Module):
    """The head comes first, then a stem of twice the filters; pictures are halved three times."""

    multiple = 8

    def __init__(self, kernel, num_filters, num_colours):
        super().__init__()
        self.head = MyConv2d(2 * num_filters + 1, num_colours, kernel)
        self.stem = nn.Sequential(MyConv2d(1, 2 * num_filters, 1), nn.MaxPool2d(8), nn.Upsample(scale_factor=8))
        self.spare = MyConv2d(1, 1, 3)  # not used

    def forward(self, x):
        return self.head(torch.cat([self.stem(x), x], dim=1))


def test_a_new_network_works_everywhere(run, short, tmp_path, monkeypatch):
    monkeypatch.setitem(colourization.MODELS, "Odd", Odd)
    weights, out = tmp_path / "new.pkl", tmp_path / "out"
    flags = *short, "--model", "Odd", "--kernel", 5, "--checkpoint", weights, "--optimizer", "muon"
    for epochs in (1, 2):
        status, said, error = run(colourization.main, *flags, "--resume", "-e", epochs)
        assert status == 0 and f"Epoch [{epochs}/{epochs}]" in said, error
    network, architecture = checkpoints.load_network(checkpoints.load(weights), colourization.MODELS)
    assert type(network) is Odd and architecture == ("Odd", 5, 4, 24)
    for job in ["--valid", "--checkpoint", weights], ["--compare", weights], [
            "--image", out / "training_curve_new.png", "--checkpoint", weights, "--size", 21]:
        status, _, error = run(colourization.main, *job, *short[4:])
        assert status == 0, error
    status, said, error = run(activations.main, 7, "--checkpoint", weights, "--outdir", tmp_path / "act")
    assert status == 0 and "stem.png: 8 channels of 32x32" in said, error


@pytest.mark.parametrize("kind", [Shortcut, HeadFirst, Odd])
def test_weights_of_a_new_network_load(kind, tmp_path):
    sizes = {"model": "New", "kernel": 5, "num_filters": 4}
    checkpoints.save(tmp_path / "new.pkl", kind(5, 4, 7).state_dict(), {**sizes, "num_outputs": 7})
    networks = {"CNN": CNN, "New": kind}
    network, architecture = checkpoints.load_network(checkpoints.load(tmp_path / "new.pkl"), networks)
    assert type(network) is kind and architecture == ("New", 5, 4, 7)
    if kind is Shortcut:  # of the others, only the sidecar tells how many outputs there are
        checkpoints.sidecar_path(tmp_path / "new.pkl").unlink()  # then the flags say what the shapes do not
        weights = checkpoints.load(tmp_path / "new.pkl")
        assert checkpoints.load_network(weights, networks, **sizes)[1] == architecture


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
    (lambda logits: None, "NoneType"), (lambda logits: logits.argmax(dim=1), "(2, 32, 32)"),
    (lambda logits: logits[:, :3], "(2, 3, 32, 32)"), (lambda logits: (logits, 1), "tuple"),
    (lambda logits: logits[..., ::2], "(2, 5, 32, 16)")])
def test_a_wrong_output_is_named(output, found):
    with pytest.raises(UserError) as error:
        output_layer(Wrong(output), 5)
    assert found in one_line(error) and "(2, 5, 32, 32)" in one_line(error) and "Wrong.forward" in one_line(error)


@pytest.mark.parametrize("output", [torch.detach, torch.zeros_like])
def test_an_output_that_cannot_be_trained_is_named(output):
    with pytest.raises(UserError, match="Wrong.forward returns .* cut off"):
        output_layer(Wrong(output), 5)


def no_such_name(logits):
    return logtis  # noqa: F821


@pytest.mark.parametrize("output, said", [
    (nn.Conv2d(7, 5, 1), "to have 7 channels"), (no_such_name, "name 'logtis' is not defined"),
    (lambda logits: logits.no_such, "no attribute 'no_such'"), (lambda logits: torch.cat(logits, logits), "tuple of"),
    (lambda logits: logits.squeeze(), r"returns \(5, 32, 32\) for pictures of shape \(1, 1, 32, 32\)")])
def test_a_forward_that_fails_names_the_line(output, said):
    with pytest.raises(UserError, match=f"Wrong.forward .*{said}") as error:
        output_layer(Wrong(output), 5)
    assert "returns" in said or " fails in line " in one_line(error)


def test_a_view_of_what_is_not_contiguous_is_named():
    """Pictures have their channels last in memory, as in training, where PyTorch's error would come too late."""
    with pytest.raises(UserError, match=r"Wrong.forward fails .*reshape"):
        output_layer(Wrong(lambda logits: logits.view(len(logits), -1).view_as(logits)), 5)


def test_too_little_memory_is_no_mistake_of_a_network():
    def fail(logits):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    with pytest.raises(RuntimeError, match="can't allocate memory"):
        output_layer(Wrong(fail), 5)


def test_an_architecture_builds_its_network():
    network = Architecture("UNet", 5, 4, 7).build(colourization.MODELS)
    assert type(network) is UNet and network.finalconv.weight.shape == (7, 8, 5, 5)


def test_a_class_that_takes_other_arguments():
    with pytest.raises(UserError, match=r"Conv1d\(3, 4, 7\) fails .*it is made with kernel"):
        Architecture("CNN", 3, 4, 7).build({"CNN": type("Conv1d", (nn.Module,), {})})


@pytest.mark.parametrize("begin", [lambda self: None, lambda self: setattr(self, "conv", nn.Conv2d(1, 1, 1))])
def test_a_forgotten_init_is_named(begin):
    kind = type("Forgetful", (nn.Module,), {"__init__": lambda self, *sizes: begin(self)})
    with pytest.raises(UserError, match=r"Forgetful\(3, 4, 7\) fails .*: begin __init__ with super"):
        Architecture("CNN", 3, 4, 7).build({"CNN": kind})


@pytest.mark.parametrize("training", [True, False])
def test_looking_for_the_output_layer_changes_nothing(training):
    network = CNN(3, 2, 5).train(training)
    output_layer(network)
    assert all(layer.training == training and not layer._forward_pre_hooks for layer in network.modules())
