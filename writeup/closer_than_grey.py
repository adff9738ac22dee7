"""Measure how often our colours are closer to the truth than the grey picture is.

    python -m writeup.closer_than_grey
    python -m writeup.closer_than_grey --image FILE_OR_DIR ...

The first scores the 10,000 test pictures of CIFAR-10, the second photographs in colour, at their full size.
The grey is put back on every picture. "closer" is the share of the pictures whose squared error is below that of the
grey picture; "gain" is how far the squared error of all pictures lies below that of their grey, in dB.
"""

import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

from colour.data import image_file
from colour.data.datasets import load_category
from colour.decode import DECODERS, PHOTO_TEMPERATURE, TEMPERATURE
from colour.jobs import photos
from colour.jobs.checkpoints import PHOTO_WEIGHTS, load, load_network
from colour.learning.task import Classification, Decoding
from colour.palette import Palette
from colour.pixels import grey_of, to_rgb
from colour.system.cli import Parser, UserError, command, number
from colour.system.devices import pick_device
from colour.system.files import ROOT
from colourization import MODELS

WEIGHTS = [ROOT / "weights" / "unet_k3_f32.pkl", PHOTO_WEIGHTS]


@torch.no_grad()
def of_cifar(network: nn.Module, task: Classification, images: torch.Tensor) -> torch.Tensor:
    """Return the mean squared errors of each picture of uint8 (N, 3, 32, 32): coloured, and grey (2, N)."""
    errors = []
    for batch in images.split(100):
        rgb = to_rgb(batch)
        grey = grey_of(rgb)
        guesses = task.colours(network(grey), grey), grey
        errors.append(torch.stack([(guess - rgb).square().mean(dim=(1, 2, 3)) for guess in guesses]))
    return torch.cat(errors, dim=1)


def of_photos(network: nn.Module, task: Classification, files: Iterable[Path], size: int) -> torch.Tensor:
    """Return the mean squared errors of each photograph: coloured, and grey (2, N)."""
    errors = []
    for file in files:
        try:
            image = image_file.read(file).convert("RGB")
        except UserError as error:
            raise UserError(f"{file}: {error}") from error
        truth = rgb_of(image)
        photos.colour(image, network, task, size)
        errors.append([float((guess - truth).square().mean()) for guess in (rgb_of(image), grey_of(truth))])
    return torch.tensor(errors).T


def rgb_of(image: Image.Image) -> torch.Tensor:
    """Return a picture as RGB (1, 3, H, W) in [0, 1)."""
    return to_rgb(torch.from_numpy(np.array(image))).permute(2, 0, 1)[None]


def gain(coloured: torch.Tensor, grey: torch.Tensor) -> float:
    """Return how far errors lie below those of the grey, in dB: -inf where the truth is grey, nan if both are 0."""
    return 10 * float(torch.log10(grey.sum() / coloured.sum()))


@command
def main(argv: list[str] | None = None) -> None:
    parser = Parser(description=__doc__)
    parser.add_argument("--weights", nargs="+", type=Path, default=WEIGHTS, metavar="FILE", help="what to score")
    parser.add_argument("--decode", nargs="+", choices=DECODERS, default=["mean", "annealed"], help="the decoders")
    parser.add_argument("--data", metavar="DIR", help="where CIFAR-10 is (default: data/)")
    parser.add_argument("--holdout", type=number(int, 1), metavar="N",
                        help="score the last N training pictures instead of the test pictures")
    parser.add_argument("--image", nargs="+", metavar="FILE_OR_DIR", help="photographs to score instead of CIFAR-10")
    parser.add_argument("--size", nargs="+", type=int, default=[32], metavar="N",
                        help="that of colourization.py")
    args = parser.parse_args(argv)
    pick_device(gpu=False)

    files = photos.find_photos(args.image) if args.image else []
    if not files:
        train, test = load_category("all", args.data)
        images = torch.from_numpy(train[-args.holdout:] if args.holdout else test)
    for path in args.weights:
        weights = load(path)
        palette = Palette.load(ROOT / weights.sidecar["palette"])
        for decoder in args.decode:
            task = Classification(palette, Decoding(decoder, PHOTO_TEMPERATURE if files else TEMPERATURE, True))
            network, *_ = load_network(weights, MODELS, task)
            for size in args.size:
                coloured, grey = of_photos(network, task, files, size) if files else of_cifar(network, task, images)
                name = f"{path.stem}, {decoder}" + (f", size {size}" if files else "")
                print(f"{name}: {(coloured < grey).float().mean():.1%} of {len(grey):,} closer, "
                      f"gain {gain(coloured, grey):+.2f} dB")
                for file, *errors in zip(files, coloured, grey):
                    print(f"    {file.stem:24} {gain(*errors):+.2f} dB")


if __name__ == "__main__":
    sys.exit(main())
