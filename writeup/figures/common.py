"""What the questions share: the horses, the shipped weights, and how values, tables and pictures are written."""

import math
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

import colour_regression
from colour.jobs import plots
from colour.jobs.checkpoints import load, load_with_task
from colour.learning.pictures import PictureSet
from colour.learning.task import Decoding, Task
from colour.learning.training import evaluate
from colour.palette import Palette
from colour.pixels import to_rgb
from colour.system.files import ROOT
from colourization import MODELS

GENERATED = ROOT / "writeup" / "generated"
HEADER = "% Written by python -m writeup.figures\n"
RULE = r"\midrule"
TITLES = {"regression_cnn": "RegressionCNN", "cnn": "CNN", "unet": "UNet", "dunet": "DilatedUNet"}
WEIGHTS = [f"{stem}_k3_f{filters}" for stem in TITLES for filters in (32, 16)]
FIGURES = {  # unit and format of what ``score`` returns: shares in percent
    "loss": (1, ".3f"), "acc": (100, ".1f"), "psnr": (1, ".2f"), "colour": (1, ".2f"), "brightness": (1, ".2f"),
    "colourfulness": (1, ".1f"),
}


class Horses(NamedTuple):
    """The pictures that everything is measured on, and the palette of their labels."""

    train: PictureSet
    valid: PictureSet
    palette: Palette

    @property
    def shown(self) -> torch.Tensor:
        """The pictures of the strips, RGB (8, 3, 32, 32)."""
        return to_rgb(self.valid.images[:8])


class Values:
    """Every number of the text by name; the text reads it as ``\\val{name}``."""

    def __init__(self):
        self.raw, self.texts = {}, {}  # unrounded, to check the text's statements; and as the text has them

    def put(self, name: str, value, form: str = "") -> None:
        self.raw[name], self.texts[name] = value, format(value, form)

    def put_figures(self, prefix: str, figures: dict[str, float]) -> None:
        for key, (unit, form) in FIGURES.items():
            if key in figures:
                squared_error = key == "loss" and figures[key] < 0.1  # of regression
                self.put(f"{prefix}.{key}", unit * figures[key], ".5f" if squared_error else form)

    def __getitem__(self, name: str):
        return self.raw[name]

    def cells(self, prefix: str, *keys: str) -> list[str]:
        """Return the values ``prefix.key`` as cells of a table; a dash where there is none."""
        return [self.texts.get(f"{prefix}.{key}", "--") for key in keys]

    def save(self) -> None:
        lines = [f"\\setval{{{name}}}{{{text}}}\n" for name, text in sorted(self.texts.items())]
        (GENERATED / "values.tex").write_text(HEADER + "".join(lines))


def save_table(name: str, columns: str, rows: list[list[str] | str]) -> None:
    """Write a LaTeX ``tabular``. A row is its cells, or a line of LaTeX."""
    lines = [row if isinstance(row, str) else " & ".join(row) + r" \\" for row in rows]
    text = "\n".join([rf"\begin{{tabular}}{{{columns}}}", r"\toprule", *lines, r"\bottomrule", r"\end{tabular}"])
    (GENERATED / f"table_{name}.tex").write_text(HEADER + text + "\n")


def save_row(name: str, images: torch.Tensor | list[torch.Tensor], scale: int = 5, gap: int = 2) -> None:
    """Write pictures (1 or 3, H, W) in [0, 1] beside each other, with ``gap`` of their pixels in white between them."""
    padded = [F.pad(image.expand(3, -1, -1), (0, gap), value=1) for image in images]
    plots.picture(GENERATED / f"{name}.png", torch.cat(padded, dim=2)[:, :, :-gap], scale)


def heat(values: np.ndarray) -> torch.Tensor:
    """Return numbers (H, W) from 0 (dark) to 1 (yellow) as RGB (3, H, W) in [0, 1]."""
    return to_rgb(torch.from_numpy(plots.heat(values))).permute(2, 0, 1)


def code(name: str) -> str:
    return rf"\texttt{{{name}}}"


def layers(network: nn.Module, block: str) -> list[nn.Module]:
    """Return the layers of a block in order, its convolution first."""
    return [module for module in getattr(network, block).modules() if not list(module.children())]


def parameters(network: nn.Module) -> tuple[int, int, int]:
    """Count the weights of the convolutions, their biases, and the parameters of batch normalisation."""
    convs = [layers(network, block)[0] for block, _ in network.named_children()]
    weights, biases = (sum(getattr(conv, name).numel() for conv in convs) for name in ("weight", "bias"))
    return weights, biases, sum(parameter.numel() for parameter in network.parameters()) - weights - biases


def load_shipped(name: str, palette: Palette) -> tuple[nn.Module, Task]:
    """Load the weights weights/``name``.pkl, and the task that they were trained for."""
    network, _, task = load_with_task(load(ROOT / "weights" / f"{name}.pkl"), MODELS, colour_regression.MODELS,
                                      palette.path, Decoding())
    return network, task


def score(network: nn.Module, task: Task, horses: Horses) -> dict[str, float]:
    """Return the scores on the test horses, and ``brightness``, which completes ``colour``.

    The squared error of a picture has two parts: ``colour`` is the PSNR of what is left when each pixel gets its true
    grey back, ``brightness`` that of what this removes.
    """
    figures = evaluate(network, horses.valid if task.palette else PictureSet(horses.valid.images), task)
    whole, colour = (10 ** (-figures[key] / 10) for key in ("psnr", "colour"))
    return {**figures, "brightness": -10 * math.log10(whole - colour)}
