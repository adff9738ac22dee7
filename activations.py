"""Draw what each block of a network makes of one grey horse.

    python activations.py 7 --model UNet --checkpoint weights/unet_k3_f32.pkl

Part E of the assignment. It writes these PNG pictures to outputs/act7/:

    input_grey.png, input.png                   the horse in grey and in colour
    weights_unet_k3_f32_prediction.png          the network's colours
    weights_unet_k3_f32_overview.png            all channels of all blocks, from the first block to the last
    weights_unet_k3_f32_downconv1.png, ...      every channel of a block, larger, with its number and range
"""

import os
import sys

if __name__ == "__main__":  # first, because importing PyTorch takes seconds
    sys.path.insert(0, os.path.dirname(__file__))  # which PYTHONSAFEPATH leaves out
    from colour.system.cli import exit_on_interrupt

    exit_on_interrupt()

from contextlib import ExitStack
from functools import partial

import torch
from torch import nn

import colour_regression
from colour.data.cifar10 import load_horses
from colour.jobs import flags, plots
from colour.jobs.checkpoints import label_of, load, load_with_task, shipped_weights
from colour.learning.task import Decoding
from colour.pixels import grey_of, to_rgb
from colour.system.cli import Parser, command, folder_for, number
from colour.system.devices import pick_device
from colour.system.files import ROOT, display_path
from colourization import MODELS


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
    sizes = flags.sizes_of(args)
    checkpoint = args.checkpoint or shipped_weights(**sizes)
    network, architecture, task = load_with_task(load(checkpoint), MODELS, colour_regression.MODELS, args.colours,
                                                 Decoding(), **sizes)
    _, x_test = load_horses()
    rgb = to_rgb(torch.from_numpy(x_test[args.index:args.index + 1]))
    grey = grey_of(rgb)
    output, activations = capture(network.to(device), grey.to(device))

    folder = folder_for(f"{args.outdir}{args.index}", "--outdir")
    label = label_of(checkpoint)
    title, name = f"{label}, horse {args.index}", label.replace("/", "_")
    print(f"test horse {args.index}, {architecture.model} from {display_path(checkpoint)}; "
          f"wrote to {display_path(folder)}:")
    pictures = {"grey input": grey[0], "prediction": task.colours(output.cpu(), grey)[0], "true picture": rgb[0]}
    blocks = {block: channels[0] for block, channels in activations.items()}
    for file, image in zip(("input_grey", f"{name}_prediction", "input"), pictures.values(), strict=True):
        plots.picture(folder / f"{file}.png", image)
    plots.overview(folder / f"{name}_overview.png", pictures, blocks, title)
    print(f"input.png, input_grey.png, {name}_prediction.png, {name}_overview.png")
    for block, channels in blocks.items():
        makes_output = activations[block] is output
        plots.sheet(folder / f"{name}_{block}.png", channels, f"{title}, {block}",
                    task.palette.centres if makes_output and task.palette else None)
        print(f"{name}_{block}.png: {plots.size_of(channels)}")


if __name__ == "__main__":
    sys.exit(main())
