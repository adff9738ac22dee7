"""A: the layers of RegressionCNN, what it draws, and what distance in RGB means to the eye."""

import itertools
import json
from collections.abc import Iterator

import numpy as np
import torch

from activations import capture
from colour.files import ROOT
from colour.pixels import grey_of, to_rgb
from colour.results import colour_in
from writeup.figures.common import RULE, WEIGHTS, Horses, Values, code, layers, load_shipped, save_row, save_table

AFTER = {"MaxPool2d": "max-pool 2", "Upsample": r"upsample $\times 2$", "BatchNorm2d": "BN", "ReLU": "ReLU"}


def make(values: Values, horses: Horses) -> None:
    network, task = load_shipped("regression_cnn_k3_f32", horses.palette)
    table_of_layers(values, network)
    distances(values, horses)
    rgb = to_rgb(horses.shown)
    save_row("strip_grey", grey_of(rgb))
    save_row("strip_truth", rgb)
    save_row("strip_regression_cnn", colour_in(network, task, horses.shown))
    for name in "epochs", "batch_size":
        numbers = {json.loads((ROOT / "weights" / f"{weights}.json").read_text())[name] for weights in WEIGHTS}
        values.put(f"shipped.{name}", " to ".join(map(str, sorted({min(numbers), max(numbers)}))))


def weight_count(network: torch.nn.Module) -> int:
    """Count the weights of all convolutions, without biases and normalisation."""
    return sum(weight.numel() for weight in network.parameters() if weight.dim() == 4)


def table_of_layers(values: Values, network: torch.nn.Module) -> None:
    """Table and values: what each block does to a grey picture of 32x32."""
    rows = []
    outputs = capture(network, torch.zeros(1, 1, 32, 32))
    for number, (block, output) in enumerate(outputs.items(), 1):
        conv, *then = layers(network, block)
        filters, channels, k, _ = conv.weight.shape
        shape = r"{1}\times{2}\times{0}".format(*output.shape[1:])
        rows.append([str(number), code(block), str(filters), rf"${k}\times{k}\times{channels}$",
                     ", ".join(AFTER[type(layer).__name__] for layer in then) or "--", f"${shape}$",
                     f"{conv.weight.numel():,}"])
        values.put(f"layers.{block}.shape", shape)
        values.put(f"layers.{block}.filters", filters)
    save_table("layers", "llrclcr", [["", "block", "filters", "size of each", "then", "output", "weights"], RULE, *rows,
                                     RULE, ["", "all", "", "", "", "", f"{weight_count(network):,}"]])
    values.put("layers.number", len(outputs))


def lab(rgb: np.ndarray) -> np.ndarray:
    """Return CIE 1976 L*a*b* (N, 3) of sRGB (N, 3) in [0, 1] (IEC 61966-2-1, white point D65)."""
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    xyz = linear @ np.array([[0.4124, 0.2126, 0.0193], [0.3576, 0.7152, 0.1192], [0.1805, 0.0722, 0.9505]])
    t = xyz / (0.9505, 1.0, 1.089)
    x, y, z = np.where(t > (6 / 29) ** 3, np.cbrt(t), t / (3 * (6 / 29) ** 2) + 4 / 29).T
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=1)


def distances(values: Values, horses: Horses) -> None:
    """Two pairs of palette colours, equally far in RGB, that differ most to the eye; how grey the pictures are."""
    rgb = horses.palette.centres.astype(float) * 256 / 255
    first, second = np.array(list(itertools.combinations(range(len(rgb)), 2))).T
    in_rgb = np.linalg.norm(rgb[first] - rgb[second], axis=1)
    in_lab = np.linalg.norm(lab(rgb)[first] - lab(rgb)[second], axis=1)
    alike = np.abs(in_rgb[:, None] / in_rgb - 1) < 0.02
    low, high = np.unravel_index((in_lab / in_lab[:, None] * alike).argmax(), alike.shape)
    bytes_of = [",".join(str(round(255 * channel)) for channel in colour) for colour in rgb]
    for which, pair in (("low", low), ("high", high)):
        values.put(f"pair.{which}.rgb", in_rgb[pair], ".2f")
        values.put(f"pair.{which}.lab", in_lab[pair], ".0f")
        values.put(f"pair.{which}.a", bytes_of[first[pair]])
        values.put(f"pair.{which}.b", bytes_of[second[pair]])
    values.put("pair.ratio", in_lab[high] / in_lab[low], ".1f")
    values.put("palette.colours", len(rgb))
    values.put("palette.list", ",".join(f"{{{bytes_of[i]}}}" for i in rgb.sum(axis=1).argsort()))
    pixels = horses.train.images.permute(0, 2, 3, 1).reshape(-1, 3).double()
    covariance = torch.cov(pixels.T)
    values.put("grey.share", float(100 * covariance.sum() / 3 / covariance.trace()), ".0f")  # along (1, 1, 1)


def statements(v: Values) -> Iterator[tuple[str, bool]]:
    yield "A: regression's PSNR is about that of the all-grey picture", (
        abs(v["regression_cnn_k3_f32.psnr"] - v["allgrey.psnr"]) < 0.3)
    yield "A: regression is less colourful than the CNN, both than the truth", (
        v["regression_cnn_k3_f32.colourfulness"] < v["cnn_k3_f32.colourfulness"] < v["truth.colourfulness"])
    yield "A: two pairs equally far in RGB, one more than twice as far in CIELAB", v["pair.ratio"] > 2
    yield "A: most of the variance of the colours is grey", v["grey.share"] > 80
    yield "A: the CNN's mean colour is paler and nearer in RGB than its most probable colour", (
        v["cnn_mean.colourfulness"] < v["cnn_k3_f32.colourfulness"] and v["cnn_mean.psnr"] > v["cnn_k3_f32.psnr"])
