"""A: what regression draws, and what distance in RGB means to the eye."""

import itertools
from collections.abc import Iterator

import numpy as np
import torch
from torch import nn

from activations import capture
from colour.jobs.results import colourings
from colour.pixels import grey_of
from writeup.figures.common import RULE, Horses, Values, code, layers, load_shipped, parameters, save_row, save_table

LAYERS = {nn.MaxPool2d: "max-pool 2", nn.Upsample: r"upsample $\times 2$", nn.BatchNorm2d: "BN", nn.ReLU: "ReLU"}


def make(values: Values, horses: Horses) -> None:
    network, task = load_shipped("regression_cnn_k3_f32", horses.palette)
    save_row("strip_grey", grey_of(horses.shown))
    save_row("strip_truth", horses.shown)
    save_row("strip_regression_cnn", colourings(network, task, horses.shown)[0])
    table_of_layers(network, grey_of(horses.shown))
    distances(values, horses)


def table_of_layers(network: nn.Module, grey: torch.Tensor) -> None:
    rows = []
    for block, output in capture(network, grey)[1].items():
        conv, *then = layers(network, block)
        filters, channels, k, _ = conv.weight.shape
        depth, height, width = output.shape[1:]
        rows.append([code(block), str(filters), rf"${k}\times{k}\times{channels}$",
                     ", ".join(LAYERS[type(layer)] for layer in then) or "--",
                     rf"${height}\times{width}\times{depth}$", f"{conv.weight.numel():,}", str(conv.bias.numel())])
    weights, biases, _ = parameters(network)
    save_table("layers", "lrclcrr", [["block", "filters", "size of each", "then", "output", "weights", "biases"], RULE,
                                     *rows, RULE, ["all", "", "", "", "", f"{weights:,}", str(biases)]])


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
    covariance = torch.cov(horses.train.images.transpose(0, 1).flatten(1).double())
    values.put("grey.share", float(100 * covariance.sum() / 3 / covariance.trace()), ".0f")  # along (1, 1, 1)


def lab(rgb: np.ndarray) -> np.ndarray:
    """Return CIE 1976 L*a*b* (N, 3) of sRGB (N, 3) in [0, 1] (IEC 61966-2-1, white point D65)."""
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    xyz = linear @ np.array([[0.4124, 0.2126, 0.0193], [0.3576, 0.7152, 0.1192], [0.1805, 0.0722, 0.9505]])
    t = xyz / (0.9505, 1.0, 1.089)
    x, y, z = np.where(t > (6 / 29) ** 3, np.cbrt(t), t / (3 * (6 / 29) ** 2) + 4 / 29).T
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=1)


def statements(v: Values) -> Iterator[tuple[str, bool]]:
    regression, cnn, mean = "regression_cnn_k3_f32", "cnn_k3_f32", "cnn_k3_f32_mean"
    yield "A: regression's PSNR is about that of the all-grey picture", (
        abs(v[f"{regression}.psnr"] - v["allgrey.psnr"]) < 0.3)
    yield "A: regression is less colourful than the CNN, both than the truth", (
        v[f"{regression}.colourfulness"] < v[f"{cnn}.colourfulness"] < v["truth.colourfulness"])
    yield "A: regression has less error of colour than the mean colour of each grey level, and than the CNN's choice", (
        v[f"{regression}.colour"] > max(v["bylevel_mean.colour"], v[f"{cnn}.colour"]))
    yield "A: two pairs equally far in RGB, one more than twice as far in CIELAB", v["pair.ratio"] > 2
    yield "A: most of the variance of the colours is grey", v["grey.share"] > 80
    yield "A: the CNN's mean colour is paler and nearer, in all and in colour, than its most probable colour", (
        v[f"{mean}.colourfulness"] < v[f"{cnn}.colourfulness"] and v[f"{mean}.psnr"] > v[f"{cnn}.psnr"]
        and v[f"{mean}.colour"] > v[f"{cnn}.colour"])
