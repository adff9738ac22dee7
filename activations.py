"""Draw the output of each block of a network for one grey horse, and how unsure the network is of its colours.

    python activations.py 7 --model UNet --checkpoint weights/unet_k3_f32.pkl

Part E of the assignment. It writes these PNG pictures to outputs/act7/:

    input_grey.png, input.png    the horse in grey and in colour
    UNet_prediction.png          the network's colours
    UNet_downconv1.png, ...      every channel of each block
    UNet_uncertainty.png         how unsure the network is of each pixel
"""

if __name__ == "__main__":  # first, because importing PyTorch takes seconds
    from colour.system.cli import exit_on_interrupt

    exit_on_interrupt()

import math
import sys
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import torch
from torch import nn

import colour_regression
from colour.data.cifar10 import load_horses
from colour.decode import TEMPERATURE, decode
from colour.jobs import flags, plots
from colour.jobs.checkpoints import load_with_task, shipped_weights
from colour.learning.task import Classification, Decoding
from colour.pixels import grey_of, to_rgb
from colour.system.cli import Parser, command, folder_for, number
from colour.system.devices import pick_device
from colour.system.files import ROOT, display_path
from colourization import MODELS

SWEEP = (0.05, 0.2, TEMPERATURE, 0.7, 1)


@torch.no_grad()
def capture(network: nn.Module, x: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Run ``network`` on grey pictures (N, 1, H, W); return its output, and that of each block by name.

    The blocks' outputs are (N, channels, h, w). Forward hooks read them, so the network needs no change; the hooks are
    always removed.
    """
    activations = {}

    def keep(name, module, inputs, output):
        activations[name] = output

    with ExitStack() as hooks:
        for name, block in network.named_children():
            hooks.enter_context(block.register_forward_hook(partial(keep, name)))
        return network(x), activations


def draw_uncertainty(path: Path, rgb: torch.Tensor, logits: torch.Tensor, task: Classification, title: str) -> None:
    """Draw how unsure the network is of each pixel of a picture (1, 3, H, W), by its logits (1, K, H, W)."""
    palette = task.palette

    def swept(temperature):
        caption = f"T = {temperature:g}" + {TEMPERATURE: ", annealed", 1: ", the mean"}.get(temperature, "")
        return caption, decode(logits, palette, "annealed", temperature)[0]

    grey = grey_of(rgb)
    probabilities = logits.softmax(dim=1)
    entropy = torch.special.entr(probabilities)[0].sum(dim=0) / math.log(2)
    best = probabilities[0].topk(min(3, len(palette)), dim=0)  # values and indices, (3, H, W) each
    ranks = zip(("first", "second", "third"), best.values, palette.rgb(best.indices), strict=False)
    plots.uncertainty(path, [
        ("Input, prediction and entropy",
         [("true colours", rgb[0]), ("grey input", grey[0]), ("prediction", task.colours(logits, grey)[0]),
          ("as a photograph", task.photograph().colours(logits, grey)[0])]),
        ("The most probable colours of each pixel, with their mean probability",
         [(f"{rank}: {chance.mean():.0%}", image) for rank, chance, image in ranks]),
        ("Mean colour under softmax(logits / T)", [swept(temperature) for temperature in SWEEP]),
    ], entropy, math.log2(len(palette)), title,
        "The mean of several likely colours (T = 1) may be none of them, but it has the least squared error. "
        "That is why regression gives brown.")


def build_parser() -> Parser:
    parser = Parser(description=__doc__)
    parser.add_argument("index", metavar="INDEX", type=number(int, 0, 999), help="which of the 1,000 test horses")
    flags.add_network_flags(parser, [*colour_regression.MODELS, *MODELS])
    parser.add_argument("--checkpoint", metavar="FILE", help="the weights (default: the shipped ones in weights/)")
    parser.add_argument("--outdir", metavar="DIR", default=ROOT / "outputs" / "act",
                        help="where pictures go, with INDEX appended to it (default: outputs/act)")
    return parser


@command
def main(argv: list[str] | None = None) -> None:
    args = build_parser().parse_args(argv)
    device = pick_device(args.gpu)
    checkpoint = args.checkpoint or shipped_weights(args.model or "CNN", args.kernel, args.num_filters)
    network, architecture, task = load_with_task(checkpoint, MODELS, colour_regression.MODELS, args.colours, Decoding(),
                                                 model=args.model, kernel=args.kernel, num_filters=args.num_filters)
    name = architecture.model
    _, x_test = load_horses()
    rgb = to_rgb(torch.from_numpy(x_test[args.index:args.index + 1]))
    grey = grey_of(rgb).to(device)
    output, activations = capture(network.to(device), grey)

    folder = folder_for(f"{args.outdir}{args.index}", "--outdir")
    plots.picture(folder / "input.png", rgb[0])
    plots.picture(folder / "input_grey.png", grey_of(rgb)[0])
    plots.picture(folder / f"{name}_prediction.png", task.colours(output.cpu(), grey_of(rgb))[0])
    print(f"test horse {args.index}, {name} from {display_path(checkpoint)}; wrote to {display_path(folder)}:")
    print(f"input.png, input_grey.png, {name}_prediction.png")
    for block, channels in activations.items():
        plots.sheet(folder / f"{name}_{block}.png", channels[0], f"{name} {block}, horse {args.index}",
                    task.palette.centres if channels is output and task.palette else None)
        print(f"{name}_{block}.png: {channels.shape[1]} channels of {channels.shape[2]}x{channels.shape[3]}")
    if task.palette:
        draw_uncertainty(folder / f"{name}_uncertainty.png", rgb, output.cpu(), task, f"{name}, horse {args.index}")
        print(f"{name}_uncertainty.png")


if __name__ == "__main__":
    sys.exit(main())
