"""Learn a palette: k-means over the colours of all training pixels of a category, or of your own pictures.

    python -m colour.kmeans -k 24
    python -m colour.kmeans -k 24 --data FOLDER -o my.npy

With --chroma, the pixels are first made equally bright, and the palette tells only colours apart: for weights that
colour photos, whose brightness is kept.
"""

if __name__ == "__main__":  # first, because importing PyTorch takes a while
    from colour.system.cli import exit_on_interrupt

    exit_on_interrupt()

import math
import sys
from pathlib import Path

import numpy as np
import torch

from colour.data.datasets import add_flags, choose
from colour.palette import MAX_COLOURS, Palette
from colour.pixels import grey_of, to_rgb
from colour.system.cli import Parser, UserError, command, folder_for, number
from colour.system.files import ROOT

STARTS = 4  # k-means ends in a local optimum: take the best of so many, by mean distance


def learn_palette(images: np.ndarray, k: int, seed: int = 0, chroma: bool = False) -> tuple[Palette, float]:
    """Cluster the pixels of ``images``, uint8 (N, 3, H, W), into ``k`` colours.

    With ``chroma``, every pixel is first shifted to the grey 1/2. Returns the palette, sorted from dark to bright and
    then by red, and the mean distance of a pixel to its nearest centre (RGB in [0, 1)). Raises ``UserError`` if the
    images have fewer than ``k`` colours.
    """
    from sklearn.cluster import KMeans
    from threadpoolctl import threadpool_limits

    counts = np.zeros(1 << 24, np.int64)
    for start in range(0, len(images), 1000):  # so that memory does not grow with N
        red, green, blue = images[start:start + 1000].astype(np.int32).transpose(1, 0, 2, 3)
        counts += np.bincount((red << 16 | green << 8 | blue).ravel(), minlength=len(counts))
    codes = np.flatnonzero(counts)
    counts = counts[codes]
    colours = to_rgb(np.stack([codes >> 16, codes >> 8 & 255, codes & 255], axis=1))
    if chroma:
        deviation = colours - grey_of(torch.from_numpy(colours)[..., None, None])[..., 0, 0].numpy()
        thirds, same = np.unique((768 * deviation).round().astype(int), axis=0, return_inverse=True)  # of a byte
        colours, counts = to_rgb(128 + thirds / 3), np.bincount(same.ravel(), counts)
    if len(colours) < k:
        raise UserError(f"these pictures have only {len(colours)} different colours: choose a smaller -k")
    best, centres = math.inf, None
    for start in range(STARTS):
        # Each distinct colour once, weighted by its frequency: the same objective, several times faster.
        with threadpool_limits(2):  # a sum of two parts is the same in either order, a sum of more may not be
            means = KMeans(k, n_init=1, tol=1e-6, random_state=seed + start).fit(colours, sample_weight=counts)
        distances = np.linalg.norm(colours - means.cluster_centers_[means.labels_], axis=1)
        distance = float(np.average(distances, weights=counts))
        if distance < best:
            best, centres = distance, means.cluster_centers_
    order = np.lexsort((centres[:, 0], centres.mean(axis=1).round(4)))  # with --chroma, all are equally bright
    return Palette(centres[order].clip(0, 1)), best


@command
def main(argv=None):
    parser = Parser(prog="python -m colour.kmeans", description=__doc__)
    parser.add_argument("-k", "--colours", type=number(int, 2, MAX_COLOURS), default=24, metavar="K",
                        help="how many colours")
    add_flags(parser)
    parser.add_argument("--chroma", action="store_true", help="tell colours apart, not how bright they are")
    parser.add_argument("-s", "--seed", type=number(int, 0, 2**32 - 1), default=0, help="random seed")
    parser.add_argument("-o", "--output", metavar="FILE",
                        help="the palette to write (default: colour/colour_kmeans<K>_cat<N>.npy, with --chroma "
                        "colour_kmeans<K>_cat<N>_chroma.npy)")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing palette")
    args = parser.parse_args(argv)

    choice = choose(args.category, args.data)
    if args.output is None and not choice.dataset.palettes:
        raise UserError(f"{args.data} holds {choice.dataset.name}: say with -o FILE where its palette goes, "
                        "such as -o my.npy")
    label = "all" if choice.label is None else choice.label
    name = f"colour_kmeans{args.colours}_{choice.dataset.palettes}{label}"
    output = Path(args.output or ROOT / "colour" / f"{name}{'_chroma' * args.chroma}.npy")
    folder_for(output.parent, "-o")
    (images, _), _ = choice.load()
    print(f"k-means with {args.colours} colours over {images.size // 3:,} pixels ...", file=sys.stderr)
    palette, distance = learn_palette(images, args.colours, args.seed, args.chroma)
    print(f"mean distance of a pixel to its nearest colour: {distance:.4f}")
    if not output.exists() or args.overwrite:
        palette.save(output)
        print(f"wrote {output}")
        return
    existing = Palette.load(output).centres
    # The last bits depend on the machine: colours within one step of a byte are the same.
    if existing.shape != palette.centres.shape or abs(existing - palette.centres).max() > 1 / 256:
        raise UserError(f"{output} exists and differs: choose another -o, or give --overwrite")
    print(f"{output} holds these colours")


if __name__ == "__main__":
    sys.exit(main())
