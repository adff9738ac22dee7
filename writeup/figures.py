"""Measure and draw everything that the write-up states and shows.

    python -m writeup.figures

Writes writeup/generated/: values.tex (every number in the text, by name), whole tables, curves and pictures.
The shipped weights are scored anew each time. The four trainings of parts C and G take minutes; their
results are kept in generated/train_*.json, and only --retrain (or removing such a file) repeats them. Part
F's study is taken over from outputs/augmentation.json (``python -m writeup.augmentation``) if it is there.

At the end the statements of the text that compare numbers are checked against them: one that no
longer holds is an error, after everything has been written, since the text must then be changed.
"""

import argparse
import copy
import hashlib
import inspect
import itertools
import json
import math
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from statistics import mean, stdev

import numpy as np
import torch
from matplotlib import colormaps
from PIL import Image
from torch import nn

from activations import BLOCKS, capture
from colour.augment import MAX_SHIFT
from colour.decode import Colouring, most_probable
from colour.devices import pick_device
from colour.files import ROOT, sha256
from colour.metrics import baselines
from colour.palette import Palette
from colourization import (
    MODELS,
    Data,
    MyDilatedConv2d,
    UNet,
    colour_in,
    evaluate,
    grey_of,
    load_model,
    load_sets,
    start_from_grey,
)

GENERATED = ROOT / "writeup" / "generated"
WORK = ROOT / "outputs" / "writeup"  # the trainings' weights and states, which are not kept in the repository
STUDY = ROOT / "outputs" / "augmentation.json"

NETWORKS = ("regression_cnn", "cnn", "unet", "dunet")
WEIGHTS = [f"{network}_k3_f{filters}" for network in NETWORKS for filters in (32, 16)]
TITLES = {"regression_cnn": "RegressionCNN", "cnn": "CNN", "unet": "UNet", "dunet": "DilatedUNet"}
TRAININGS = {
    "unet_b10_e5": "--model UNet -b 10 -e 5",  # the assignment's own
    "unet_e25": "--model UNet -e 25",  # and the defaults
    "cnn_e25": "--model CNN -e 25",
    "dunet_e25": "--model DUNet -e 25",
}
HORSES = range(8)  # in the strips
CLOSE_UP = (7, 1, 6)  # in the cut-outs of part E
BLOCK_CHANNELS = 2  # of each block, there
JOINS = {"upconv1": "downconv2", "upconv2": "downconv1", "finalconv": "input"}
AUGMENTATIONS = {  # of part F: name in the study, name in the text
    "none": "none",
    "hflip": "flip left--right",
    "vflip": "flip upside down",
    "hshift": "shift sideways",
    "vshift": "shift up or down",
    "pretrained": "other nine classes first",
}


# ------------------------------------------------------------------------------------------------
# What is written


class Values:
    """Every number of the text: ``values["name"] = number, format``; the text reads ``\\val{name}``.

    ``raw`` keeps the unrounded numbers for the check of the statements.
    """

    def __init__(self):
        self.raw, self.texts = {}, {}

    def __setitem__(self, name: str, value) -> None:
        number, form = value if isinstance(value, tuple) else (value, "{}")
        self.raw[name] = number
        self.texts[name] = form.format(number)

    def __getitem__(self, name: str):
        return self.raw[name]

    def add(self, prefix: str, figures: dict[str, float], regression: bool = False) -> None:
        """The scores of ``evaluate`` or of a baseline; shares become percentages."""
        forms = {"loss": (1, "{:.5f}" if regression else "{:.3f}"), "psnr": (1, "{:.2f}"),
                 "colourfulness": (1, "{:.1f}"), "acc": (100, "{:.1f}"), "top5": (100, "{:.1f}"),
                 "balanced_acc": (100, "{:.1f}"), "mse": (1, "{:.5f}")}
        for key, (unit, form) in forms.items():
            if key in figures:
                self[f"{prefix}.{key}"] = figures[key] * unit, form

    def save(self, path: Path) -> None:
        lines = [f"\\setval{{{name}}}{{{text}}}" for name, text in sorted(self.texts.items())]
        path.write_text("% Written by writeup/figures.py\n" + "\n".join(lines) + "\n")


def save_table(name: str, columns: str, head: list[str], rows: list[list[str] | None]) -> None:
    """A ``tabular`` as LaTeX; a row that is ``None`` is a rule."""
    lines = [r"\midrule" if row is None else " & ".join(row) + r" \\" for row in [head, None, *rows]]
    text = "\n".join([rf"\begin{{tabular}}{{{columns}}}", r"\toprule", *lines, r"\bottomrule", r"\end{tabular}"])
    (GENERATED / f"table_{name}.tex").write_text("% Written by writeup/figures.py\n" + text + "\n")


def save_picture(name: str, pixels: np.ndarray) -> None:
    """uint8 (H, W, 3) as PNG; the same pixels give the same bytes."""
    Image.fromarray(pixels).save(GENERATED / f"{name}.png", optimize=True)


def enlarged(pixels: np.ndarray, scale: int) -> np.ndarray:
    """Every pixel of (H, W, ...) as a square of equal ones."""
    return pixels.repeat(scale, axis=0).repeat(scale, axis=1)


def row_of(tiles: list[np.ndarray], gap: int) -> np.ndarray:
    """Tiles (H, W, 3) beside each other on white."""
    space = np.full((tiles[0].shape[0], gap, 3), 255, np.uint8)
    return np.concatenate([part for tile in tiles for part in (tile, space)][:-1], axis=1)


def save_strip(name: str, images: torch.Tensor) -> None:
    """Pictures (N, 3 or 1, H, W) in [0, 1] beside each other, enlarged with hard pixels."""
    pixels = (images.permute(0, 2, 3, 1).numpy() * 256).round().clip(0, 255).astype(np.uint8)
    pixels = np.broadcast_to(pixels, (*pixels.shape[:3], 3))
    save_picture(f"strip_{name}", row_of([enlarged(tile, 5) for tile in pixels], gap=10))


def heat(values: np.ndarray) -> np.ndarray:
    """Numbers (H, W) from 0 (dark) to 1 (yellow) as uint8 (H, W, 3)."""
    return colormaps["viridis"](np.clip(values, 0, 1), bytes=True)[..., :3]


# ------------------------------------------------------------------------------------------------
# Parts A to C: layers, scores, pictures


def weight_count(network: nn.Module) -> int:
    """Weights of all convolutions, without biases and normalisation."""
    return sum(weight.numel() for weight in network.parameters() if weight.dim() == 4)


def layers(values: Values) -> None:
    """Table A: what each block of RegressionCNN does at f = 32; the numbers of weights of all networks."""
    network = load_model(ROOT / "weights" / "regression_cnn_k3_f32.pkl")[0]
    outputs = capture(network, torch.zeros(1, 1, 32, 32))
    rows = []
    for number, block in enumerate(BLOCKS, 1):
        modules = [getattr(network, block)] if block == "finalconv" else list(getattr(network, block))
        filters, channels, k, _ = modules[0].weight.shape
        after = [{"MaxPool2d": "max-pool 2", "Upsample": r"upsample $\times 2$", "BatchNorm2d": "BN", "ReLU": "ReLU"}
                 [type(module).__name__] for module in modules[1:]]
        _, _, height, width = outputs[block].shape
        rows.append([str(number), rf"\texttt{{{block}}}", str(filters), rf"${k}\times{k}\times{channels}$",
                     ", ".join(after) or "--", rf"${height}\times{width}\times{filters}$",
                     f"{modules[0].weight.numel():,}"])
        values[f"layers.{block}.shape"] = rf"{height}\times{width}\times{filters}"
        values[f"layers.{block}.filters"] = filters
    rows += [None, ["", "all", "", "", "", "", f"{weight_count(network):,}"]]
    save_table("layers", "llrclcr", ["", "block", "filters", "size of each", "then", "output", "weights"], rows)
    values["layers.number"] = len(BLOCKS)
    for name in ("cnn", "unet", "dunet"):
        network = load_model(ROOT / "weights" / f"{name}_k3_f32.pkl")[0]
        values[f"weights.{name}"] = weight_count(network), "{:,}"
    for when, key in (("epochs", "epochs"), ("batch", "batch_size")):
        sidecars = [json.loads((ROOT / "weights" / f"{name}.json").read_text()) for name in WEIGHTS]
        numbers = {sidecar[key] for sidecar in sidecars}
        values[f"shipped.{when}"] = " to ".join(map(str, sorted({min(numbers), max(numbers)})))


def score_shipped(values: Values, data: Data, valid: Data, palette: Palette) -> dict[str, nn.Module]:
    """Score and draw every shipped file; the table of all with the baselines. The f = 32 networks by name."""
    images, networks, rows = valid.images[list(HORSES)], {}, []
    save_strip("grey", grey_of(images.float() / 256))
    save_strip("truth", images.float() / 256)
    save_strip("ceiling", palette.rgb(valid.labels[list(HORSES)]))
    scores = {}
    for name in WEIGHTS:
        network, sidecar = load_model(ROOT / "weights" / f"{name}.pkl")
        regression = sidecar["model"] == "RegressionCNN"
        colouring = Colouring(None if regression else palette)
        scores[name] = evaluate(network, Data(valid.images) if regression else valid, colouring=colouring)
        values.add(name, scores[name], regression)
        stem, filters = name.rsplit("_k3_f", 1)
        if filters == "32":
            networks[stem] = network
            save_strip(stem, colour_in(network, images, colouring))
    mean_colour = Colouring(palette, "mean")
    values.add("cnn_mean", evaluate(networks["cnn"], valid, colouring=mean_colour))
    save_strip("cnn_mean", colour_in(networks["cnn"], images, mean_colour))
    for stem in ("cnn", "unet"):
        values.add(f"{stem}_kept", evaluate(networks[stem], valid, colouring=Colouring(palette, keep_grey=True)))
    start = UNet(3, 32, len(palette))
    start_from_grey(start, data)
    with torch.no_grad():
        start.finalconv.weight[:, :-1] = 0  # nothing but the grey
    values.add("grey_start", evaluate(start.eval(), valid))
    others = baselines(*data, *valid, palette)
    keys = {"all-grey picture": "allgrey", "majority colour": "majority",
            "most frequent colour per grey level": "lookup", "palette ceiling": "ceiling"}
    for name, key in keys.items():
        values.add(key, others[name])
    values["truth.colourfulness"] = others["palette ceiling"]["true_colourfulness"], "{:.1f}"

    def row(title: str, key: str) -> list[str]:
        columns = ("loss", "acc", "top5", "balanced_acc", "psnr", "colourfulness")
        return [title, *(values.texts.get(f"{key}.{column}", "--") for column in columns)]

    rows = [row("all grey: the input", "allgrey"), row("majority colour", "majority"),
            row("commonest per grey level", "lookup"), None]
    for name in WEIGHTS:
        stem, filters = name.rsplit("_k3_f", 1)
        rows.append(row(rf"{TITLES[stem]}, $f={filters}$", name))
    rows += [None, row("palette ceiling", "ceiling"), row("true pictures", "truth")]
    save_table("scores", "lrrrrrr", ["", "loss", "acc.\\ (\\%)", "top-5 (\\%)", "balanced (\\%)", "PSNR (dB)",
                                     "colourf."], rows)
    return networks


def cut(network: UNet, block: str) -> UNet:
    """A copy of ``network`` in which ``block`` no longer hears what its skip connection brings."""
    network = copy.deepcopy(network)
    module = getattr(network, block)
    conv = module if block == "finalconv" else module[0]
    skipped = {"upconv1": network.downconv2[0], "upconv2": network.downconv1[0]}.get(block)
    channels = 1 if skipped is None else skipped.weight.shape[0]
    with torch.no_grad():
        conv.weight[:, -channels:] = 0  # what is joined on comes last
    return network


def trainings(values: Values, pictures: int, valid: Data, palette: Palette, unet: UNet, retrain: bool) -> None:
    """The four trainings on ``pictures`` horses: run those that are missing; curves, values and tables of all."""
    colouring = Colouring(palette)
    rows, histories = [], {}
    for name, flags in TRAININGS.items():
        cache, weights = GENERATED / f"train_{name}.json", WORK / f"{name}.pkl"
        if retrain or not cache.exists():
            if retrain:
                for suffix in (".pkl", ".json", ".state.pt"):
                    weights.with_suffix(suffix).unlink(missing_ok=True)
            folder = WORK.relative_to(ROOT)
            subprocess.run([sys.executable, "colourization.py", *flags.split(), "--precision", "fp32", "--checkpoint",
                            str(folder / weights.name), "--outdir", str(folder), "--resume"], cwd=ROOT, check=True)
            network, sidecar = load_model(weights)
            if name.endswith("e25"):
                save_strip(name, colour_in(network, valid.images[list(HORSES)], colouring))
            kept = {key: sidecar[key] for key in ("command", "model", "num_filters", "batch_size", "learn_rate",
                                                  "schedule", "augment", "grey_start", "precision", "seed", "epochs")}
            kept["scores"] = evaluate(network, valid, colouring=colouring)
            if isinstance(network, UNet):
                kept["cut"] = {block: evaluate(cut(network, block), valid) for block in JOINS}
            kept["history"] = [{key: value for key, value in epoch.items() if key != "seconds"}
                               for epoch in sidecar["history"]]  # the machine had other work, too
            cache.write_text(json.dumps(kept, indent=1) + "\n")
        run = json.loads(cache.read_text())
        values.add(name, run["scores"])
        values[f"{name}.train_loss"] = run["history"][-1]["loss"], "{:.3f}"
        values[f"{name}.gap"] = run["scores"]["loss"] - run["history"][-1]["loss"], "{:.2f}"
        values[f"{name}.steps"] = run["epochs"] * math.ceil(pictures / run["batch_size"]), "{:,}"
        curve = ["epoch loss val_loss acc val_acc"] + [
            f"{epoch} {record['loss']:.4f} {record['val_loss']:.4f} {100 * record['acc']:.2f} "
            f"{100 * record['val_acc']:.2f}" for epoch, record in enumerate(run["history"], 1)]
        (GENERATED / f"curve_{name}.dat").write_text("\n".join(curve) + "\n")
        histories[name] = run["history"]
        rows.append([TITLES[run["model"].lower()], str(run["batch_size"]), str(run["epochs"]),
                     *(values.texts[f"{name}.{key}"] for key in ("train_loss", "loss", "acc"))])
    save_table("equal", "lrrrrr", ["", "batch", "epochs", "training loss", "loss", "acc."], rows)

    values["unet_e25.lead"] = min(cnn["val_loss"] - unet["val_loss"] for cnn, unet in
                                  zip(histories["cnn_e25"], histories["unet_e25"])), "{:.2f}"
    run = json.loads((GENERATED / "train_unet_e25.json").read_text())
    rows = [["--", "--", values.texts["unet_e25.acc"], values.texts["unet_k3_f32.acc"]]]
    for block, source in JOINS.items():
        values[f"cut.{block}.e25"] = 100 * run["cut"][block]["acc"], "{:.1f}"
        values[f"cut.{block}.shipped"] = 100 * evaluate(cut(unet, block), valid)["acc"], "{:.1f}"
        rows.append([source if source == "input" else rf"\texttt{{{source}}}", rf"\texttt{{{block}}}",
                     values.texts[f"cut.{block}.e25"], values.texts[f"cut.{block}.shipped"]])
    save_table("cut", "llrr", ["cut from", "into", "25 ep.", "shipped"], rows)


# ------------------------------------------------------------------------------------------------
# Colour: distances in RGB and as seen


def lab(rgb: np.ndarray) -> np.ndarray:
    """CIE 1976 L*a*b* (N, 3) of sRGB (N, 3) in [0, 1] (IEC 61966-2-1, white point D65)."""
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    xyz = linear @ np.array([[0.4124, 0.2126, 0.0193], [0.3576, 0.7152, 0.1192], [0.1805, 0.0722, 0.9505]])
    t = xyz / (0.9505, 1.0, 1.089)
    x, y, z = np.where(t > (6 / 29) ** 3, np.cbrt(t), t / (3 * (6 / 29) ** 2) + 4 / 29).T
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=1)


def colour_distances(values: Values, data: Data, palette: Palette) -> None:
    """Two pairs of palette colours, equally far in RGB, that differ most to the eye; how grey the data are."""
    rgb = palette.centres.astype(float) * 256 / 255
    pairs = np.array(list(itertools.combinations(range(len(rgb)), 2)))
    near, far = rgb[pairs[:, 0]], rgb[pairs[:, 1]]
    in_rgb = np.linalg.norm(near - far, axis=1)
    in_lab = np.linalg.norm(lab(near) - lab(far), axis=1)
    alike = np.abs(in_rgb[:, None] / in_rgb - 1) < 0.02
    low, high = np.unravel_index((in_lab / in_lab[:, None] * alike).argmax(), alike.shape)
    for which, pair in (("low", low), ("high", high)):
        values[f"pair.{which}.rgb"] = in_rgb[pair], "{:.2f}"
        values[f"pair.{which}.lab"] = in_lab[pair], "{:.0f}"
        for end, colour in (("a", near[pair]), ("b", far[pair])):
            values[f"pair.{which}.{end}"] = ",".join(str(round(255 * channel)) for channel in colour)
    values["pair.ratio"] = in_lab[high] / in_lab[low], "{:.1f}"
    pixels = data.images.permute(0, 2, 3, 1).reshape(-1, 3).double()
    covariance = torch.cov(pixels.T)
    values["grey.share"] = float(100 * covariance.sum() / 3 / covariance.trace()), "{:.0f}"  # along (1, 1, 1)
    colours = [f"{i}/{','.join(str(round(255 * channel)) for channel in rgb[i])}"
               for i in np.argsort(rgb.sum(axis=1))]
    values["palette.colours"] = len(rgb)
    values["palette.list"] = ",".join(f"{{{colour.split('/')[1]}}}" for colour in colours)


# ------------------------------------------------------------------------------------------------
# Part D: receptive fields


def extent(conv: nn.Module) -> int:
    """Pixels that a filter spans along one axis, gaps included."""
    k = conv.weight.shape[-1]
    return k + (k - 1) * getattr(conv, "dilation", 0) if isinstance(conv, MyDilatedConv2d) else k


def modules_of(network: nn.Module, block: str) -> list[nn.Module]:
    module = getattr(network, block)
    return [module] if block == "finalconv" else list(module)


def formula(network: nn.Module) -> dict[str, tuple[int, float]]:
    """Receptive field and jump (input pixels between neighbouring units) behind each block.

    A filter that spans s adds (s - 1) jumps, pooling by 2 one jump and then doubles it, upsampling halves it.
    """
    size, jump, result = 1, 1, {}
    for block in BLOCKS:
        for module in modules_of(network, block):
            if hasattr(module, "weight") and module.weight.dim() == 4:
                size += (extent(module) - 1) * jump
            elif isinstance(module, nn.MaxPool2d):
                size, jump = size + jump, 2 * jump
            elif isinstance(module, nn.Upsample):
                jump //= 2
        result[block] = size, jump
    return result


def interval(network: nn.Module, block: str, unit: int) -> tuple[int, int]:
    """First and last input pixel, along one axis, that ``unit`` of the block's output depends on: exact."""
    first = last = unit
    for name in reversed(BLOCKS[:BLOCKS.index(block) + 1]):
        for module in reversed(modules_of(network, name)):
            if isinstance(module, nn.Upsample):
                first, last = first // 2, last // 2
            elif isinstance(module, nn.MaxPool2d):
                first, last = 2 * first, 2 * last + 1
            elif hasattr(module, "weight") and module.weight.dim() == 4:
                reach = extent(module) // 2
                first, last = first - reach, last + reach
    return first, last


def transparent(network: nn.Module) -> nn.Module:
    """A copy in which a gradient passes wherever a path exists, and nothing cancels.

    Weights are positive, so that every ReLU is open; pooling takes the mean, since the maximum would
    pass the gradient to one pixel of four. Float64, in eval mode.
    """
    network = copy.deepcopy(network).double().eval()
    for parent in list(network.modules()):
        for name, module in list(parent.named_children()):
            if isinstance(module, nn.MaxPool2d):
                setattr(parent, name, nn.AvgPool2d(module.kernel_size))
            if isinstance(module, nn.BatchNorm2d):
                setattr(parent, name, nn.Identity())
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(1 / parameter[0].numel())
    return network


def gradient_extent(network: nn.Module, block: str, unit: int, size: int = 96) -> tuple[int, int, bool]:
    """First and last input row with a gradient of output unit (unit, unit), and whether all between have one."""
    x = torch.ones(1, 1, size, size, dtype=torch.float64, requires_grad=True)
    outputs = {}
    with getattr(network, block).register_forward_hook(lambda module, inputs, output: outputs.update(out=output)):
        network(x)
    outputs["out"][0, :, unit, unit].sum().backward()
    touched = x.grad[0, 0] != 0
    rows = touched.any(dim=1).nonzero().flatten()
    first, last = int(rows[0]), int(rows[-1])
    return first, last, bool(touched[first:last + 1, first:last + 1].all())


def gradient_map(network: nn.Module, images: torch.Tensor, pixel: int) -> np.ndarray:
    """Mean magnitude of the gradient of the predicted colour's log-probability at (pixel, pixel): (H, W)."""
    grey = grey_of(images.double() / 256)
    grey = nn.functional.pad(grey, (16, 16, 16, 16), mode="reflect").requires_grad_()
    log_probability = network.double()(grey)[:, :, pixel, pixel].log_softmax(dim=1)
    log_probability.amax(dim=1).sum().backward()
    network.float()
    return grey.grad.abs().mean(dim=(0, 1)).numpy()


def receptive_fields(values: Values, networks: dict[str, nn.Module], valid: Data) -> None:
    """Table and pictures of part D; raises ``AssertionError`` where gradients disagree with the calculation."""
    plain = {name: MODELS[name](3, 4, 24) for name in MODELS}
    clear = {name: transparent(network) for name, network in plain.items()}
    by_formula = {name: formula(network) for name, network in plain.items()}
    assert by_formula["CNN"] == by_formula["UNet"]
    cells = {}
    for name, network in plain.items():
        for block, (_, jump) in by_formula[name].items():
            sizes = set()
            for unit in range(48 // jump, 48 // jump + 4):  # all positions within the 4x4 pixels of a coarse unit
                first, last, dense = gradient_extent(clear[name], block, unit)
                assert (first, last) == interval(network, block, unit), (name, block, unit)
                assert dense, f"holes in the receptive field of {name}.{block}"
                sizes.add(last - first + 1)
            cells[name, block] = " or ".join(map(str, sorted(sizes)))
            values[f"rf.{name}.{block}.formula"] = by_formula[name][block][0]
            values[f"rf.{name}.{block}.exact"] = cells[name, block]
    # What dilating each of the layers alone would add
    gains = {}
    for block in BLOCKS:
        network = UNet(3, 4, 24)
        conv = modules_of(network, block)[0]
        out_channels, in_channels, k, _ = conv.weight.shape
        wide = MyDilatedConv2d(in_channels, out_channels, k, dilation=1)
        if block == "finalconv":
            network.finalconv = wide
        else:
            getattr(network, block)[0] = wide
        gains[block] = formula(network)["finalconv"][0] - by_formula["UNet"]["finalconv"][0]
        values[f"rf.gain.{block}"] = gains[block]
    rows = []
    for block in BLOCKS:
        size, jump = by_formula["UNet"][block]
        dilated, _ = by_formula["DUNet"][block]
        name = r"\texttt{" + block + "}"
        rows.append([name, str(jump), f"{size}", cells["CNN", block], cells["UNet", block], f"{dilated}",
                     cells["DUNet", block], f"$+{gains[block]}$"])
    save_table("receptive", "lrrrrrrr",
               ["behind", "jump", "formula", "CNN", "UNet", "formula", "DilatedUNet", "gain here"], rows)

    pixel, scale = 33, 8  # within a coarse unit, one of those that see most
    for name in ("CNN", "UNet", "DUNet"):
        magnitude = gradient_map(networks[name.lower()], valid.images[:100], pixel)
        rows_seen = np.flatnonzero(magnitude.any(axis=1))
        first, last = interval(plain[name], "finalconv", pixel)
        assert (rows_seen[0], rows_seen[-1]) == (first, last), f"the trained {name} sees {rows_seen[[0, -1]]}"
        pixels = enlarged(heat(1 + np.log10(np.maximum(magnitude / magnitude.max(), 1e-12)) / 4), scale)
        first, last = first * scale, (last + 1) * scale
        window = slice((pixel - 24) * scale, (pixel + 25) * scale)
        for side in (first, last - 2):
            pixels[side:side + 2, first:last] = pixels[first:last, side:side + 2] = (255, 80, 60)
        save_picture(f"gradient_{name.lower()}", pixels[window, window])
        own = magnitude[pixel, pixel] / magnitude.sum()
        values[f"gradient.{name.lower()}.own"] = 100 * own, "{:.0f}"

    # One layer by itself: the three filters of the question, at f = 32
    middle = networks["unet"].rfconv[0].weight
    filters = []
    for title, k, dilation in (("$3\\times3$", 3, 0), ("$5\\times5$", 5, 0), ("$3\\times3$, dilation 1", 3, 1)):
        conv = MyDilatedConv2d(*middle.shape[1::-1], k, dilation)
        span = extent(conv)
        probe = torch.zeros(1, conv.weight.shape[1], 17, 17, requires_grad=True)
        conv(probe)[0, 0, 8, 8].backward()
        seen = (probe.grad[0] != 0).any(dim=0).nonzero()
        assert int(seen[:, 0].max() - seen[:, 0].min() + 1) == span
        filters.append([title, str(k * k), f"{conv.weight.numel():,}", rf"${span}\times{span}$", str(len(seen))])
    save_table("filters", "lrrcr", ["filter", "weights per pair", "weights in \\texttt{rfconv}",
                                    "receptive field", "pixels used"], filters)

    def padding_share(dilation: int) -> float:
        inside = np.mean([[0 <= i + tap * (dilation + 1) < 8 for tap in (-1, 0, 1)] for i in range(8)])
        return 1 - inside ** 2

    values["padding.plain"] = 100 * padding_share(0), "{:.0f}"
    values["padding.dilated"] = 100 * padding_share(1), "{:.0f}"


# ------------------------------------------------------------------------------------------------
# Part E: activations


def telling_channels(maps: torch.Tensor, count: int) -> list[int]:
    """Of (N, C, h, w), the channels whose pictures use their range best, without any that repeats another.

    The edge, where zero padding shows, does not count.
    """
    inner = maps[:, :, 1:-1, 1:-1].flatten(2)
    span = inner.amax(dim=2) - inner.amin(dim=2)
    contrast = (inner.std(dim=2) / span.clamp(min=1e-6)).amin(dim=0)  # in every one of the pictures
    order = contrast.argsort(descending=True).tolist()
    correlation = torch.corrcoef(inner.transpose(0, 1).flatten(1)).abs()
    chosen = []
    for channel in order:
        if all(correlation[channel, other] < 0.7 for other in chosen):
            chosen.append(channel)
    return (chosen + [channel for channel in order if channel not in chosen])[:count]


def detail(maps: torch.Tensor, grey: torch.Tensor) -> float:
    """The share of the fine detail of ``grey`` (N, 1, 32, 32) that a linear map of (N, C, h, w) reproduces.

    Fine detail is what differs from the mean of its square of 4x4 pixels: what an 8x8 map cannot draw.
    """
    def fine(x):
        x = nn.functional.interpolate(x, size=grey.shape[-2:])
        return (x - nn.functional.interpolate(nn.functional.avg_pool2d(x, 4), scale_factor=4)).double()

    channels, target = (fine(x).transpose(0, 1).flatten(1).T for x in (maps, grey))
    gram = channels.T @ channels
    solution = torch.linalg.pinv(gram, hermitian=True) @ (channels.T @ target)
    return float(1 - (target - channels @ solution).square().sum() / target.square().sum())


def cut_outs(values: Values, networks: dict[str, nn.Module], valid: Data, palette: Palette) -> None:
    """Rows of channels, block by block, for the pictures of part E; how much detail each block holds."""
    grey = grey_of(valid.images.float() / 256)
    size = 96
    rows = []
    for name in ("cnn", "unet"):
        maps = capture(networks[name], grey[list(CLOSE_UP)])
        for block in BLOCKS:
            channels = maps[block].detach()
            if block == "finalconv":
                common = most_probable(channels).flatten().bincount(minlength=len(palette))
                chosen = common.argsort(descending=True)[:BLOCK_CHANNELS].tolist()
            else:
                chosen = telling_channels(channels, BLOCK_CHANNELS)
            tiles = []
            for picture in channels:
                for channel in chosen:
                    values_here = picture[channel].numpy()
                    low, high = np.percentile(values_here, (1, 99))
                    tile = enlarged(heat((values_here - low) / (high - low or 1)), size // values_here.shape[0])
                    if block == "finalconv":  # framed in the colour that the channel stands for
                        colour = (palette.centres[channel] * 256).clip(0, 255).astype(np.uint8)
                        framed = np.broadcast_to(colour, tile.shape).copy()
                        framed[8:-8, 8:-8] = tile[8:-8, 8:-8]
                        tile = framed
                    tiles.append(tile)
            save_picture(f"act_{name}_{block}", row_of(tiles, gap=6))
        with torch.no_grad():
            some = capture(networks[name], grey[:200])
        for block in BLOCKS:
            values[f"detail.{name}.{block}"] = 100 * detail(some[block], grey[:200]), "{:.0f}"
            if block != "finalconv":
                values[f"silent.{name}.{block}"] = 100 * float((some[block] == 0).float().mean()), "{:.0f}"
    for name in ("cnn", "unet"):
        rows.append([f"detail, {TITLES[name]}", *(values.texts[f"detail.{name}.{block}"] for block in BLOCKS)])
    for name in ("cnn", "unet"):
        rows.append([f"silent, {TITLES[name]}",
                     *(values.texts.get(f"silent.{name}.{block}", "--") for block in BLOCKS)])
    save_table("blocks", "l" + "r" * len(BLOCKS), ["share (\\%)", *(rf"\texttt{{{block}}}" for block in BLOCKS)], rows)
    for index in CLOSE_UP:
        pixels = valid.images[index].permute(1, 2, 0).numpy()
        level = (grey[index, 0].numpy() * 256).astype(np.uint8)
        save_picture(f"horse_{index}", row_of([enlarged(np.stack([level] * 3, axis=2), 3), enlarged(pixels, 3)], 6))


# ------------------------------------------------------------------------------------------------
# Part F: the study of augmentation


def study(values: Values, path: Path) -> None:
    """The table and the verdicts of part F. Without a study the text says that there is none."""
    kept = GENERATED / "augmentation.json"
    if path.exists():
        kept.write_text(json.dumps(json.loads(path.read_text()), indent=1) + "\n")
    values["study.done"] = int(kept.exists())
    values["study.shift"] = MAX_SHIFT
    if not kept.exists():
        (GENERATED / "table_study.tex").unlink(missing_ok=True)
        return
    whole = json.loads(kept.read_text())
    runs, settings = whole["runs"], {"epochs": 25, "batch_size": 50, **whole.get("settings", {})}
    for key in ("epochs", "batch_size"):
        values[f"study.{key}"] = settings[key]
    holdout, share = settings.get("holdout"), settings.get("pretraining")
    values["study.judges"] = f"{holdout:,} horses held out from the training set" if holdout else "the test horses"
    values["study.share"] = f"{100 * share:.0f}\\,\\%" if share else "a part"
    by_name = {name: [run for run in runs if run["name"] == name] for name in AUGMENTATIONS}
    losses = {name: [run["loss"] for run in group] for name, group in by_name.items() if group}
    rows = []
    for name, own in losses.items():
        accuracy = [100 * run["acc"] for run in by_name[name]]
        verdict = ("lowered the loss" if max(own) < min(losses["none"]) else
                   "raised the loss" if min(own) > max(losses["none"]) else "made no clear difference")
        values[f"study.{name}.verdict"] = verdict
        values[f"study.{name}.loss"] = mean(own), "{:.3f}"
        values[f"study.{name}.acc"] = mean(accuracy), "{:.1f}"
        values[f"study.{name}.gain"] = mean(losses["none"]) - mean(own), "{:+.3f}"
        rows.append([AUGMENTATIONS[name], rf"${mean(own):.3f} \pm {stdev(own):.3f}$",
                     rf"${mean(accuracy):.1f} \pm {stdev(accuracy):.1f}$",
                     "" if name == "none" else f"${mean(own) - mean(losses['none']):+.3f}$",
                     "" if name == "none" else verdict])
    values["study.vflip.kind"] = ("raised the loss", "made no clear difference", "lowered the loss").index(
        values["study.vflip.verdict"]) if "study.vflip.verdict" in values.raw else 1
    values["study.seeds"] = len({run["seed"] for run in runs})
    for verdict, key in (("lowered the loss", "helped"), ("raised the loss", "harmed"),
                         ("made no clear difference", "neither")):
        names = [AUGMENTATIONS[name] for name in losses
                 if name != "none" and values[f"study.{name}.verdict"] == verdict]
        values[f"study.{key}"] = "; ".join(names) or "none"
    save_table("study", "lrrrl", ["augmentation", "loss", "acc.\\ (\\%)", "against none", ""], rows)


# ------------------------------------------------------------------------------------------------


def statements(v: Values) -> Iterator[tuple[str, bool]]:
    """What the text says beyond single numbers, and whether it holds."""
    yield "A: regression's PSNR is about that of the all-grey picture", (
        abs(v["regression_cnn_k3_f32.psnr"] - v["allgrey.psnr"]) < 0.3)
    yield "A: regression is less colourful than the CNN, both than the truth", (
        v["regression_cnn_k3_f32.colourfulness"] < v["cnn_k3_f32.colourfulness"] < v["truth.colourfulness"])
    yield "A: two pairs equally far in RGB, one more than twice as far in CIELAB", v["pair.ratio"] > 2
    yield "A: most of the variance of the colours is grey", v["grey.share"] > 80
    yield "A: the CNN's mean colour is paler and nearer in RGB than its most probable colour", (
        v["cnn_mean.colourfulness"] < v["cnn_k3_f32.colourfulness"] and v["cnn_mean.psnr"] > v["cnn_k3_f32.psnr"])
    yield "B: the CNN's PSNR is below regression's", v["cnn_k3_f32.psnr"] < v["regression_cnn_k3_f32.psnr"]
    yield "B: the CNN is right less often than the table of grey levels, the UNet more often", (
        v["cnn_k3_f32.acc"] < v["lookup.acc"] < v["unet_k3_f32.acc"])
    yield "B: the CNN's colours on the known grey beat the grey picture", (
        v["cnn_kept.psnr"] > v["allgrey.psnr"] + 0.5)
    yield "B: more filters make the CNN better", (
        v["cnn_k3_f32.loss"] < v["cnn_k3_f16.loss"] and v["cnn_k3_f32.acc"] > v["cnn_k3_f16.acc"])
    for cnn, unet, what in (("cnn_e25", "unet_e25", "after 25 epochs"), ("cnn_k3_f32", "unet_k3_f32", "as shipped")):
        yield f"C: the UNet is better than the CNN {what}", (
            v[f"{unet}.loss"] < v[f"{cnn}.loss"] and v[f"{unet}.acc"] > v[f"{cnn}.acc"]
            and v[f"{unet}.psnr"] > v[f"{cnn}.psnr"])
    yield "C: on the known grey, CNN and UNet are close", abs(v["unet_kept.psnr"] - v["cnn_kept.psnr"]) < 0.5
    yield "C: what the shipped UNet's last layer started from is worse than the UNet", (
        v["grey_start.acc"] < v["unet_k3_f32.acc"] and v["grey_start.loss"] > v["unet_k3_f32.loss"])
    yield "C: the UNet is ahead of the CNN from the first epoch on", v["unet_e25.lead"] > 0
    yield "C: cutting a join costs accuracy", all(
        v[f"cut.{block}.{which}"] < v[f"{whole}.acc"] for block in JOINS
        for which, whole in (("e25", "unet_e25"), ("shipped", "unet_k3_f32")))
    for which, most in (("e25", "upconv2"), ("shipped", "finalconv")):
        yield f"C: for the UNet ({which}) the join into {most} matters most", v[f"cut.{most}.{which}"] == min(
            v[f"cut.{block}.{which}"] for block in JOINS)
    yield "D: dilation in rfconv and upconv1 adds most", (
        v["rf.gain.rfconv"] == v["rf.gain.upconv1"] == max(v[f"rf.gain.{block}"] for block in BLOCKS))
    yield "E: the UNet's answer holds the fine detail, its upconv2 less of it than the CNN's", (
        v["detail.unet.finalconv"] > v["detail.cnn.finalconv"] + 10
        and v["detail.unet.upconv2"] < v["detail.cnn.upconv2"])
    yield "E: more of the UNet's middle is silent", v["silent.unet.rfconv"] > v["silent.cnn.rfconv"]
    if int(v["study.done"]):
        gains = {name: float(v[f"study.{name}.gain"]) for name in AUGMENTATIONS if name != "none"}
        yield "F: flipping left to right lowers the loss", v["study.hflip.verdict"] == "lowered the loss"
        yield "F: flipping upside down gains less than left to right", gains["vflip"] < gains["hflip"]
        yield "F: shifts gain about what the flip from left to right does", max(
            abs(gains[name] - gains["hflip"]) for name in ("hshift", "vshift")) < 0.01
        yield "F: each augmentation changes the loss by less than half of what skip connections do", (
            max(map(abs, gains.values())) < (v["cnn_e25.loss"] - v["unet_e25.loss"]) / 2)
    yield "G: as shipped, DilatedUNet and UNet are within one point of accuracy", (
        abs(v["dunet_k3_f32.acc"] - v["unet_k3_f32.acc"]) < 1)


def digest() -> str:
    """One SHA-256 over all generated files but values.tex, which holds it."""
    total = hashlib.sha256()
    for path in sorted(GENERATED.iterdir()):
        if path.name != "values.tex" and not path.name.startswith("."):
            total.update(f"{path.name} {sha256(path)}\n".encode())
    return total.hexdigest()


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--retrain", action="store_true", help="repeat the trainings whose results are kept")
    parser.add_argument("--study", metavar="FILE", type=Path, default=STUDY,
                        help="the study of part F (default: outputs/augmentation.json, or the one kept)")
    args = parser.parse_args(argv)
    GENERATED.mkdir(exist_ok=True)
    device = pick_device(gpu=False)
    palette = Palette.load()
    data, valid = load_sets("horse", None, None, device, palette)

    values = Values()
    layers(values)
    networks = score_shipped(values, data, valid, palette)
    trainings(values, len(data.images), valid, palette, networks["unet"], args.retrain)
    colour_distances(values, data, palette)
    receptive_fields(values, networks, valid)
    cut_outs(values, networks, valid, palette)
    study(values, args.study)
    code = [line for line in inspect.getsource(MyDilatedConv2d.dilated_weight).splitlines(True) if '"""' not in line]
    (GENERATED / "dilated_weight.py.txt").write_text(textwrap.dedent("".join(code)))
    sources = {f"weights/{name}.pkl": sha256(ROOT / "weights" / f"{name}.pkl") for name in WEIGHTS}
    (GENERATED / "sources.json").write_text(json.dumps({**sources, "palette": palette.sha256()}, indent=1) + "\n")
    values["digest"] = digest()
    values.save(GENERATED / "values.tex")

    wrong = [statement for statement, holds in statements(values) if not holds]
    for statement in wrong:
        print(f"error: the text says what no longer holds: {statement}", file=sys.stderr)
    print(f"{len(values.texts)} values, tables and pictures in {GENERATED.relative_to(ROOT)}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
