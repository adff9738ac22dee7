"""Build a network, and check that it is what ``MODELS`` in colourization.py says of each."""

import math
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

        Raises ``UserError`` if a class does not take these three arguments.
        """
        kind = networks[self.model]
        try:
            return kind(self.kernel, self.num_filters, self.num_outputs)
        except TypeError as error:
            raise UserError(f"{kind.__name__}{tuple(self[1:])} fails ({brief(error)}): correct its __init__, which "
                            "takes kernel, num_filters and num_colours") from error


def side_multiple(network: nn.Module) -> int:
    """Return what height and width of a picture must be multiples of for this network."""
    return getattr(network, "multiple", 4)


def output_layer(network: nn.Module, num_outputs: int | None = None) -> nn.Module:
    """Return the layer with a filter that runs last, whatever its name and its place in the class.

    Try the network on two black pictures of about 32x32 pixels. Raise ``UserError`` if its output has not one value
    for each of ``num_outputs`` at each pixel, or does not depend on its parameters.
    """
    name, multiple = type(network).__name__, side_multiple(network)
    side = math.ceil(32 / multiple) * multiple
    pictures = grey_of(next(network.parameters(), torch.zeros(())).new_zeros(2, 3, side, side))
    layers = {layer: place for place, layer in network.named_modules()
              if any(one.ndim == 4 for one in layer.parameters(recurse=False))}
    ran, was_training = [], network.training
    hook = register_module_forward_pre_hook(lambda layer, _: ran.append(layer) if layer in layers else None)
    network.eval()
    try:
        output = network(pictures)
    except NotImplementedError:  # a student has yet to write it
        raise
    except RuntimeError as error:
        if out_of_memory(error):
            raise
        where = f", in or after {layers[ran[-1]]}" if ran else ""
        raise UserError(f"{name}.forward fails for pictures of {side}x{side} pixels{where} ({brief(error)}): correct "
                        "its layers, or give the class the attribute `multiple` that the sides must be") from error
    finally:
        network.train(was_training)
        hook.remove()
    expected = (2, num_outputs or len(ran[-1].weight), side, side)
    found = tuple(output.shape) if torch.is_tensor(output) else type(output).__name__
    if found != expected:
        raise UserError(f"the network returns {found} for pictures of shape {tuple(pictures.shape)}, not {expected}: "
                        f"correct {name}.forward")
    if not ran or not output.requires_grad:
        raise UserError(f"what {name}.forward returns does not depend on its parameters, or is cut off from them "
                        "(detach, .data, torch.no_grad), so it cannot be trained: correct it")
    return ran[-1]
