"""The flags that the scripts share, group by group."""

import argparse
from dataclasses import fields

from colour.decode import DECODERS, PHOTO_TEMPERATURE, TEMPERATURE
from colour.learning import augment
from colour.learning.networks import KERNEL, MODEL, NUM_FILTERS
from colour.learning.optimizers import OPTIMIZERS, SCHEDULES
from colour.learning.training import Recipe
from colour.system.cli import Parser, UserError, number
from colour.system.files import ROOT
from colour.system.torchrun import launched


def add_network_flags(group, models: list[str]) -> None:
    """Add the assignment's flags that choose the network. A checkpoint tells them all, so they have no defaults.

    The only model there is, that of regression, has neither a choice nor a palette.
    """
    if len(models) == 1:
        group.set_defaults(model=models[0], colours=None)
    else:
        group.add_argument("-m", "--model", choices=models,
                           help=f"the network (default: the checkpoint's, or {MODEL})")
        group.add_argument("-c", "--colours", metavar="FILE", help="the palette, a .npy file (default: the "
                           "checkpoint's, or colour/colour_kmeans24_cat7.npy)")
    group.add_argument("-k", "--kernel", type=number(int, 1, 31, odd=True), metavar="K",
                       help=f"size of the square filters, odd (default: the checkpoint's, or {KERNEL})")
    group.add_argument("-f", "--num_filters", type=number(int, 1, 4096), metavar="F",
                       help=f"channels of the first layer (default: the checkpoint's, or {NUM_FILTERS})")
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
    group.add_argument("--augment", type=_augmentations, action="extend", default=[], metavar="LIST",
                       help=f"any of {','.join(augment.NAMES)}: flips, and shifts by up to {augment.MAX_SHIFT} pixels "
                            "(default: none)")
    group.add_argument("--optimizer", choices=list(OPTIMIZERS), default=Recipe.optimizer,
                       help="; ".join(f"{name}: {make.__doc__}" for name, make in OPTIMIZERS.items()))
    group.add_argument("--schedule", choices=list(SCHEDULES), default=Recipe.schedule,
                       help="how the learning rate changes during training")
    group.add_argument("--weight_decay", type=number(float, 0, 1e6), default=Recipe.weight_decay, metavar="W",
                       help="decoupled weight decay (AdamW)")
    group.add_argument("--holdout", type=number(int, 1), metavar="N",
                       help="train without the last N training pictures and validate on them instead of the test set")
    group.add_argument("--precision", choices=["auto", "fp32", "bf16"], default=Recipe.precision,
                       help="training precision; auto uses bfloat16 on GPUs that have it, and on CPUs where a short "
                            "timing shows that it is faster")
    return group


def sizes_of(args: argparse.Namespace) -> dict[str, str | int | None]:
    """Return what the flags say of the network; ``checkpoints`` finds out what they leave out."""
    return {"model": args.model, "kernel": args.kernel, "num_filters": args.num_filters}


def recipe_of(args: argparse.Namespace) -> Recipe:
    """Return the hyperparameters, each of which is a flag of its name; one without a flag keeps its default."""
    given = {field.name: getattr(args, field.name) for field in fields(Recipe) if hasattr(args, field.name)}
    return Recipe(**{**given, "augment": tuple(args.augment)})


def add_result_flags(parser: Parser) -> argparse._ArgumentGroup:
    group = parser.add_argument_group("results")
    group.add_argument("--outdir", metavar="DIR", default=ROOT / "outputs", help="where pictures go (default: outputs)")
    group.add_argument("--metrics", metavar="FILE.json", help="save the table of scores, too")
    group.add_argument("--keep_grey", action="store_true",
                       help="keep the predicted colours but take the brightness of each pixel from the input")
    return group


def add_decoding_flags(group) -> None:
    group.add_argument("--decode", choices=list(DECODERS),
                       help="; ".join(f"{name}: {decoder.__doc__}" for name, decoder in DECODERS.items())
                            + " (default: argmax, and annealed with --image)")
    group.add_argument("--temperature", type=number(float, 1e-6, 1e6), metavar="T",
                       help="of --decode annealed: near 0 it acts like argmax, 1 is the mean (default: "
                            f"{TEMPERATURE}, and {PHOTO_TEMPERATURE} with --image)")
    group.add_argument("--compare", nargs="+", action="extend", metavar="FILE",
                       help="draw and score several weight files on the same horses, regression included")


def add_photo_flags(parser: Parser) -> None:
    group = parser.add_argument_group("your own photos")
    group.add_argument("--image", nargs="+", action="extend", metavar="FILE_OR_DIR",
                       help="colour these photos, and those in these folders, with the weights of --checkpoint")
    group.add_argument("--size", type=number(int, 4, 1024), default=32, metavar="N",
                       help="show the network a photo at about N x N and 2N x 2N pixels; with 24 and 32, 73 %% of 164 "
                            "photographs came closer to the truth than grey, with 48 71 %%, with 64 70 %%")


def chosen_job(given: dict[str, object], default: str) -> str:
    """Return the name of the one flag in ``given`` that has a value, or ``default``.

    Raises ``UserError`` for two at once, and if torchrun started this for another job than training.
    """
    names = [name for name, value in given.items() if value]
    if len(names) > 1:
        raise UserError(f"{' and '.join(f'--{name}' for name in names)} are different jobs: give one of them")
    job = names[0] if names else default
    if launched() and job != "train":
        raise UserError("torchrun is for training: score and colour with python alone")
    return job


def _augmentations(text: str) -> list[str]:
    names = text.split(",")
    for name in names:
        if name not in augment.NAMES:
            raise argparse.ArgumentTypeError(f"{name!r} is none of {','.join(augment.NAMES)}")
    return names
