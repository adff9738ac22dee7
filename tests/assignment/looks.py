"""Functions that look at a submission: each takes its module and returns what it saw, as JSON can hold it.

What is right stands in ``checks`` alone, which the process of a submission does not import.
"""

import base64
import functools
import inspect
from unittest import mock

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.modules.module import register_module_forward_pre_hook
from torch.utils._python_dispatch import TorchDispatchMode

from .forgiving import Run, cat, fitted, forgets, initialise
from .loading import FAILED, Wrong, size

SIDES = {"downconv1": 32, "downconv2": 16, "rfconv": 8, "upconv1": 8, "upconv2": 16, "finalconv": 32}  # of inputs
CHANGES = {"the softmax": functools.partial(torch.softmax, dim=1), "the ReLU": torch.relu, "the tanh": torch.tanh,
           "the log_softmax": functools.partial(torch.log_softmax, dim=1), "the sigmoid": torch.sigmoid}


def name_in(module, name: str) -> str:
    """Return what a class is called in a submission, which may have other capitals."""
    if hasattr(module, name):
        return name
    for other, value in vars(module).items():
        if other.lower() == name.lower() and isinstance(value, type):
            return other
    why = vars(module).get(FAILED, {}).get(name)
    raise Wrong(f"there is no class {name}" + (f": {why}" if why else ""))


def find(module, name: str):
    return getattr(module, name_in(module, name))


def kind(value) -> str:
    return "None" if value is None else f"a {type(value).__name__}"


def convolutions(model: nn.Module) -> dict[str, nn.Module]:
    weights = {name: getattr(part, "weight", None) for name, part in model.named_modules()}
    return {name: model.get_submodule(name) for name, weight in weights.items()
            if isinstance(weight, torch.Tensor) and weight.dim() == 4}


def has_parameters(kind: type) -> bool:
    """Tell whether a class of convolutions makes a weight and a bias of the right shapes, and sets them."""
    try:
        conv = kind(2, 4, 3)
        right = {"weight": (4, 2, 3, 3), "bias": (4,)}
        return all(isinstance(value := getattr(conv, name), nn.Parameter) and value.shape == shape
                   and bool(value.isfinite().all()) for name, shape in right.items())
    except Exception:
        return False


def built(module, network: str, sizes, faults: list[str]) -> nn.Module:
    """Return a network, whose own ``MyConv2d`` gets the right parameters where it makes none.

    To ``faults`` is added what its ``__init__`` does not take.
    """
    kind = find(module, network)
    own = getattr(kind.__init__, "__globals__", {}).get("MyConv2d")
    if not (isinstance(own, type) and issubclass(own, nn.Module)):
        return kind(*sizes)
    own_init, works = own.__init__, has_parameters(own)  # what it lacks costs points where it is tried alone
    torch.manual_seed(0)

    def init(self, *args, **kwargs):
        keep = works
        try:
            own_init(self, *args, **kwargs)
        except Exception as error:
            keep = False
            if isinstance(error, TypeError) and not error.__traceback__.tb_next:  # it is the network that calls it so
                faults.append(str(error))
        if not keep:
            conv = nn.Conv2d(*[*args, *kwargs.values()][:3])
            initialise(self)
            self.weight, self.bias = conv.weight, conv.bias

    with mock.patch.object(own, "__init__", init):
        return kind(*sizes)


def convolved(conv: nn.Module, gaps: int, x: torch.Tensor) -> torch.Tensor:
    step = gaps + 1
    bias = conv.bias if conv.bias is not None and conv.bias.shape == conv.weight.shape[:1] else None
    return F.conv2d(x, conv.weight, bias, padding=conv.weight.shape[-1] // 2 * step, dilation=step)


def normalised(norm: nn.BatchNorm2d, x: torch.Tensor) -> torch.Tensor:
    """What a batch norm makes, also of other channels than its own."""
    if x.shape[1] == norm.num_features:
        return type(norm).forward(norm, x)
    return F.batch_norm(x, None, None, training=True)


class Network:
    """A submission's network, with our convolution put in for its own, which takes inputs that do not fit it, too.

    So a mistake costs no more than its own points. ``blocks``, ``inputs`` and ``outputs`` say what convolution was
    called with what, in the order of the calls, and ``misfits`` which inputs do not fit; ``joined`` are those that not
    only have other channels, as after a join along another dimension; ``misspelt`` are blocks that ``forward`` calls by
    other names. A call returns the output of ``finalconv``, or of what is called last; ``returned`` is what the network
    itself returned.
    """

    def __init__(self, module, network: str, sizes):
        torch.manual_seed(0)
        self.faults = []
        self.model = built(module, network, sizes, self.faults)
        if not isinstance(self.model, nn.Module):
            raise Wrong(f"{network} is no nn.Module")
        self.lists = {name: value for name, value in vars(self.model).items() if isinstance(value, list | tuple)
                      and value and all(isinstance(part, nn.Module) for part in value)
                      and not set(value) <= set(self.model.modules())}
        for name, value in self.lists.items():  # PyTorch does not see what is in a list, or a tuple
            delattr(self.model, name)
            setattr(self.model, name, value[0] if len(value) == 1 else nn.ModuleList(value))
        for part in self.model.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.forward = functools.partial(normalised, part)
        dilated, self.named = getattr(module, "MyDilatedConv2d", ()), convolutions(self.model)
        known = set(SIDES) <= {name.partition(".")[0] for name in self.named}
        for name, conv in self.named.items():
            gaps = 1 if isinstance(conv, dilated) else conv.dilation[0] - 1 if isinstance(conv, nn.Conv2d) else 0
            conv.forward = functools.partial(self._convolve, name, known, functools.partial(convolved, conv, gaps))
        self.noisy = None
        self._forget()

    def __deepcopy__(self, memo):
        return self

    def _forget(self):
        self.blocks, self.inputs, self.outputs = [], [], []
        self.misfits, self.joined, self.called = {}, [], set()
        self.run = Run(self.model, self.blocks)

    def _convolve(self, name, known, convolution, *args, **kwargs):
        x, = *args, *kwargs.values()
        at = len(self.inputs)
        block = name.partition(".")[0] if known else [*SIDES, *[name] * at][at]
        side, takes = SIDES.get(block, x.shape[-1]), self.named[name].weight.shape[1]
        right = self.batch, takes, side, side
        if (self.run.failed or x.shape != right) and block not in self.blocks:
            self.misfits[block] = self.run.failed or (
                f"sees {size(x.shape)}, should see {size(right)} (pictures, channels, rows, columns)")
            if self.run.failed or (len(x), *x.shape[2:]) != (self.batch, side, side):
                self.joined.append(block)
        self.run.failed = ""
        if x.dim() < 3:
            raise Wrong(f"{block} sees {size(x.shape)}, should see {size(right)}")
        x = x.flatten(1, -3) if x.dim() > 3 else x[:, None]  # after torch.stack, or squeeze
        self.blocks.append(block)
        self.inputs.append(x.clone())  # it may be changed in place
        self.called.add(name)
        output = convolution(fitted(x, right))
        if at == self.noisy:
            output = torch.randn_like(output)
        self.outputs.append(output)
        return output

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        self.batch = len(x)
        for lenient in False, True:
            self._forget()
            self.run.lenient = lenient
            try:
                with self.run:
                    self.returned = self.model(x)
                break
            except AttributeError:  # it may be a misspelt block
                if lenient:
                    raise
        if not self.outputs:
            raise Wrong("forward calls no convolution")
        return self.outputs[self.blocks.index("finalconv") if "finalconv" in self.blocks else -1]


def described(layer: nn.Module) -> str:
    """Return the name of a layer, with what is unusual about it."""
    name = type(layer).__name__
    if isinstance(layer, nn.Upsample) and layer.mode != "nearest":
        return f"{name}(mode={layer.mode!r})"
    if isinstance(layer, nn.MaxPool2d) and (layer.kernel_size, layer.stride) not in [(2, 2), ((2, 2), (2, 2))]:
        return f"{name}({layer.kernel_size}, stride={layer.stride})"
    return name


def layers(module, network, sizes):
    """The shapes of the state dict's entries, of each attribute what it is and its layers, and what is forgotten."""
    net = Network(module, network, sizes)
    return {"forgets": forgets(net.model),
            "shapes": {name: list(value.shape) for name, value in net.model.state_dict().items()},
            "called": name_in(module, network), "faults": list(dict.fromkeys(net.faults)),
            "layers": {name: [type(net.lists.get(name, part)).__name__, [described(layer) for layer in part.children()]]
                       for name, part in net.model.named_children()}}


def library(module, network, sizes):
    """The number of the network's convolutions, and the names of those that are the library's, or dilated."""
    named, dilated = Network(module, network, sizes).named, getattr(module, "MyDilatedConv2d", ())
    return {"all": len(named), "library": [name for name, conv in named.items() if isinstance(conv, nn.Conv2d)],
            "dilated": [name for name, conv in named.items() if isinstance(conv, dilated)]}


def change(output: torch.Tensor, last: torch.Tensor) -> str:
    """Say how a network's output differs from what its last convolution made; "" if it does not."""
    output = output.to(last.dtype)
    if output.shape != last.shape or torch.equal(output, last):
        return ""
    return next((what for what, function in CHANGES.items() if torch.allclose(function(last), output)), "a function")


def forward(module, network, sizes, batch, training=False):
    """The shape of the output for a batch of 32x32 pictures, or what was returned if no tensor was."""
    net = Network(module, network, sizes)
    net.model.train(training)
    with torch.no_grad():
        last = net(torch.rand(batch, 1, 32, 32))
    tensor = isinstance(net.returned, torch.Tensor)
    return {"returned": "" if tensor else kind(net.returned), "shape": list(net.returned.shape) if tensor else [],
            "change": change(net.returned, last) if tensor else "", "misfits": net.misfits,
            "misspelt": net.run.misspelt}


def sources(module, network, sizes):
    """What the convolutions see, in the order of their calls, as far as ``forward`` gets.

    ``blocks`` names them. ``channels`` says of each of their channels from which call it comes (0, 1, ...; -1 for the
    input, -2 for nothing): the last that makes a difference to it when noise takes the place of its output. ``cut`` has
    the calls, from and to, between which no gradient flows.
    """
    net = Network(module, network, sizes)
    net.model.eval()
    x, error = torch.rand(2, 1, 32, 32), ""
    torch.manual_seed(0)
    try:
        net(x)
    except Exception as reason:
        error, net.returned = reason, None
        if not net.inputs:
            raise
    blocks, seen, outputs = net.blocks, net.inputs, net.outputs
    faults = {"misfits": net.misfits, "joined": net.joined}
    before = [tensor.detach().clone() for tensor in seen]
    found = [[-2] * tensor.shape[1] for tensor in seen]
    with torch.no_grad():
        for net.noisy in range(-1, len(seen)):
            torch.manual_seed(0)
            try:
                net(x if net.noisy >= 0 else torch.rand_like(x))
            except Exception:
                if not error:
                    raise
            for channels, one, other in list(zip(found, before, net.inputs, strict=True))[net.noisy + 1:]:
                for channel in (one != other).any(dim=3).any(dim=2).any(dim=0).nonzero().flatten().tolist():
                    channels[channel] = net.noisy
    for channels in found:  # of a product, or a sum, some few channels show the other side alone
        most = max(channels, key=channels.count)
        for source in set(channels) - {-1, -2}:
            if 2 * channels.count(source) < outputs[source].shape[1]:
                channels[:] = [most if one == source else one for one in channels]
    cut = []
    for to, channels in enumerate(found):
        for source in sorted(set(channels) - {-1, -2}):
            value = seen[to][:, [channel == source for channel in channels]]
            if not flows(outputs[source], value):
                cut.append([source, to])
    return {"blocks": blocks, "channels": found, "cut": cut, **faults}


def flows(source: torch.Tensor, value: torch.Tensor) -> bool:
    """Tell whether a gradient flows from a value back to its source."""
    if not (value.requires_grad and source.requires_grad):
        return False
    try:
        gradient, = torch.autograd.grad((value * torch.rand_like(value)).sum(), source, retain_graph=True,
                                        allow_unused=True)
    except RuntimeError:  # something was changed in place, which ``training`` says
        return True
    return gradient is not None and bool(gradient.any())


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
        output = F.interpolate(net(grey), labels.shape[1:])
        loss = F.cross_entropy(output, labels % output.shape[1])  # it may have too few channels
        if not loss.requires_grad:
            raise Wrong("no gradient reaches any filter")
        cut = isinstance(net.returned, torch.Tensor) and not net.returned.requires_grad
        if cut and net.returned.is_floating_point():
            raise Wrong("what forward returns is cut off from the parameters, as by detach() or .data: no gradient "
                        "can flow")
        try:
            loss.backward()
        except RuntimeError as error:
            if "inplace" not in str(error):
                raise
            raise Wrong("forward changes the output of a layer in place, as += and *= do, so no gradient can flow: "
                        "write x = x + y") from None
        losses.append(loss.item())
        with torch.no_grad():
            for value in held.values():
                if value.grad is not None:
                    value -= rate * value.grad.sign()
    return {"losses": losses, "still": [name for name in start if torch.equal(held[name], start[name])
                                        and name.rpartition(".")[0] in net.called]}


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
        labels = cat([net(part).max(dim=1).indices for part in grey.split(100)])
    return base64.b64encode(labels.byte().numpy().tobytes()).decode()


# ------------------------------------------------------------------------------------------------
# The convolutions themselves


class Dilations(TorchDispatchMode):
    """Refuses and notes operations of the library that dilate. Their gradients do, too, in whatever thread they ran."""

    seen = []

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        named = dict(zip((argument.name for argument in operation._schema.arguments), args)) | (kwargs or {})
        if any(gap != 1 for gap in named.get("dilation", ())):
            self.seen.append(operation.name())
            raise Wrong("the library's dilation")
        return operation(*args, **kwargs or {})


def make_convolution(module, name, block, in_channels, out_channels, kernel, dilation):
    """The class of that name, or else that of a network's block, whatever it may be called."""
    convolution = getattr(module, name, None)
    if convolution is None and hasattr(module, block[0]):
        convolution = type(find(module, block[0])(3, 2, 4).get_submodule(block[1]))
    if convolution in (None, nn.Conv2d) or name != "MyConv2d" and convolution is getattr(module, "MyConv2d", None):
        raise Wrong(f"there is no class {name}")
    sizes, keyword = [in_channels, out_channels, kernel], {}
    if dilation is not None and "dilation" in inspect.signature(convolution).parameters:
        keyword["dilation"] = dilation
    elif dilation is not None:
        sizes.append(dilation)
    try:
        conv = convolution(*sizes, **keyword)
    except TypeError as error:
        if error.__traceback__.tb_next:  # it comes from within
            raise
        last = ", dilation" if dilation is not None else ""
        raise Wrong(f"it is not made with (in_channels, out_channels, kernel_size{last}): {error}") from error
    for what, shape in ("weight", (out_channels, in_channels, kernel, kernel)), ("bias", (out_channels,)):
        value = getattr(conv, what, None)
        if isinstance(value, torch.Tensor) and value.shape != shape:
            raise Wrong(f"self.{what} is {size(value.shape)}, should be {size(shape)}")
    return conv


def convolution(module, name, block, x, weight, bias, cotangent, dilation=None):
    """The output of a convolution with that weight and bias, and the gradients of ``(output * cotangent).sum()``.

    ``cotangent`` is cut to the output's size. ``library`` is true, and all else missing, if the library dilated;
    ``wraps`` if the library's class computes, ``forgets`` if ``__init__`` forgets that of ``nn.Module``. ``start`` are
    the weights that it was made with.
    """
    weight, bias, x = torch.tensor(weight), torch.tensor(bias), torch.tensor(x, requires_grad=True)
    conv = make_convolution(module, name, block, weight.shape[1], weight.shape[0], weight.shape[2], dilation)
    start = getattr(conv, "weight", weight).tolist()
    conv.load_state_dict({"weight": weight, "bias": bias}, strict=False)
    held = {"x": x, **dict(conv.named_parameters())}  # as an optimiser holds them
    Dilations.seen.clear()
    computed = []
    noted = register_module_forward_pre_hook(lambda part, _: computed.append(part))
    try:
        with Dilations():
            output = conv(x)
            if not isinstance(output, torch.Tensor):
                raise Wrong(f"forward returns {kind(output)}")
            if output.numel() > 100 * x.numel():
                raise Wrong(f"the output for {size(x.shape)} is {size(output.shape)}")
            if output.isnan().any():
                raise Wrong("the output is NaN: memory is used that nothing has set, as of torch.empty")
            wraps = any(isinstance(part, nn.Conv2d) for part in computed)
            seen = {"output": output.tolist(), "start": start, "wraps": wraps, "forgets": forgets(conv),
                    "dtype": str(output.dtype), "parameters": [*held]}
            if output.requires_grad:
                cotangent = torch.tensor(cotangent)[..., :output.shape[2], :output.shape[3]]
                (output[..., :cotangent.shape[2], :cotangent.shape[3]] * cotangent).sum().backward()
    except Exception:
        if not Dilations.seen:
            raise
    finally:
        noted.remove()
    if Dilations.seen:
        return {"library": True}
    grads = {name: held[name].grad if name in held else None for name in ("x", "weight", "bias")}
    return {**seen, **{name: None if grad is None else grad.tolist() for name, grad in grads.items()}}
