"""Our convolutions against the library's; the shapes, names and sizes of the networks; what the command refuses."""

import pytest
import torch
import torch.nn.functional as F

import activations
import colour_regression
import colourization
from colourization import MODELS, DilatedUNet, MyConv2d, MyDilatedConv2d, UNet
from tests.helpers import ASSIGNMENT


def gradients(module, x):
    """Return the output, and the gradients of a sum with different weights, so that no symmetry hides an error."""
    x = x.clone().requires_grad_()
    output = module(x)
    weights = torch.linspace(-1, 2, output.numel(), dtype=output.dtype).view_as(output)
    (output * weights).sum().backward()
    return [output, x.grad, *(parameter.grad for parameter in module.parameters())]


@pytest.mark.parametrize("kernel", [1, 3, 5])
def test_my_conv2d_equals_the_librarys(kernel):
    ours = MyConv2d(3, 5, kernel).double()
    library = torch.nn.Conv2d(3, 5, kernel, padding=kernel // 2).double()
    library.load_state_dict(ours.state_dict())
    x = torch.randn(2, 3, 9, 7, dtype=torch.float64)
    for mine, theirs in zip(gradients(ours, x), gradients(library, x)):
        assert torch.allclose(mine, theirs, rtol=0, atol=1e-10)


@pytest.mark.parametrize("kernel", [1, 3, 5])
@pytest.mark.parametrize("dilation", [0, 1, 2, 3, 6])
def test_dilating_the_filter_equals_the_librarys_dilation(kernel, dilation):
    ours = MyDilatedConv2d(3, 5, kernel, dilation).double()
    library = torch.nn.Conv2d(3, 5, kernel, dilation=dilation + 1, padding=(kernel // 2) * (dilation + 1)).double()
    library.load_state_dict(ours.state_dict())
    x = torch.randn(2, 3, 11, 8, dtype=torch.float64)
    for mine, theirs in zip(gradients(ours, x), gradients(library, x)):
        assert mine.shape == theirs.shape
        assert torch.allclose(mine, theirs, rtol=0, atol=1e-10)


def test_no_dilation_reaches_the_library(monkeypatch):
    calls = []
    real = F.conv2d
    monkeypatch.setattr(F, "conv2d", lambda *args, **kwargs: calls.append((args, kwargs)) or real(*args, **kwargs))
    MyDilatedConv2d(1, 1, 3, 3)(torch.zeros(1, 1, 8, 8))
    (args, kwargs), = calls
    assert "dilation" not in kwargs and len(args) <= 5
    assert args[1].shape[-1] == 9 and kwargs == {"padding": 4}


def test_dilation_counts_the_gaps():
    """Figure 1b of the assignment: gap 1, nine taps that see 5x5 pixels."""
    conv = MyDilatedConv2d(1, 1, 3, dilation=1)
    spread = conv.dilated_weight()[0, 0]
    assert spread.shape == (5, 5)
    assert (spread != 0).sum() == 9 == conv.weight.numel()
    assert torch.equal(spread[::2, ::2], conv.weight[0, 0])


def test_weights_start_uniform_within_one_over_the_root_of_fan_in():
    torch.manual_seed(0)
    conv = MyConv2d(16, 64, 3)
    bound = (16 * 9) ** -0.5
    for parameter in conv.parameters():
        assert parameter.abs().max() <= bound
        assert parameter.abs().max() > 0.9 * bound
    assert abs(conv.weight.std().item() - bound / 3**0.5) < 0.02 * bound


@pytest.mark.parametrize("bad", [lambda: MyConv2d(1, 1, 4), lambda: MyDilatedConv2d(1, 1, 3, -1)])
def test_even_kernels_and_negative_gaps_are_refused(bad):
    with pytest.raises(ValueError):
        bad()


NORMS = {"downconv1": 2, "downconv2": 2, "rfconv": 1, "upconv1": 2, "upconv2": 2}  # of each block: its place in it


def expected_parameters(name, k, f, c):
    """Count weights and biases by the table of the design."""
    skips = name != "CNN"
    pairs = [(1, f), (f, 2 * f), (2 * f, 2 * f), (4 * f if skips else 2 * f, f), (2 * f if skips else f, c)]
    norms = sum(2 * out for _, out in pairs)
    return sum(i * o * k * k + o for i, o in [*pairs, (c + skips, c)]) + norms


@pytest.mark.parametrize("kernel", [1, 3, 5])
@pytest.mark.parametrize("filters", [16, 32])
@pytest.mark.parametrize("name", ASSIGNMENT)
def test_shapes_names_and_sizes_of_the_networks(name, kernel, filters):
    network = MODELS[name](kernel, filters, 24)
    assert network(torch.rand(2, 1, 32, 32)).shape == (2, 24, 32, 32)
    assert network(torch.rand(1, 1, 8, 12)).shape == (1, 24, 8, 12)
    names = {f"{block}.0.{what}" for block in NORMS for what in ("weight", "bias")}
    names |= {f"{block}.{norm}.{what}" for block, norm in NORMS.items()
              for what in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")}
    assert set(network.state_dict()) == names | {"finalconv.weight", "finalconv.bias"}
    size = sum(parameter.numel() for parameter in network.parameters())
    assert size == expected_parameters(name, kernel, filters, 24)


@pytest.mark.parametrize("network_class", [UNet, DilatedUNet])
def test_the_joins_are_those_of_the_design(network_class):
    """They are (rfconv, downconv2), (upconv1, downconv1), (upconv2, input): here is a forward pass by hand."""
    network = network_class(3, 4, 6).eval()
    x = torch.rand(2, 1, 16, 16)
    down1 = network.downconv1(x)
    down2 = network.downconv2(down1)
    up1 = network.upconv1(torch.cat([network.rfconv(down2), down2], 1))
    up2 = network.upconv2(torch.cat([up1, down1], 1))
    assert torch.equal(network(x), network.finalconv(torch.cat([up2, x], 1)))
    assert isinstance(network.rfconv[0], MyDilatedConv2d) == (network_class is DilatedUNet)


@pytest.mark.parametrize("training", [True, False])
def test_norm_before_upsampling_gives_the_same_as_after(training):
    network = UNet(3, 8, 24).train(training)
    block = network.upconv1
    x = torch.randn(4, 32, 8, 8)
    expected = torch.nn.Sequential(*block)(x)  # in the written order
    assert torch.allclose(block(x), expected, atol=1e-5)


# The command line


@pytest.mark.parametrize("flags, said", [
    (["-k", 4], "-k"), (["-k", 0], "-k"), (["-f", 0], "-f"), (["-b", 0], "-b"), (["-e", 0], "-e"), (["-e", "x"], "-e"),
    (["-l", 0], "-l"), (["-l", -1], "-l"), (["-l", "nan"], "-l"), (["-s", -1], "-s"),
    (["--model", "VGG"], "--model"),
    (["--augment", "hflip,rot"], "rot"), (["--holdout", 5000], "--holdout 5000"), (["--holdout", 0], "--holdout"),
    (["--weight_decay", -1], "--weight_decay"), (["--label_smoothing", 1], "--label_smoothing"),
    (["--schedule", "cosine"], "--schedule"), (["--optimizer", "sgd"], "--optimizer"),
    (["--temperature", 0], "--temp"),
    (["--category", "unicorn"], "unicorn"), (["--colours", "none.npy"], "none.npy"), (["--data", "nowhere"], "nowhere"),
    (["--unknown"], "--unknown"), (["--val"], "--val"), (["--compare", "none.pkl"], "none.pkl"),
    (["--valid", "--checkpoint", "none.pkl"], "none.pkl"), (["--valid", "--image", "x.jpg"], "--image"),
    (["--metrics", "x.json"], "--metrics"),
])
def test_refused_flags(refused, short, tmp_path, flags, said):
    assert said in refused(colourization.main, *short, "--checkpoint", tmp_path / "x.pkl", *flags)
    assert not list(tmp_path.glob("x.*"))


def test_a_gpu_that_is_not_there(refused, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    for main in colourization.main, colour_regression.main, lambda argv: activations.main(["7", *argv]):
        assert "--gpu" in refused(main, "--gpu")
