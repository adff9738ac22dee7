"""Build a network, and check that it is what ``MODELS`` in colourization.py says of each."""

import inspect
import math
import re
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_pre_hook

from colour.pixels import grey_of
from colour.system.cli import UserError, brief, out_of_memory

MODEL, KERNEL, NUM_FILTERS = "CNN", 3, 32  # the assignment's defaults


class Architecture(NamedTuple):
    """Name a network and the arguments that build it."""

    model: str
    kernel: int
    num_filters: int
    num_outputs: int

    def build(self, networks: dict[str, type[nn.Module]]) -> nn.Module:
        """Return a new network of this size; ``networks`` has the classes by name.

        Raises ``UserError`` if it cannot be made.
        """
        kind = networks[self.model]
        with naming_faults(kind, f"{kind.__name__}{tuple(self[1:])}"):
            network = kind(self.kernel, self.num_filters, self.num_outputs)
            list(network.children())  # which a module that is not initialised does not have
        return network


@contextmanager
def naming_faults(kind: type, what: str) -> Iterator[None]:
    """Turn an error in the block, which makes or runs a network of the class ``kind``, into ``UserError``.

    It names the line of the file of the class.
    """
    try:
        yield
    except NotImplementedError:  # a student has yet to write it
        raise
    except Exception as error:
        if out_of_memory(error):
            raise
        file = inspect.getfile(kind)
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
        line, remedy = "", "it is made with kernel, num_filters and num_colours"
        if frames:
            line, remedy = f" in line {frames[-1].lineno}, `{frames[-1].line}`", "correct this, or what it calls"
        if re.search(r"Module.__init__\(\) call|'_modules'", str(error)):
            remedy = "begin __init__ with super().__init__()"
        elif isinstance(error, AttributeError):
            remedy = "is it the same name as in __init__?"
        raise UserError(f"{what} fails{line} ({brief(error)}): {remedy}") from error


def side_multiple(network: nn.Module) -> int:
    """Return what height and width of a picture must be multiples of for this network."""
    return getattr(network, "multiple", 4)


def sample_pictures(network: nn.Module) -> torch.Tensor:
    """Return two black pictures of about 32x32 pixels that a network can take, (2, 1, H, W)."""
    side = math.ceil(32 / side_multiple(network)) * side_multiple(network)
    return grey_of(next(network.parameters(), torch.zeros(())).new_zeros(2, 3, side, side))


def output_layer(network: nn.Module, num_outputs: int | None = None) -> nn.Module:
    """Return the layer with a filter that runs last, whatever its name and its place in the class.

    Try the network on ``sample_pictures``, and on one of them. Raise ``UserError`` if its output has not one value for
    each of ``num_outputs`` at each pixel, or does not depend on its parameters.
    """
    name, pictures = type(network).__name__, sample_pictures(network)
    layers = {layer for layer in network.modules() if any(one.ndim == 4 for one in layer.parameters(recurse=False))}
    ran, was_training = [], network.training
    hook = register_module_forward_pre_hook(lambda layer, _: ran.append(layer) if layer in layers else None)
    network.eval()
    try:
        with naming_faults(type(network), f"{name}.forward"):
            outputs = {grey.shape: network(grey) for grey in (pictures, pictures[:1])}
    finally:
        network.train(was_training)
        hook.remove()
    for (n, _, height, width), output in outputs.items():
        expected = (n, num_outputs or len(ran[-1].weight), height, width)
        found = tuple(output.shape) if torch.is_tensor(output) else type(output).__name__
        if found != expected:
            remedy = "is its return missing?" if output is None else f"correct {name}"
            raise UserError(f"{name}.forward returns {found} for pictures of shape {(n, 1, height, width)}, not "
                            f"{expected}: {remedy}")
    if not ran:
        raise UserError(f"{name}.forward calls no layer with a filter, such as MyConv2d: correct it")
    if not output.requires_grad:
        raise UserError(f"what {name}.forward returns does not depend on its parameters, or is cut off from them "
                        "(detach, .data, torch.no_grad), so it cannot be trained: correct it")
    return ran[-1]
