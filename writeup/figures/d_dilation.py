"""D and G: how far each block sees, by formula and by gradients; the dilated filter; what DilatedUNet draws."""

import inspect
import textwrap
from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from colour.jobs import plots
from colour.jobs.results import colourings
from colour.pixels import grey_of, to_rgb
from colourization import MODELS, MyDilatedConv2d, UNet
from writeup.figures import common
from writeup.figures.common import GENERATED, RULE, Horses, Values, code, load_shipped, save_row, save_table

NETWORKS = ("cnn", "unet", "dunet")
FILTERS = {"plain": (3, 0), "large": (5, 0), "dilated": (3, 1)}  # size, dilation
MIDDLE = range(32, 36)  # of pictures of 64x64: all places in a square of 4x4, which is one unit of the middle layer
PIXEL = 33  # of these, the one whose gradient is drawn; it sees most
SCALE = 8  # of that drawing


def make(values: Values, horses: Horses) -> None:
    counts(values, len(horses.palette))
    grey = grey_of(to_rgb(horses.valid.images[:100]).double())
    grey = F.pad(grey, (16, 16, 16, 16), mode="reflect")
    networks = {stem: load_shipped(f"{stem}_k3_f32", horses.palette)[0].double() for stem in NETWORKS}
    fields = {stem: formula(network) for stem, network in networks.items()}
    rows, jump_before = [], 1
    for block, (size, jump) in fields["unet"].items():
        seen = {}
        for stem, network in networks.items():
            maps = (gradient(network, block, unit, grey[:30]) for unit in {i // jump for i in MIDDLE})
            seen[stem] = " or ".join(map(str, sorted({np.ptp(reach(magnitude)) + 1 for magnitude in maps})))
        gain = 2 * jump_before  # if this layer alone had gaps of one: its outer taps are a jump further away
        rows.append([code(block), str(jump), str(size), seen["cnn"], seen["unet"], str(fields["dunet"][block][0]),
                     seen["dunet"], f"$+{gain}$"])
        values.put(f"rf.{block}.unet", seen["unet"])
        values.put(f"rf.{block}.gain", gain)
        jump_before = jump
    save_table("receptive", "lrrrrrrr", [
        ["behind", "jump", "formula", "CNN", "UNet", "formula", "DilatedUNet", "gain here"], RULE, *rows])
    for stem, network in networks.items():
        magnitude = gradient(network, "finalconv", PIXEL, grey)
        draw_gradient(f"gradient_{stem}", magnitude)
        values.put(f"gradient.{stem}.own", 100 * magnitude[PIXEL, PIXEL] / magnitude.sum(), ".0f")

    source = inspect.getsource(MyDilatedConv2d.dilated_weight).splitlines(keepends=True)
    listing = textwrap.dedent("".join(line for line in source if '"""' not in line))
    (GENERATED / "dilated_weight.py.txt").write_text(listing)
    network, task = load_shipped("dunet_k3_f32", horses.palette)
    save_row("strip_dunet", colourings(network, task, horses.shown)[0])


def counts(values: Values, colours: int) -> None:
    """Write two tables: what the three networks consist of, and what three filters in the middle layer would be."""
    rows = []
    for name, model in MODELS.items():
        numbers = common.parameters(model(3, 32, colours))
        for key, number in zip(("weights", "biases"), numbers):
            values.put(f"{name}.{key}", number, ",")
        rows.append([code(model.__name__), *(f"{number:,}" for number in (*numbers, sum(numbers)))])
    values.put("UNet16.weights", common.parameters(UNet(3, 16, colours))[0], ",")
    save_table("counts", "lrrrr", [["network", "weights", "biases", "of BN", "all"], RULE, *rows])

    rows = []
    for name, (size, dilation) in FILTERS.items():
        network = UNet(3, 32, colours)
        conv = network.rfconv[0] = MyDilatedConv2d(64, 64, size, dilation)
        seen, whole = formula(network)["rfconv"][0], common.parameters(network)
        values.put(f"seen.{name}", seen)
        title = rf"${size}\times{size}$" + (f", dilation {dilation}" if dilation else "")
        rows.append([title, str(size * size), f"{conv.weight.numel():,}", str(conv.bias.numel()),
                     f"{sum(whole[:2]):,}", rf"${span(conv)}\times{span(conv)}$", rf"${seen}\times{seen}$"])
    save_table("filters", "lrrrrcc", [
        ["", r"\multicolumn{3}{c}{of \texttt{rfconv}}", "of the", r"\multicolumn{2}{c}{each unit sees}"],
        ["filter", "taps", "weights", "biases", "UNet", "units before it", "input pixels"], RULE, *rows])


def span(conv: nn.Module) -> int:
    """Return how many pixels a filter spans along one axis, gaps included."""
    k, gaps = conv.weight.shape[-1], conv.dilation if isinstance(conv, MyDilatedConv2d) else 0
    return k + (k - 1) * gaps


def formula(network: nn.Module) -> dict[str, tuple[int, int]]:
    """Return receptive field and jump (input pixels between neighbouring units) behind each block.

    A filter that spans s adds (s - 1) jumps, pooling by 2 one jump and then doubles it, upsampling halves it.
    """
    size, jump, result = 1, 1, {}
    for block, _ in network.named_children():
        conv, *then = common.layers(network, block)
        size += (span(conv) - 1) * jump
        for layer in then:
            if isinstance(layer, nn.MaxPool2d):
                size, jump = size + jump, 2 * jump
            elif isinstance(layer, nn.Upsample):
                jump //= 2
        result[block] = size, jump
    return result


def gradient(network: nn.Module, block: str, unit: int, grey: torch.Tensor) -> np.ndarray:
    """Return the mean magnitude (H, W) of a gradient with respect to the pixels of ``grey`` (N, 1, H, W).

    It is that of the largest log-softmax over the channels of the block's output at (unit, unit).
    """
    grey, outputs = grey.clone().requires_grad_(), []
    with getattr(network, block).register_forward_hook(lambda module, inputs, output: outputs.append(output)):
        network(grey)
    outputs[0][:, :, unit, unit].log_softmax(dim=1).amax(dim=1).sum().backward()
    return grey.grad.abs().mean(dim=(0, 1)).numpy()


def reach(magnitude: np.ndarray) -> tuple[int, int]:
    """Return the first and the last row with a gradient."""
    rows = np.flatnonzero(magnitude.any(axis=1))
    return rows[0], rows[-1]


def draw_gradient(name: str, magnitude: np.ndarray) -> None:
    """Draw four decades of ``magnitude``, with a red frame around all that is not 0."""
    image = common.heat(1 + np.log10(np.maximum(magnitude / magnitude.max(), 1e-12)) / 4)
    image = image.repeat_interleave(SCALE, dim=1).repeat_interleave(SCALE, dim=2)
    first, last = reach(magnitude)
    for line in slice(first * SCALE, first * SCALE + 2), slice((last + 1) * SCALE - 2, (last + 1) * SCALE):
        side = slice(first * SCALE, (last + 1) * SCALE)
        image[:, line, side] = image[:, side, line] = torch.tensor([255, 80, 60]).view(3, 1, 1) / 256
    window = slice(SCALE * (PIXEL - 24), SCALE * (PIXEL + 25))
    plots.picture(GENERATED / f"{name}.png", image[:, window, window], 1)


def statements(v: Values) -> Iterator[tuple[str, bool]]:
    yield "D: dilation in rfconv and upconv1 adds most", (
        v["rf.rfconv.gain"] == v["rf.upconv1.gain"] > max(
            v[f"rf.{block}.gain"] for block in ("downconv1", "downconv2", "upconv2", "finalconv")))
    yield "D: a dilated 3x3 filter sees as far as a 5x5 one, and further than a 3x3 one", (
        v["seen.dilated"] == v["seen.large"] > v["seen.plain"])
    yield "D: dilation adds no weights and no biases", v["DUNet.weights"] == v["UNet.weights"]
    for filters in 32, 16:
        dilated, plain = f"dunet_k3_f{filters}", f"unet_k3_f{filters}"
        yield f"G: {dilated} and {plain} are alike in accuracy, loss, brightness and colour", (
            abs(v[f"{dilated}.acc"] - v[f"{plain}.acc"]) < 1 and abs(v[f"{dilated}.loss"] - v[f"{plain}.loss"]) < 0.05
            and all(abs(v[f"{dilated}{key}"] - v[f"{plain}{key}"]) < 0.15 for key in (".brightness", "_mean.colour")))
