"""Colour grey 32x32 horses by regression: squared error in RGB (part A of the assignment).

    python colour_regression.py
"""

import functools
import sys
from pathlib import Path

import torch
from torch import nn

from colour import flags, photos, torchrun
from colour.cli import Parser, UserError, command, folder_for
from colour.decode import Colouring
from colour.devices import pick_device
from colour.files import display_path
from colourization import (
    CNN,
    command_line,
    draw_strip,
    evaluate,
    fit,
    load_model,
    load_sets,
    new_weights,
    report,
    shipped_weights,
)
from load_data import category_name


def conv2d(in_channels: int, out_channels: int, kernel_size: int) -> nn.Conv2d:
    """The library's convolution with "same" padding."""
    return nn.Conv2d(in_channels, out_channels, kernel_size, padding=kernel_size // 2)


class RegressionCNN(CNN):
    """Grey (N, 1, H, W) to RGB (N, 3, H, W): the ``CNN``, with library convolutions up to its last layer."""

    def __init__(self, kernel: int, num_filters: int):
        super().__init__(kernel, num_filters, num_colours=3, conv=conv2d)


def build_parser() -> Parser:
    parser = Parser(description=__doc__)
    assignment = parser.add_argument_group("of the assignment")
    flags.add_network_flags(assignment)
    assignment.add_argument("--checkpoint", metavar="FILE",
                            help="the weights that are scored, or with --train written after every epoch (default: "
                                 "weights/regression_cnn_k3_f32.pkl, and outputs/ of the same name)")
    assignment.add_argument("--train", action="store_true", help="train instead of scoring weights")
    flags.add_run_flags(assignment)
    flags.add_training_flags(parser)
    flags.add_data_flags(parser)
    flags.add_result_flags(parser)
    flags.add_photo_flags(parser)
    return parser


@command
def main(argv: list[str] | None = None) -> int | None:
    args = build_parser().parse_args(argv)
    device = pick_device(args.gpu)
    colouring = Colouring(palette=None, keep_grey=args.keep_grey)
    network_flags = {"model": "RegressionCNN", "kernel": args.kernel, "num_filters": args.num_filters}
    outdir = folder_for(args.outdir, "--outdir")

    if torchrun.launched() and not args.train:
        raise UserError("torchrun is for training: score and colour with python alone, or give --train")
    if args.train and args.image:
        raise UserError("--train and --image are two different jobs: give one of them")
    if args.metrics and (args.train or args.image):
        raise UserError("--metrics saves the scores of weights: leave out --train and --image")
    if args.metrics:
        folder_for(Path(args.metrics).parent, "--metrics")
    if not args.train:
        path = Path(args.checkpoint or shipped_weights("regression_cnn", args.kernel, args.num_filters))
        network, _ = load_model(path, **network_flags)
        network.to(device)
        if args.image:
            return photos.colour_files(args.image, network, colouring, outdir=outdir, suffix="RegressionCNN",
                                       size=args.size)
        data, valid = load_sets(args.category, args.data, args.holdout, device)
        figures = evaluate(network, valid, colouring=colouring)
        summary = f"Val Loss (mean squared error): {figures['loss']:.6f}"
        print(summary)
        report({path.stem: figures}, data, valid, None, args.metrics)
        picture = outdir / "regression_output.png"
        draw_strip(network, colouring, picture, valid, f"{path.stem}, {summary}")
        print(f"picture in {display_path(picture)}")
        return

    torch.manual_seed(args.seed)
    if args.init:
        network, _ = load_model(args.init, **network_flags)
    else:
        network = RegressionCNN(args.kernel or 3, args.num_filters or 32)
    checkpoint = Path(args.checkpoint or new_weights("regression_cnn", network))
    data, valid = load_sets(args.category, args.data, args.holdout, device)
    fit(network, data, valid, model="RegressionCNN", checkpoint=checkpoint, palette=None, outdir=outdir,
        draw=functools.partial(draw_strip, network, colouring), command=command_line(__file__, argv),
        category=category_name(args.category, args.data), **{name: getattr(args, name) for name in flags.FIT})


if __name__ == "__main__":
    sys.exit(main())
