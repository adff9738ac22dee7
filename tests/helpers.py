"""Functions that several tests use."""

import io
import os
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import colour_regression
import colourization

GRID = np.array([[0, 0, 0], [64, 0, 0], [0, 128, 0], [255, 255, 255]])  # in units of 1/256: exact as floats
NETWORKS = {**colourization.MODELS, **colour_regression.MODELS}
ASSIGNMENT = "CNN", "UNet", "DUNet"  # whose blocks tests know; MODELS may have more
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")


def one_line(error) -> str:
    """Return the message of an expected exception (what ``pytest.raises`` gives), which must be one short line."""
    message = str(error.value)
    assert message.strip() and "\n" not in message and len(message) < 500 and "Traceback" not in message
    return message


def make_network(model: str, kernel: int = 3, num_filters: int = 4, num_colours: int = 24) -> nn.Module:
    """Return a network in eval mode, always the same, with running means and variances as after a training."""
    torch.manual_seed(0)
    network = NETWORKS[model](kernel, num_filters, 3 if model in colour_regression.MODELS else num_colours)
    for name, value in network.named_buffers():
        if name.endswith("running_mean"):
            value.normal_()
        elif name.endswith("running_var"):
            value.uniform_(0.5, 2)
        else:
            value.fill_(500)
    return network.eval()


def state(model: str = "CNN", *sizes: int, **change) -> dict[str, torch.Tensor]:
    """Return the weights of ``make_network`` as a plain dict; ``change`` replaces some, or leaves out (None)."""
    weights = {**make_network(model, *sizes).state_dict(), **change}
    return {name: value for name, value in weights.items() if value is not None}


def plain(colour, size=(8, 8)) -> Image.Image:
    """Make a picture of one colour."""
    return Image.new("RGB", size, tuple(int(value) for value in colour))


def pictures_of(colours, counts, size=4) -> np.ndarray:
    """Make images (N, 3, size, size) of shuffled pixels, with so many of each colour."""
    pixels = np.repeat(np.asarray(colours, np.uint8), counts, axis=0)
    pixels = np.random.default_rng(0).permutation(pixels)
    return pixels.reshape(-1, size, size, 3).transpose(0, 3, 1, 2)


class Hostile:
    """Is pickled as a call that makes a folder."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def saved(contents, **how) -> bytes:
    """Return the bytes of the file that ``torch.save`` writes."""
    file = io.BytesIO()
    torch.save(contents, file, **how)
    return file.getvalue()


def same(weights: dict[str, torch.Tensor], others: dict[str, torch.Tensor]) -> bool:
    """Tell if two state dicts are the same, bit for bit and in their types."""
    return weights.keys() == others.keys() and all(
        value.dtype == others[name].dtype and torch.equal(value, others[name]) for name, value in weights.items())


def contents_of(folder: Path) -> dict[str, bytes]:
    """Return what is in the files of a folder and its subfolders, by their paths in it."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def shell(command: str, folder: Path, **options) -> subprocess.CompletedProcess:
    """Run ``python ...`` in a folder, as a user types it."""
    words = shlex.split(command)
    assert words.pop(0) == "python"
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run([sys.executable, *words], cwd=folder, env=environment, capture_output=True, text=True,
                          timeout=300, **options)
