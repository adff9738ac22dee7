"""The logistic start: what it sets is the best guess by a pixel's own grey."""

import numpy as np
import pytest
import torch

from colour.grey_start import start_from_grey
from colour.palette import Palette
from colour.task import Classification
from colour.training import PictureSet, evaluate
from colourization import UNet

pytestmark = pytest.mark.usefixtures("one_thread")


def started(pictures: PictureSet, num_colours: int = 24, kernel: int = 3) -> UNet:
    """Return a network that start_from_grey has set, of which only the part that sees the grey is left."""
    torch.manual_seed(0)
    network = UNet(kernel, 4, num_colours)
    start_from_grey(network, pictures)
    with torch.no_grad():
        network.finalconv.weight[:, :-1] = 0
    return network


def test_grey_start_is_the_best_guess_by_grey_alone(few_horses):
    task = Classification(Palette.load())
    figures = evaluate(started(few_horses), few_horses, task)
    # A table of the most frequent colour at each of the 766 greys can follow the data more closely still.
    pairs = (few_horses.images.sum(dim=1) * 24 + few_horses.labels).flatten().bincount(minlength=766 * 24).view(766, 24)
    table = pairs.max(dim=1).values.sum().item() / pairs.sum().item()
    assert table - 0.05 < figures["acc"] <= table
    torch.manual_seed(0)
    assert figures["loss"] < 1.1 < evaluate(UNet(3, 4, 24), few_horses, task)["loss"]


def labelled(images: torch.Tensor, palette: Palette) -> PictureSet:
    return PictureSet(images, torch.from_numpy(palette.labels(images.numpy())))


@pytest.mark.parametrize("kernel", [1, 3, 5])
def test_two_colours_are_told_apart_by_a_threshold(few_horses, kernel):
    palette = Palette(np.array([[0.2, 0.25, 0.2], [0.7, 0.65, 0.7]]))
    pictures = labelled(few_horses.images, palette)
    figures = evaluate(started(pictures, 2, kernel), pictures, Classification(palette))
    grey, bright = few_horses.images.sum(dim=1).flatten(), pictures.labels.flatten() == 1
    best = max(((grey > threshold) == bright).float().mean().item() for threshold in range(766))
    assert best > 0.9 and figures["acc"] == pytest.approx(best, abs=0.005)


def test_two_colours_that_occur_among_many(few_horses):
    """The other colours are never guessed."""
    palette = Palette.load()
    light, dark = palette.centres.sum(axis=1).argmax(), palette.centres.sum(axis=1).argmin()
    bright = few_horses.images.sum(dim=1) > 384
    pictures = PictureSet(few_horses.images, torch.where(bright, light, dark).to(torch.uint8))
    figures = evaluate(started(pictures), pictures, Classification(palette))
    assert figures["acc"] > 0.99 and figures["loss"] < 0.1


@pytest.mark.parametrize("num_colours", [2, 24])
def test_one_colour_that_occurs(few_horses, num_colours):
    palette = Palette(np.linspace(0.1, 0.9, num_colours)[:, None] * np.ones(3))
    pictures = PictureSet(few_horses.images, torch.full_like(few_horses.labels, 1))
    figures = evaluate(started(pictures, num_colours), pictures, Classification(palette))
    assert figures["acc"] == 1 and figures["loss"] < 1e-3
