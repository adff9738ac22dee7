"""Colour grey 32x32 horses by classifying each pixel into one of K colours.

    python colourization.py --model UNet --checkpoint weights/unet_k3_f32.pkl --valid

Programming assignment 2 of CSC321 (University of Toronto, 2018), parts B, C, D and G: our own
convolutions, the networks built on them, and their training.
"""

import os
import sys

if __name__ == "__main__":  # first, because importing PyTorch takes seconds
    sys.path.insert(0, os.path.dirname(__file__))  # which PYTHONSAFEPATH leaves out
    from colour.system.cli import exit_on_interrupt

    exit_on_interrupt()

import math

import torch
import torch.nn.functional as F
from torch import nn

from colour.data import datasets
from colour.decode import PHOTO_TEMPERATURE, TEMPERATURE
from colour.jobs import checkpoints, flags, results
from colour.jobs.runs import command_line, train_from_flags
from colour.learning.task import Classification, Decoding
from colour.learning.training import Recipe
from colour.palette import Palette
from colour.system.cli import Parser, command, folder_for, number
from colour.system.devices import pick_device

# ------------------------------------------------------------------------------------------------
# Convolutions


class MyConv2d(nn.Module):
    """Our own simplified ``nn.Conv2d``: stride 1, an odd square kernel, and "same" zero padding.

    Maps (N, in_channels, H, W) to (N, out_channels, H, W). Weights and biases start uniform within
    1/sqrt(fan-in), as the library's do. Raises ``ValueError`` for an even kernel, which has no middle.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int):
        super().__init__()
        if kernel_size % 2 == 0:
            raise ValueError(f"the kernel size must be odd, not {kernel_size}")
        bound = 1 / math.sqrt(in_channels * kernel_size**2)
        weight = torch.empty(out_channels, in_channels, kernel_size, kernel_size)
        self.weight = nn.Parameter(weight.uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(out_channels).uniform_(-bound, bound))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.conv2d(x, self.weight, self.bias, padding=self.weight.shape[-1] // 2)


class MyDilatedConv2d(MyConv2d):
    """Convolve with a filter that has ``dilation`` empty pixels between neighbouring taps.

    Dilation counts the gaps; Yu and Koltun 2015, Figure 1, count one more. With 0 this is ``MyConv2d``; with 1 a 3x3
    filter sees 5x5 pixels. No library dilates here: the weights are copied into a larger filter of zeros, and the
    gradient flows back through the copy.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, dilation: int = 1):
        super().__init__(in_channels, out_channels, kernel_size)
        if dilation < 0:
            raise ValueError(f"the dilation must be at least 0, not {dilation}")
        self.dilation = dilation

    def dilated_weight(self) -> torch.Tensor:
        """Return the filter with its gaps, (out_channels, in_channels, S, S) where S = k + (k - 1) dilation."""
        out_channels, in_channels, k, _ = self.weight.shape
        size = k + (k - 1) * self.dilation
        spread = self.weight.new_zeros(out_channels, in_channels, size, size)
        step = self.dilation + 1
        spread[:, :, ::step, ::step] = self.weight
        return spread

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weight = self.dilated_weight()
        return F.conv2d(x, weight, self.bias, padding=weight.shape[-1] // 2)


# ------------------------------------------------------------------------------------------------
# Networks. The names of the blocks and the order within them are the file format of the weights.


class UpBlock(nn.Sequential):
    """Convolution, upsampling, normalisation, ReLU: the order of the assignment, and of the file format.

    Nearest upsampling repeats each value four times, so norm and ReLU give the same before it, for a quarter of the
    work: a step at batch 100 is 1.2 times as fast. Only the running variance differs, by less than 0.2 %, because
    BatchNorm divides by n - 1 where n is the number of pixels.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        conv, upsample, norm, relu = self
        return upsample(relu(norm(conv(x))))


def down_block(conv: nn.Module, channels: int) -> nn.Sequential:
    return nn.Sequential(conv, nn.MaxPool2d(2), nn.BatchNorm2d(channels), nn.ReLU(inplace=True))


def same_block(conv: nn.Module, channels: int) -> nn.Sequential:
    return nn.Sequential(conv, nn.BatchNorm2d(channels), nn.ReLU(inplace=True))


def up_block(conv: nn.Module, channels: int) -> UpBlock:
    return UpBlock(conv, nn.Upsample(scale_factor=2), nn.BatchNorm2d(channels), nn.ReLU(inplace=True))


class CNN(nn.Module):
    """Part B: map grey (N, 1, H, W) to logits (N, num_colours, H, W); H and W must be multiples of 4."""

    def __init__(self, kernel: int, num_filters: int, num_colours: int):
        super().__init__()
        f = num_filters
        self.downconv1 = down_block(MyConv2d(1, f, kernel), f)
        self.downconv2 = down_block(MyConv2d(f, 2 * f, kernel), 2 * f)
        self.rfconv = same_block(MyConv2d(2 * f, 2 * f, kernel), 2 * f)
        self.upconv1 = up_block(MyConv2d(2 * f, f, kernel), f)
        self.upconv2 = up_block(MyConv2d(f, num_colours, kernel), num_colours)
        self.finalconv = MyConv2d(num_colours, num_colours, kernel)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        down1 = self.downconv1(x)
        down2 = self.downconv2(down1)
        middle = self.rfconv(down2)
        up1 = self.upconv1(middle)
        up2 = self.upconv2(up1)
        return self.finalconv(up2)


class UNet(nn.Module):
    """Part C: the CNN with skip connections: each decoder block also gets the encoder output of the same size."""

    def __init__(self, kernel: int, num_filters: int, num_colours: int):
        super().__init__()
        f = num_filters
        self.downconv1 = down_block(MyConv2d(1, f, kernel), f)
        self.downconv2 = down_block(MyConv2d(f, 2 * f, kernel), 2 * f)
        self.rfconv = same_block(MyConv2d(2 * f, 2 * f, kernel), 2 * f)
        self.upconv1 = up_block(MyConv2d(2 * f + 2 * f, f, kernel), f)
        self.upconv2 = up_block(MyConv2d(f + f, num_colours, kernel), num_colours)
        self.finalconv = MyConv2d(num_colours + 1, num_colours, kernel)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        down1 = self.downconv1(x)
        down2 = self.downconv2(down1)
        middle = self.rfconv(down2)
        up1 = self.upconv1(torch.cat([middle, down2], dim=1))
        up2 = self.upconv2(torch.cat([up1, down1], dim=1))
        return self.finalconv(torch.cat([up2, x], dim=1))


class DilatedUNet(UNet):
    """Parts D and G: the UNet with its middle convolution dilated."""

    def __init__(self, kernel: int, num_filters: int, num_colours: int, dilation: int = 1):
        super().__init__(kernel, num_filters, num_colours)
        self.rfconv[0] = MyDilatedConv2d(2 * num_filters, 2 * num_filters, kernel, dilation)


# What --model can be. A new network is a class and a line here: it is made with (kernel, num_filters, num_colours) and
# maps grey (N, 1, H, W) to logits (N, num_colours, H, W), where H and W are multiples of 4, or of its class attribute
# `multiple`. The layer that runs last makes the logits. colour/learning/networks.py checks this.
MODELS = {"CNN": CNN, "UNet": UNet, "DUNet": DilatedUNet}


# ------------------------------------------------------------------------------------------------
# The command line


def build_parser() -> Parser:
    parser = Parser(description=__doc__)
    assignment = parser.add_argument_group("flags of the assignment")
    flags.add_network_flags(assignment, list(MODELS))
    assignment.add_argument("--checkpoint", metavar="FILE",
                            help="weights to score (default: the shipped file in weights/), or the file that training "
                                 "writes after every epoch (default: outputs/<model>_k<K>_f<F>.pkl)")
    assignment.add_argument("--valid", action="store_true", help="score the weights instead of training")
    flags.add_run_flags(assignment)
    training = flags.add_training_flags(parser)
    training.add_argument("--label_smoothing", type=number(float, 0, 0.99), default=Recipe.label_smoothing,
                          metavar="S", help="share of each pixel's target that is spread over all colours: the "
                          "network is less sure, and its mean colours are paler")
    datasets.add_flags(parser.add_argument_group("data"))
    flags.add_decoding_flags(flags.add_result_flags(parser))
    flags.add_photo_flags(parser)
    return parser


@command
def main(argv: list[str] | None = None) -> int | None:
    args = build_parser().parse_args(argv)
    device = pick_device(args.gpu)
    job = flags.chosen_job({"valid": args.valid, "compare": args.compare, "image": args.image}, default="train")
    results.check_metrics(args.metrics, job)
    outdir = folder_for(args.outdir, "--outdir")
    decoder, temperature = ("annealed", PHOTO_TEMPERATURE) if job == "image" else ("argmax", TEMPERATURE)
    decoding = Decoding(args.decode or decoder, args.temperature or temperature, args.keep_grey)
    if job == "compare":
        from colour_regression import MODELS as REGRESSORS  # here, because it imports this script

        return results.compare(args, MODELS, REGRESSORS, decoding, device, outdir)
    if job == "train":
        init = checkpoints.load(args.init) if args.init else None
        palette = Palette.load(args.colours or checkpoints.palette_of(init.sidecar if init else {}))
        return train_from_flags(args, init, MODELS, Classification(palette, decoding), device,
                                command_line(__file__, argv))
    sizes = flags.sizes_of(args)
    if args.checkpoint:
        weights = args.checkpoint
    elif job == "image" and not any(sizes.values()):
        weights = checkpoints.PHOTO_WEIGHTS
    else:
        weights = checkpoints.shipped_weights(**sizes)
    return results.score_or_colour(args, weights, MODELS, {}, decoding, device, outdir)


if __name__ == "__main__":
    sys.exit(main())
