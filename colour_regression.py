"""Colour grey 32x32 horses by regression: squared error in RGB (part A of the assignment).

    python colour_regression.py
"""

import os
import sys

if __name__ == "__main__":  # first, because importing PyTorch takes seconds
    sys.path.insert(0, os.path.dirname(__file__))  # which PYTHONSAFEPATH leaves out
    from colour.system.cli import exit_on_interrupt

    exit_on_interrupt()

import torch
from torch import nn

from colour.data import datasets
from colour.jobs import checkpoints, flags, results
from colour.jobs.runs import command_line, train_from_flags
from colour.learning.task import Decoding, Regression
from colour.system.cli import Parser, command, folder_for
from colour.system.devices import pick_device
from colourization import MyConv2d


class RegressionCNN(nn.Module):
    """Map grey (N, 1, H, W) to RGB (N, 3, H, W), its three outputs; H and W must be multiples of 4."""

    def __init__(self, kernel: int, num_filters: int, num_outputs: int = 3):
        super().__init__()
        f, padding = num_filters, kernel // 2
        self.downconv1 = nn.Sequential(
            nn.Conv2d(1, f, kernel, padding=padding), nn.MaxPool2d(2), nn.BatchNorm2d(f), nn.ReLU())
        self.downconv2 = nn.Sequential(
            nn.Conv2d(f, 2 * f, kernel, padding=padding), nn.MaxPool2d(2), nn.BatchNorm2d(2 * f), nn.ReLU())
        self.rfconv = nn.Sequential(
            nn.Conv2d(2 * f, 2 * f, kernel, padding=padding), nn.BatchNorm2d(2 * f), nn.ReLU())
        self.upconv1 = nn.Sequential(
            nn.Conv2d(2 * f, f, kernel, padding=padding), nn.Upsample(scale_factor=2), nn.BatchNorm2d(f), nn.ReLU())
        self.upconv2 = nn.Sequential(
            nn.Conv2d(f, num_outputs, kernel, padding=padding), nn.Upsample(scale_factor=2),
            nn.BatchNorm2d(num_outputs), nn.ReLU())
        self.finalconv = MyConv2d(num_outputs, num_outputs, kernel)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.downconv1(x)
        x = self.downconv2(x)
        x = self.rfconv(x)
        x = self.upconv1(x)
        x = self.upconv2(x)
        return self.finalconv(x)


MODELS = {"RegressionCNN": RegressionCNN}


def build_parser() -> Parser:
    parser = Parser(description=__doc__)
    assignment = parser.add_argument_group("flags of the assignment")
    flags.add_network_flags(assignment, list(MODELS))
    assignment.add_argument("--checkpoint", metavar="FILE",
                            help="weights to score (default: weights/regression_cnn_k3_f32.pkl), or the file that "
                                 "training writes after every epoch (default: outputs/regression_cnn_k<K>_f<F>.pkl)")
    assignment.add_argument("--train", action="store_true", help="train instead of scoring weights")
    flags.add_run_flags(assignment)
    flags.add_training_flags(parser)
    datasets.add_flags(parser.add_argument_group("data"))
    flags.add_result_flags(parser)
    flags.add_photo_flags(parser)
    return parser


@command
def main(argv: list[str] | None = None) -> int | None:
    args = build_parser().parse_args(argv)
    device = pick_device(args.gpu)
    job = flags.chosen_job({"train": args.train, "image": args.image}, default="valid")
    results.check_metrics(args.metrics, job)
    outdir = folder_for(args.outdir, "--outdir")
    decoding = Decoding(keep_grey=args.keep_grey)
    if job == "train":
        init = checkpoints.load(args.init) if args.init else None
        return train_from_flags(args, init, MODELS, Regression(decoding), device, command_line(__file__, argv))
    weights = args.checkpoint or checkpoints.shipped_weights(**flags.sizes_of(args))
    return results.score_or_colour(args, weights, {}, MODELS, decoding, device, outdir)


if __name__ == "__main__":
    sys.exit(main())
