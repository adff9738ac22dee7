"""Colour grey 32x32 horses by regression: squared error in RGB (part A of the assignment).

    python colour_regression.py
"""

if __name__ == "__main__":  # first, because importing PyTorch takes seconds
    from colour.system.cli import exit_on_interrupt

    exit_on_interrupt()

import sys
from pathlib import Path

import torch
from torch import nn

from colour.data.datasets import category_name
from colour.jobs import flags, results
from colour.jobs.checkpoints import Architecture, load_network, new_weights, shipped_weights
from colour.jobs.runs import Run, command_line, facts_of, train_and_save
from colour.learning.task import Regression
from colour.learning.training import load_sets
from colour.system.cli import Parser, command, folder_for
from colour.system.devices import pick_device
from colourization import MyConv2d


class RegressionCNN(nn.Module):
    """Map grey (N, 1, H, W) to RGB (N, 3, H, W); H and W must be multiples of 4."""

    def __init__(self, kernel: int, num_filters: int):
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
            nn.Conv2d(f, 3, kernel, padding=padding), nn.Upsample(scale_factor=2), nn.BatchNorm2d(3), nn.ReLU())
        self.finalconv = MyConv2d(3, 3, kernel)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.downconv1(x)
        x = self.downconv2(x)
        x = self.rfconv(x)
        x = self.upconv1(x)
        x = self.upconv2(x)
        return self.finalconv(x)


MODELS = {"RegressionCNN": lambda kernel, num_filters, num_outputs: RegressionCNN(kernel, num_filters)}


def build_parser() -> Parser:
    parser = Parser(description=__doc__)
    assignment = parser.add_argument_group("flags of the assignment")
    flags.add_network_flags(assignment)
    assignment.add_argument("--checkpoint", metavar="FILE",
                            help="weights to score (default: weights/regression_cnn_k3_f32.pkl), or the file that "
                                 "training writes after every epoch (default: outputs/regression_cnn_k<K>_f<F>.pkl)")
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
    job = flags.chosen_job({"--train": args.train, "--image": args.image}, default="--valid", metrics=args.metrics)
    task = Regression(args.keep_grey)
    outdir = folder_for(args.outdir, "--outdir")
    asked = {"model": "RegressionCNN", "kernel": args.kernel, "num_filters": args.num_filters}

    if job != "--train":
        path = Path(args.checkpoint or shipped_weights("RegressionCNN", args.kernel, args.num_filters))
        network, architecture, _ = load_network(path, MODELS, task, **asked)
        network.to(device)
    if job == "--image":
        from colour.jobs import photos

        return photos.colour_files(args.image, network, task, outdir=outdir, suffix=architecture.model, size=args.size)

    train_set, valid_set = load_sets(args.category, args.data, args.holdout, device, task)
    if job == "--valid":
        picture = outdir / "regression_output.png"
        return results.score(network, task, path.stem, train_set, valid_set, picture, args.metrics)

    torch.manual_seed(args.seed)
    if args.init:
        network, architecture, _ = load_network(args.init, MODELS, task, **asked)
    else:
        architecture = Architecture("RegressionCNN", args.kernel or 3, args.num_filters or 32, task.num_outputs)
        network = architecture.build(MODELS)
    facts = facts_of(architecture, category_name(args.category, args.data), args.holdout, args.init)
    checkpoint = Path(args.checkpoint or new_weights(architecture))
    run = Run(checkpoint, outdir, command_line(__file__, argv), facts, args.resume, args.overwrite, args.plot)
    train_and_save(network, train_set, valid_set, flags.recipe_of(args), task, run)


if __name__ == "__main__":
    sys.exit(main())
