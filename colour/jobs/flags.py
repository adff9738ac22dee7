"""The flags that the scripts share, group by group."""

import argparse
from pathlib import Path

from colour.decode import DECODERS, TEMPERATURE
from colour.jobs.results import is_table
from colour.learning import augment
from colour.learning.training import Recipe
from colour.system.cli import Parser, UserError, folder_for, number
from colour.system.files import ROOT
from colour.system.torchrun import launched


def add_network_flags(group, models: list[str] | None = None) -> None:
    """Add the assignment's flags that choose the network; the weights, if given, make them optional."""
    if models:
        group.add_argument("-m", "--model", choices=models, help="the network (default: the checkpoint's, or CNN)")
        group.add_argument("-c", "--colours", metavar="FILE", help="the palette, a .npy file (default: the "
                           "checkpoint's, or colour/colour_kmeans24_cat7.npy)")
    group.add_argument("-k", "--kernel", type=number(int, 1, 31, odd=True), metavar="K",
                       help="size of the square filters, odd (default: the checkpoint's, or 3)")
    group.add_argument("-f", "--num_filters", type=number(int, 1, 4096), metavar="F",
                       help="channels of the first layer (default: the checkpoint's, or 32)")
    group.add_argument("--gpu", action="store_true", help="use the machine's GPU (CUDA, or Apple's)")


def add_run_flags(group) -> None:
    """Add the assignment's flags that say how to train."""
    group.add_argument("-l", "--learn_rate", type=number(float, 1e-12, 1e6), default=Recipe.learn_rate, metavar="RATE",
                       help="learning rate; the peak of --schedule onecycle")
    group.add_argument("-b", "--batch_size", type=number(int, 1, 100_000), default=Recipe.batch_size, metavar="B",
                       help="pictures in a batch")
    group.add_argument("-e", "--epochs", type=number(int, 1, 100_000), default=Recipe.epochs, metavar="E",
                       help="times through the training pictures")
    group.add_argument("-s", "--seed", type=number(int, 0, 2**31 - 1), default=Recipe.seed, metavar="S",
                       help="random seed")
    group.add_argument("--plot", action="store_true", help="draw a training and a validation strip after every epoch")


def add_training_flags(parser: Parser) -> argparse._ArgumentGroup:
    group = parser.add_argument_group("training")
    group.add_argument("--resume", action="store_true",
                       help="resume the training of --checkpoint, or start it if there is none")
    group.add_argument("--overwrite", action="store_true", help="replace an existing --checkpoint")
    group.add_argument("--init", metavar="FILE", help="start from these weights instead of random ones")
    group.add_argument("--augment", type=_augmentations, default=Recipe.augment, metavar="LIST",
                       help=f"any of {','.join(augment.NAMES)}: flips, and shifts by up to {augment.MAX_SHIFT} pixels "
                            "(default: none)")
    group.add_argument("--optimizer", choices=["adam", "muon"], default=Recipe.optimizer,
                       help="muon needs fewer epochs, at --learn_rate 0.03 to 0.08")
    group.add_argument("--schedule", choices=["constant", "onecycle"], default=Recipe.schedule,
                       help="how the learning rate changes during training")
    group.add_argument("--weight_decay", type=number(float, 0, 1e6), default=Recipe.weight_decay, metavar="W",
                       help="decoupled weight decay (AdamW)")
    group.add_argument("--holdout", type=number(int, 1), metavar="N",
                       help="train without the last N training pictures and validate on them instead of the test set")
    group.add_argument("--precision", choices=["auto", "fp32", "bf16"], default=Recipe.precision,
                       help="training precision; auto uses bfloat16 on GPUs that have it, and on CPUs where a short "
                            "timing shows that it is faster")
    return group


def recipe_of(args: argparse.Namespace) -> Recipe:
    """Return the hyperparameters that the flags of ``add_run_flags`` and ``add_training_flags`` give."""
    return Recipe(epochs=args.epochs, batch_size=args.batch_size, optimizer=args.optimizer, learn_rate=args.learn_rate,
                  schedule=args.schedule, weight_decay=args.weight_decay, augment=args.augment, seed=args.seed,
                  precision=args.precision)


def add_data_flags(parser: Parser) -> None:
    group = parser.add_argument_group("data")
    group.add_argument("--data", metavar="DIR",
                       help="a folder of pictures to learn from, or the folder of CIFAR-10 or ImageNet32 "
                            "(default: the embedded horses, or data/)")
    group.add_argument("--category", default="horse", metavar="NAME",
                       help="a CIFAR-10 category by name or number, a label of ImageNet32, or all")


def add_result_flags(parser: Parser) -> argparse._ArgumentGroup:
    group = parser.add_argument_group("results")
    group.add_argument("--outdir", metavar="DIR", default=ROOT / "outputs", help="where pictures go (default: outputs)")
    group.add_argument("--metrics", metavar="FILE.json", help="save the table of scores, too")
    group.add_argument("--keep_grey", action="store_true",
                       help="keep the predicted colours but take the brightness of each pixel from the input")
    return group


def add_decoding_flags(group) -> None:
    group.add_argument("--decode", choices=list(DECODERS),
                       help="argmax: the most probable colour; mean: the expected one; annealed: that at --temperature "
                            "(default: argmax, and annealed with --image)")
    group.add_argument("--temperature", type=number(float, 1e-6, 1e6), default=TEMPERATURE, metavar="T",
                       help="of --decode annealed: near 0 it acts like argmax, 1 is the mean")
    group.add_argument("--compare", nargs="+", metavar="FILE",
                       help="draw and score several weight files on the same horses, regression included")


def add_photo_flags(parser: Parser) -> None:
    group = parser.add_argument_group("your own photos")
    group.add_argument("--image", nargs="+", metavar="FILE_OR_DIR",
                       help="colour these photos, and those in these folders, with the weights of --checkpoint")
    # The default was chosen on 12 photographs, by writeup.closer_than_grey and by eye: at 32 fewer of them are closer
    # to the truth than their grey is, and from 64 on areas break up into patches of different colours.
    group.add_argument("--size", type=number(int, 4, 1024), default=48, metavar="N",
                       help="resize a photo to about N x N pixels for the network: fewer give calmer colours, more "
                            "give patches")


def chosen_job(asked: dict[str, bool], default: str, metrics: str | None) -> str:
    """Return the one flag of ``asked`` that was given, or ``default``.

    Raises ``UserError`` for two at once, if torchrun started this for another job than ``--train``, and for
    ``metrics`` with a job that has no scores.
    """
    given = [flag for flag, value in asked.items() if value]
    if len(given) > 1:
        raise UserError(f"{' and '.join(given)} are different jobs: give one of them")
    job = given[0] if given else default
    if launched() and job != "--train":
        raise UserError("torchrun is for training: score and colour with python alone")
    if metrics and job not in ("--valid", "--compare"):
        raise UserError("--metrics saves the table of scores, which training and --image do not make: leave it out")
    if metrics:
        folder_for(Path(metrics).parent, "--metrics")
        if Path(metrics).exists() and not is_table(metrics):
            raise UserError(f"--metrics {metrics} exists and is not a table of scores: give another name")
    return job


def _augmentations(text: str) -> tuple[str, ...]:
    names = tuple(text.split(","))
    for name in names:
        if name not in augment.NAMES:
            raise argparse.ArgumentTypeError(f"{name!r} is none of {','.join(augment.NAMES)}")
    return names
