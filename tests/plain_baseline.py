"""The plain baseline of the benchmark: the loop of a straightforward solution of the assignment.

Library convolutions, all pictures as float64, a slice of them converted at each step, unfused Adam, colours by brute
force. Nothing of this project's own loop, networks and settings may be used here.

    python -m tests.plain_baseline PICTURE.png
"""

import functools
import math
import sys

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from colour.decode import keep_grey
from colour.palette import Palette
from load_data import load_horses

DEFAULT_THREADS = torch.get_num_threads()


class Plain(nn.Module):
    """The networks of the assignment, of layers from the library in the order of the sheet."""

    def __init__(self, model: str, f: int = 32, colours: int = 24):
        super().__init__()
        self.skips = model != "CNN"
        twice = 1 + self.skips

        def conv(before, after, dilation=1):
            return nn.Conv2d(before, after, 3, padding=dilation, dilation=dilation)

        def down(before, after):
            return nn.Sequential(conv(before, after), nn.MaxPool2d(2), nn.BatchNorm2d(after), nn.ReLU())

        def up(before, after):
            return nn.Sequential(conv(before, after), nn.Upsample(scale_factor=2), nn.BatchNorm2d(after), nn.ReLU())

        self.down1, self.down2 = down(1, f), down(f, 2 * f)
        self.middle = nn.Sequential(conv(2 * f, 2 * f, 2 if model == "DUNet" else 1), nn.BatchNorm2d(2 * f), nn.ReLU())
        self.up1, self.up2 = up(2 * f * twice, f), up(f * twice, colours)
        self.last = conv(colours + self.skips, colours)

    def forward(self, x):
        def join(x, skipped):
            return torch.cat([x, skipped], dim=1) if self.skips else x

        down1 = self.down1(x)
        down2 = self.down2(down1)
        up1 = self.up1(join(self.middle(down2), down2))
        return self.last(join(self.up2(join(up1, down1)), x))


def prepare(images: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return RGB as float64, grey, and the colour of each pixel, by its distances to all, 100 pictures at a time."""
    rgb = images / 256.0
    centres = Palette.load().centres[:, :, None, None]
    labels = [np.linalg.norm(rgb[start:start + 100, None] - centres, axis=2).argmin(axis=1)
              for start in range(0, len(rgb), 100)]
    return rgb, rgb.mean(axis=1, keepdims=True), np.concatenate(labels)


@functools.cache
def first_horses(count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return prepare(load_horses()[0][:count])


@functools.cache
def test_horses() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return prepare(load_horses()[1])


def load_both_sets() -> None:
    for images in load_horses():
        prepare(images)


@functools.cache
def network_in_training(model: str) -> tuple[nn.Module, torch.optim.Optimizer]:
    network = Plain(model)
    return network, torch.optim.Adam(network.parameters(), lr=0.001, foreach=False)


def logits_and_loss(network: nn.Module, grey: np.ndarray, labels: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the logits of some pictures, (N, H, W, K), and their loss."""
    logits = network(torch.from_numpy(grey).float()).transpose(1, 3).transpose(1, 2).contiguous()
    return logits, F.cross_entropy(logits.view(-1, logits.shape[-1]), torch.from_numpy(labels).long().view(-1))


def epoch(model: str, count: int, batch: int, threads: int | None = None) -> None:
    """Go once through the first ``count`` horses, and go on with the network of the last time."""
    torch.set_num_threads(threads or DEFAULT_THREADS)
    network, optimizer = network_in_training(model)
    _, grey, labels = first_horses(count)
    order = np.random.permutation(count)
    network.train()
    for start in range(0, count, batch):
        index = order[start:start + batch]
        _, loss = logits_and_loss(network, grey[index], labels[index])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def validate(network: nn.Module, rgb: np.ndarray, grey: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Return the mean loss on some pictures, and the PSNR of their expected colours with the grey put back."""
    network.eval()
    centres = torch.from_numpy(Palette.load().centres)
    losses, errors = [], []
    with torch.no_grad():
        for start in range(0, len(grey), 100):
            part = slice(start, start + 100)
            logits, loss = logits_and_loss(network, grey[part], labels[part])
            expected = (logits.softmax(dim=3) @ centres).permute(0, 3, 1, 2)
            kept = keep_grey(expected, torch.from_numpy(grey[part]).float())
            losses.append(loss.item())
            errors.append(np.square(kept.numpy() - rgb[part]).mean())
    return {"loss": float(np.mean(losses)), "colour": -10 * math.log10(np.mean(errors))}


def score_and_draw(picture: str) -> None:
    """Do what --valid does: load both sets, score a network on the second, draw its first ten horses."""
    from matplotlib import pyplot

    _, (rgb, grey, labels) = map(prepare, load_horses())
    network = Plain("UNet")
    print(validate(network, rgb, grey, labels))
    logits, _ = logits_and_loss(network, grey[:10], labels[:10])
    colours = Palette.load().centres[logits.argmax(dim=3).numpy()].transpose(0, 3, 1, 2)
    rows = [np.concatenate(row[:10].transpose(0, 2, 3, 1), axis=1) for row in (grey.repeat(3, axis=1), rgb, colours)]
    pyplot.imshow(np.concatenate(rows))
    pyplot.savefig(picture)


def start_again(seed: int) -> None:
    """Forget the networks in training, and load what ``validate_now`` needs."""
    torch.manual_seed(seed)
    np.random.seed(seed)
    network_in_training.cache_clear()
    first_horses(5000), test_horses()


def validate_now(model: str) -> dict[str, float]:
    return validate(network_in_training(model)[0], *test_horses())


if __name__ == "__main__":
    score_and_draw(sys.argv[1])
