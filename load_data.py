"""Load pictures as uint8 arrays: CIFAR-10's horses or all of it, ImageNet32, or a folder of your own.

    python load_data.py                      # look at the horses, which come with this project
    python load_data.py --category all       # download CIFAR-10 (170 MB) to data/ and look at it
    python load_data.py --data FOLDER        # a folder of pictures, or of ImageNet32's batch files

The pictures are uint8 (N, 3, 32, 32). CIFAR's are in its order, so picture 7 is the same picture for everybody.
outputs/test_pictures.png shows the first 1,000 test pictures with their numbers.
"""

import os
import sys

if __name__ == "__main__":  # first, because importing numpy takes a while
    sys.path.insert(0, os.path.dirname(__file__))  # which PYTHONSAFEPATH leaves out
    from colour.system.cli import exit_on_interrupt

    exit_on_interrupt()

from colour.data.cifar10 import load_cifar10, load_horses
from colour.data.datasets import add_flags, choose, load_category
from colour.system.cli import Parser, command, folder_for
from colour.system.files import ROOT, display_path

__all__ = ["load_category", "load_cifar10", "load_horses"]


@command
def main(argv=None) -> None:
    parser = Parser(description="Find or download the pictures, verify them, and print what was found.")
    add_flags(parser)
    parser.add_argument("--outdir", metavar="DIR", default=ROOT / "outputs",
                        help="where the picture goes (default: outputs)")
    args = parser.parse_args(argv)

    choice = choose(args.category, args.data)
    (x_train, y_train), (x_test, y_test) = choice.load()
    print(f"from {choice.place}")
    for name, x in (("x_train", x_train), ("x_test", x_test)):
        print(f"{name:10} {x.dtype} {x.shape}, {x.nbytes / 1e6:.1f} MB")
    if choice.dataset.names:
        print(f"{'category':10}  train   test")
    for label, name in enumerate(choice.dataset.names):
        if (y_train == label).any():
            print(f"{name:10} {(y_train == label).sum():6,} {(y_test == label).sum():6,}")
    from colour.jobs import plots

    picture = folder_for(args.outdir, "--outdir") / "test_pictures.png"
    plots.numbered(picture, x_test[:1000], f"the first {len(x_test[:1000])} test pictures")
    print(f"test pictures with their numbers in {display_path(picture)}")


if __name__ == "__main__":
    sys.exit(main())
