"""Functions that look at a submission: each takes its module and returns what it saw, as JSON can hold it.

What is right stands in ``checks`` alone, which the process of a submission does not import.
"""

import _thread
import base64
import functools
import inspect
import threading

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from .loading import Wrong

SIZES = 3, 2, 4  # kernel, num_filters, num_colours: small and all different


def find(module, name: str):
    if not hasattr(module, name):
        raise Wrong(f"there is no class {name}")
    return getattr(module, name)


def kind(value) -> str:
    return "None" if value is None else f"a {type(value).__name__}"


def convolutions(model: nn.Module) -> dict[str, nn.Module]:
    weights = {name: getattr(part, "weight", None) for name, part in model.named_modules()}
    return {name: model.get_submodule(name) for name, weight in weights.items()
            if isinstance(weight, torch.Tensor) and weight.dim() == 4}


def is_library_conv(conv: nn.Module) -> bool:
    """Tell if a convolution computes as ``nn.Conv2d`` does."""
    return type(conv).forward is nn.Conv2d.forward


def convolved(conv: nn.Module, gaps: int, x: torch.Tensor) -> torch.Tensor:
    step = gaps + 1
    return F.conv2d(x, conv.weight, conv.bias, padding=conv.weight.shape[-1] // 2 * step, dilation=step)


class Network:
    """A submission's network, with our convolution put in for its own: a wrong one costs no more than its own points.

    Every call notes the ``inputs`` of the convolutions in the order of their calls, which is known whatever blocks are
    called and how. The output is the last convolution's where the network returns something else than a tensor.
    """

    def __init__(self, module, network: str, sizes):
        torch.manual_seed(0)
        self.model = find(module, network)(*sizes)
        if not isinstance(self.model, nn.Module):
            raise Wrong(f"{network} is no nn.Module")
        dilated = getattr(module, "MyDilatedConv2d", ())
        for conv in convolutions(self.model).values():
            ours = functools.partial(convolved, conv, int(isinstance(conv, dilated)))
            conv.forward = functools.partial(self._convolve, conv.forward if is_library_conv(conv) else ours)
        self.inputs, self.noisy, self.returned = [], None, ""

    def _convolve(self, convolution, *args, **kwargs):
        x, = *args, *kwargs.values()
        output = convolution(x)
        if len(self.inputs) == self.noisy:
            output = torch.randn_like(output)
        self.inputs.append(x.detach().clone())
        self.last = output
        return output

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        self.inputs.clear()
        output = self.model(x)
        if isinstance(output, torch.Tensor):
            return output
        self.returned = kind(output)
        return self.last


def layers(module, network, sizes):
    """The shapes of the state dict's entries."""
    return {name: list(value.shape) for name, value in Network(module, network, sizes).model.state_dict().items()}


def library(module, network):
    """The names of the network's convolutions that are the library's."""
    return [name for name, conv in convolutions(Network(module, network, SIZES).model).items() if is_library_conv(conv)]


def forward(module, network, sizes, batch, training=False):
    """The shape of the output for a batch of 32x32 pictures, and what was returned if no tensor was."""
    net = Network(module, network, sizes)
    net.model.train(training)
    with torch.no_grad():
        return {"shape": list(net(torch.rand(batch, 1, 32, 32)).shape), "returned": net.returned}


def sources(module, network):
    """Where each channel comes from that a convolution sees: from which convolution before it (0, 1, ...), or else -1.

    A channel comes from the last convolution that makes a difference to it when noise takes the place of its output.
    """
    net = Network(module, network, SIZES)
    net.model.eval()
    x = torch.rand(2, 1, 32, 32)
    with torch.no_grad():
        net(x)
        seen = list(net.inputs)
        found = [[-1] * tensor.shape[1] for tensor in seen]
        for net.noisy in range(len(seen)):
            net(x)
            for channels, before, after in zip(found, seen, net.inputs, strict=True):
                for channel in range(len(channels)):
                    if not torch.equal(before[:, channel], after[:, channel]):
                        channels[channel] = net.noisy
    return found


def unpacked(data: str, dtype: str, dims: list[int]) -> torch.Tensor:
    return torch.from_numpy(np.frombuffer(base64.b64decode(data), dtype).reshape(dims).copy())


def training(module, network, sizes, steps, rate, grey, labels):
    """The loss at each step of descent by the signs of the gradient, and the filters that stay as they were."""
    net = Network(module, network, sizes)
    net.model.train()
    held = dict(net.model.named_parameters())  # as an optimiser holds them
    grey, labels = unpacked(**grey).float() / 768, unpacked(**labels).long()
    start = {name: value.detach().clone() for name, value in held.items() if value.dim() == 4}
    losses = []
    for _ in range(steps):
        net.model.zero_grad()
        loss = F.cross_entropy(F.interpolate(net(grey), labels.shape[1:]), labels)
        loss.backward()
        losses.append(loss.item())
        with torch.no_grad():
            for value in held.values():
                if value.grad is not None:
                    value -= rate * value.grad.sign()
    return {"losses": losses, "still": [name for name in start if torch.equal(held[name], start[name])]}


def predictions(module, network, sizes, weights, grey):
    """The colours that a network with the weights of that file gives to the pixels, as bytes; "" if they do not fit."""
    net = Network(module, network, sizes)
    try:
        net.model.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    except RuntimeError:
        return ""
    net.model.eval()
    grey = unpacked(**grey).float() / 768
    with torch.no_grad():
        labels = torch.cat([net(part).argmax(dim=1) for part in grey.split(100)])
    return base64.b64encode(labels.byte().numpy().tobytes()).decode()


# ------------------------------------------------------------------------------------------------
# The convolutions themselves


class Dilations(TorchDispatchMode):
    """Refuses and notes operations of the library that dilate, be they called in a thread of the submission's own."""

    seen = []

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        named = dict(zip((argument.name for argument in operation._schema.arguments), args)) | (kwargs or {})
        if any(gap != 1 for gap in named.get("dilation", ())):
            self.seen.append(operation.name())
            raise Wrong("the library's dilation")
        return operation(*args, **kwargs or {})


def watch_threads() -> None:
    """Have threads, in which a mode would not be known otherwise, start within it as long as it is on."""
    def watched(start):
        @functools.wraps(start)
        def run(function, *args, **kwargs):
            @functools.wraps(function)
            def inner(*args, **kwargs):
                with Dilations():
                    return function(*args, **kwargs)
            return start(inner, *args, **kwargs)
        return run

    for module in _thread, threading:
        for name in vars(module).keys() & {f"{prefix}start_{what}" for prefix in ("", "_") for what in (
                "new", "new_thread", "joinable_thread")}:
            setattr(module, name, watched(getattr(module, name)))


def make_convolution(module, name, block, in_channels, out_channels, kernel, dilation):
    """The class of that name, or else that of a network's block, whatever it may be called."""
    if hasattr(module, name):
        convolution = getattr(module, name)
    else:
        network, part = block
        convolution = type(find(module, network)(*SIZES).get_submodule(part))
    sizes = in_channels, out_channels, kernel
    if dilation is None:
        return convolution(*sizes)
    keyword = "dilation" in inspect.signature(convolution).parameters
    return convolution(*sizes, dilation=dilation) if keyword else convolution(*sizes, dilation)


def convolution(module, name, block, x, weight, bias, cotangent, dilation=None):
    """The output of a convolution with that weight and bias, and the gradients of ``(output * cotangent).sum()``.

    ``cotangent`` is cut to the output's size. ``library`` is true, and all else missing, if the library dilated.
    """
    weight, bias, x = torch.tensor(weight), torch.tensor(bias), torch.tensor(x, requires_grad=True)
    conv = make_convolution(module, name, block, weight.shape[1], weight.shape[0], weight.shape[2], dilation)
    conv.load_state_dict({"weight": weight, "bias": bias}, strict=False)
    held = {"x": x, **dict(conv.named_parameters())}  # as an optimiser holds them
    Dilations.seen.clear()
    try:
        with Dilations():
            output = conv(x)
            if not isinstance(output, torch.Tensor):
                raise Wrong(f"forward returns {kind(output)}")
            seen = {"output": output.tolist()}
            if output.requires_grad:
                cotangent = torch.tensor(cotangent)[..., :output.shape[2], :output.shape[3]]
                (output[..., :cotangent.shape[2], :cotangent.shape[3]] * cotangent).sum().backward()
    except Exception:
        if not Dilations.seen:
            raise
    if Dilations.seen:
        return {"library": True}
    grads = {name: held[name].grad if name in held else None for name in ("x", "weight", "bias")}
    return {**seen, **{name: None if grad is None else grad.tolist() for name, grad in grads.items()}}
