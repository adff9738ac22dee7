"""What is asked of a submission, what each question is worth, and what the right answer is.

``CHECKS`` is the table of points: B 2, C 3 and the bonus G 1, as on the sheet; D is shown. The other parts, and what is
written about these, are for people to read. Each check judges one thing, so that a mistake costs once: networks are
tried with our convolution, gradients are compared with those of the dilation that a convolution really has, and the
given weights cost nothing where the layers differ.
"""

import base64
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

from colour.data.cifar10 import load_horses
from colour.palette import Palette
from colour.system.files import ROOT

from .loading import advised
from .sandbox import Failure, Sandbox

BLOCKS = "downconv1", "downconv2", "rfconv", "upconv1", "upconv2", "finalconv"
NORMS = {"downconv1": 2, "downconv2": 2, "rfconv": 1, "upconv1": 2, "upconv2": 2}  # where in a block its norm is
ORDERS = {1: "convolution, BatchNorm2d, ReLU", 2: "convolution, MaxPool2d or Upsample, BatchNorm2d, ReLU"}
JOINS = {"upconv1": ["rfconv", "downconv2"], "upconv2": ["upconv1", "downconv1"], "finalconv": ["upconv2", "input"]}
NETWORKS = {"CNN": "cnn_k3_f16", "UNet": "unet_k3_f16", "DilatedUNet": "dunet_k3_f16"}  # with their trained weights
SIZES = 3, 4, 24  # kernel, num_filters, num_colours of the networks tried; 24 may be written into the code
OTHER_COLOURS, OTHER_KERNEL = (3, 4, 10), (5, 4, 24)
SCORED = 1000  # test horses that the given weights are scored on
SHOWN = 2  # complaints of a check
AS_EXPECTED = "as expected"  # what is found where a check passes
STEPS, RATE, SHARE = 10, 0.005, 0.9  # of a training, and what part of its first loss must be left at most

PLAIN = "MyConv2d", ("CNN", "finalconv")  # where to find the class if it has another name
DILATED = "MyDilatedConv2d", ("DilatedUNet", "rfconv.0")
DILATED_CASES = (3, 1), (3, 3), (3, 0), (5, 1)  # kernel, dilation
SHOWN_OF_D = "layers", "library", "several", "single", "weights"


class Verdict(NamedTuple):
    """What was expected, and how the submission differs from it. It passes if there are no complaints."""

    expected: str
    complaints: list[str]

    @property
    def found(self) -> str:
        return "; ".join(self.complaints) or AS_EXPECTED


class Check(NamedTuple):
    part: str
    name: str
    points: float
    judge: Callable[..., Verdict]
    arguments: tuple = ()

    @property
    def id(self) -> str:
        return f"{self.part}-{self.name}"

    def __call__(self, ask: Callable) -> Verdict:
        """Judge a submission by what ``ask(look)`` says was seen of it; it raises ``Failure`` where nothing was."""
        try:
            expected, complaints = self.judge(ask, *self.arguments)
        except Failure as failure:
            expected, complaints = "an answer", [str(failure)]
        except Exception:  # a forged answer has any form
            expected, complaints = "an answer", ["its answer makes no sense"]
        complaints = [advised(line) for line in dict.fromkeys(complaints)]
        more = len(complaints) - SHOWN
        return Verdict(expected, [*complaints[:SHOWN], *([f"and {more} more"] if more > 0 else [])])


class Submission:
    """A file under examination. A group of looks is taken when the first question about one of them comes."""

    def __init__(self, path: Path, sandbox: Sandbox):
        self.path, self.sandbox = path.resolve(), sandbox
        self.seen, self.notes = {}, []

    def ask(self, look: str):
        """Return what a look saw; raises ``Failure`` if it saw nothing."""
        if look not in self.seen:
            groups = looks()
            self._look(groups, next(group for group in groups if look in group))
        if isinstance(self.seen[look], Failure):
            raise self.seen[look]
        return self.seen[look]

    def _look(self, groups: list[dict], group: dict) -> None:
        try:
            seen, notes = self.sandbox.look(self.path, group, self.sandbox.seconds / len(groups))
        except Failure as failure:  # it ended the worker: look no further
            seen, notes = {look: failure for group in groups for look in group}, []
        self.seen = seen | self.seen
        self.notes += [note for note in notes if note not in self.notes]


# ------------------------------------------------------------------------------------------------
# What is looked at


@cache
def horses(split: int, n: int):
    """The grey and the labels of the first training horses (0) or test horses (1), as ``looks`` unpacks them."""
    images = load_horses()[split][:n]
    return packed(images.sum(axis=1, keepdims=True, dtype=np.uint16)), packed(Palette.load().labels(images))


def packed(array: np.ndarray) -> dict:
    data = base64.b64encode(array.tobytes()).decode()
    return {"data": data, "dtype": str(array.dtype), "dims": list(array.shape)}


def convolution_inputs(kernel: int) -> dict[str, list]:
    """Small whole numbers, which float32 computes with exactly."""
    random = np.random.default_rng(kernel)
    dims = {"x": (2, 2, 14, 13), "weight": (3, 2, kernel, kernel), "bias": (3,), "cotangent": (2, 3, 14, 13)}
    return {name: random.integers(-3, 4, shape).astype(float).tolist() for name, shape in dims.items()}


def convolution_look(place: tuple, kernel: int, dilation: int | None = None) -> dict[str, tuple]:
    name, block = place
    case = {"name": name, "block": block, "dilation": dilation, **convolution_inputs(kernel)}
    return {f"{name} {kernel} {dilation}": ("convolution", case)}


def dilated_look(kernel: int, dilation: int) -> str:
    return f"{DILATED[0]} {kernel} {dilation}"


def network_looks(network: str) -> dict[str, tuple]:
    case, (grey, labels), (test, _) = {"network": network}, horses(0, 8), horses(1, SCORED)
    weights = str(ROOT / "weights" / f"{NETWORKS[network]}.pkl")
    learning = {"steps": STEPS, "rate": RATE, "grey": grey, "labels": labels}
    return {f"{network} {name}": (look, {**case, **more}) for name, look, more in [
        ("layers", "layers", {"sizes": SIZES}),
        ("library", "library", {}),
        ("several", "forward", {"sizes": SIZES, "batch": 2, "training": True}),
        ("single", "forward", {"sizes": SIZES, "batch": 1}),
        ("sources", "sources", {}),
        ("training", "training", {"sizes": (3, 8, 24), **learning}),
        ("weights", "predictions", {"sizes": (3, 16, 24), "weights": weights, "grey": test}),
        ("colours", "forward", {"sizes": OTHER_COLOURS, "batch": 2}),
        ("kernel layers", "layers", {"sizes": OTHER_KERNEL}),
        ("kernel", "forward", {"sizes": OTHER_KERNEL, "batch": 2}),
    ]}


def looks() -> list[dict[str, tuple]]:
    """All looks, in the groups that share a process: what ends it costs the rest of its group."""
    plain = {**convolution_look(PLAIN, 3), **convolution_look(PLAIN, 5)}
    shown = {name: look for name, look in network_looks("DilatedUNet").items() if name.split()[-1] in SHOWN_OF_D}
    dilated = {name: look for case in DILATED_CASES for name, look in convolution_look(DILATED, *case).items()}
    return [{**plain, **network_looks("CNN")}, network_looks("UNet"), shown, dilated]


# ------------------------------------------------------------------------------------------------
# Networks


def expected_shapes(network: str, k: int, f: int, c: int) -> dict[str, list[int]]:
    """The state dict's entries by the sheet's table of blocks."""
    joined = network != "CNN"
    channels = {"downconv1": (1, f), "downconv2": (f, 2 * f), "rfconv": (2 * f, 2 * f),
                "upconv1": (2 * f * (1 + joined), f), "upconv2": (f * (1 + joined), c), "finalconv": (c + joined, c)}
    shapes = {}
    for block, (before, after) in channels.items():
        conv = f"{block}.0" if block in NORMS else block
        shapes |= {f"{conv}.weight": [after, before, k, k], f"{conv}.bias": [after]}
        if block in NORMS:
            names = "weight", "bias", "running_mean", "running_var"
            shapes |= {f"{block}.{NORMS[block]}.{name}": [after] for name in names}
    return shapes


def of_block(shapes: dict, block: str) -> dict:
    return {name: shape for name, shape in shapes.items()
            if name.partition(".")[0] == block and not name.endswith("num_batches_tracked")}


def difference(block: str, expected: dict, found: dict) -> str:
    """How a block differs, in the words of the sheet; "" if it does not."""
    conv = f"{block}.0.weight" if block in NORMS else f"{block}.weight"
    if not found:
        return f"there is no block {block}"
    if conv not in found or len(found[conv]) != 4:
        return f"{block} does not begin with a convolution" if block in NORMS else f"{block} is no convolution"
    (after, before, k, _), right = found[conv], expected[conv]
    if [after, before] != right[:2]:
        return f"{block} makes {after} channels of {before}, not {right[0]} of {right[1]}"
    if k != right[2]:
        return f"{block} has kernel {k}, not {right[2]}"
    if found.keys() != expected.keys():
        order = f"its order is {ORDERS[NORMS[block]]}" if block in NORMS else "it is a convolution alone"
        return f"{block} has other layers: {order}"
    return "" if found == expected else f"{block} has other shapes than its convolution makes"


def differences(network: str, sizes: tuple, found: dict) -> list[str]:
    expected = expected_shapes(network, *sizes)
    lines = [difference(block, of_block(expected, block), of_block(found, block)) for block in BLOCKS]
    more = sorted({name.partition(".")[0] for name in found} - set(BLOCKS))
    lines += [f"{', '.join(more)}: the sheet has no such blocks"] if more else []
    return [line for line in lines if line]


def layers(ask, network):
    k, f, c = 3, 32, 24
    count = sum(int(np.prod(shape)) for name, shape in expected_shapes(network, k, f, c).items()
                if "running" not in name)
    return (f"the blocks and channels of the sheet, under its names: {count:,} weights and biases in "
            f"{network}({k}, {f}, {c})"), differences(network, SIZES, ask(f"{network} layers"))


def size(shape) -> str:
    return "x".join(map(str, shape))


def forward(ask, network):
    complaints = []
    for look, batch in ("several", 2), ("single", 1):
        found, right = ask(f"{network} {look}"), [batch, SIZES[2], 32, 32]
        if found["returned"]:
            complaints.append(f"forward returns {found['returned']}")
        if found["shape"] != right:
            complaints.append(f"the output for {size([batch, 1, 32, 32])} is {size(found['shape'])}, not {size(right)}")
    return "[N, num_colours, 32, 32] from [N, 1, 32, 32], also for a batch of one", complaints[:1]


def joined(ask, network) -> dict[str, list[str]]:
    """What each block that joins sees, block by block."""
    found = ask(f"{network} sources")
    if len(found) != len(BLOCKS):
        raise Failure(f"{network} calls {len(found)} convolutions, not {len(BLOCKS)}")
    names = [*BLOCKS, "input"]  # -1 is the last
    return {block: list(dict.fromkeys(names[source] for source in found[BLOCKS.index(block)])) for block in JOINS}


def join(ask, network, block):
    found = joined(ask, network)[block]
    right = JOINS[block]
    return f"{block} sees {' and '.join(right)}", ([] if sorted(found) == sorted(right) else
                                                 [f"{block} sees {' and '.join(found)}, not {' and '.join(right)}"])


def training(ask, network):
    answer = ask(f"{network} training")
    first, *_, last = answer["losses"]
    complaints = [f"the loss went from {first:.3f} to {last:.3f}"] if not 0 < last < SHARE * first else []
    still = [str(name) for name in answer["still"]]
    complaints += [f"training never changes {', '.join(still)}"] if still else []
    return f"{STEPS} steps lower the loss by a tenth at least, and change every filter", complaints


def stated_accuracy(name: str) -> float:
    """Return what given weights score according to their sidecar."""
    return json.loads((ROOT / "weights" / f"{name}.json").read_text())["validation"]["acc"]


def accuracy(ask, network) -> float | None:
    """Return what the given weights score in a network; None if they do not fit it."""
    found, right = ask(f"{network} weights"), horses(1, SCORED)[1]["data"]
    if not found:
        return None
    found, right = (np.frombuffer(base64.b64decode(text), np.uint8) for text in (found, right))
    return float(np.mean(found == right))


def weights(ask, network):
    """Score the given weights; where layers or joins differ, that has cost its points before."""
    name, found = NETWORKS[network], accuracy(ask, network)
    right = stated_accuracy(name)
    complaints = []
    if found is None:
        complaints = [f"weights/{name}.pkl does not fit"]
    elif abs(found - right) >= 1e-3:
        swapped = [block for block, seen in joined(ask, network).items() if network != "CNN" and seen != JOINS[block]]
        reason = f": the joins have another order in {', '.join(swapped)}" if swapped else ""
        complaints = [f"the given weights score {found:.1%}, not {right:.1%}{reason}"]
    cost_before = layers(ask, network)[1] or forward(ask, network)[1] or (
        network != "CNN" and any(join(ask, network, block)[1] for block in JOINS))
    return f"{right:.1%} with weights/{name}.pkl", [] if cost_before else complaints


def written(ask, *networks) -> list[str]:
    """Return the networks that are written, or else the first: a missing one has cost the points of its question."""
    def is_there(network):
        try:
            return bool(ask(f"{network} layers"))
        except Failure:
            return False
    return [network for network in networks if is_there(network)] or list(networks[:1])


def colours(ask):
    right = [2, OTHER_COLOURS[2], 32, 32]
    wrong = [network for network in written(ask, "CNN", "UNet")
             if ask(f"{network} colours")["shape"][1:2] == [SIZES[2]] != right[1:2]]
    return f"networks for any number of colours, such as {right[1]}", (
        [f"{' and '.join(wrong)}: {SIZES[2]} colours whatever num_colours is"] if wrong else [])


def other_kernel(ask):
    """Judge kernel 5; a mistake that shows with kernel 3, too, has cost its points before."""
    complaint, known = (convolution_fault(ask, kernel) for kernel in (5, 3))
    complaints = [f"{PLAIN[0]}: {complaint}"] if complaint and not known else []
    for network in written(ask, "CNN", "UNet"):
        found, known = (differences(network, sizes, ask(f"{network} {look}"))
                        for sizes, look in ((OTHER_KERNEL, "kernel layers"), (SIZES, "layers")))
        complaints += [f"{network}: {line}" for line in found if line not in known][:1]
        if ask(f"{network} kernel")["shape"] != ask(f"{network} several")["shape"]:
            complaints.append(f"{network}: the output is {size(ask(f'{network} kernel')['shape'])}")
    return "kernel 5 as well as 3", [f"with kernel 5, {line}" for line in complaints]


# ------------------------------------------------------------------------------------------------
# Convolutions


class Convolution(NamedTuple):
    """A convolution by what it does: empty pixels between the taps of its filter, and around the picture."""

    gaps: int
    padding: int


def recognised(answer: dict, kernel: int) -> Convolution | None:
    """Return the convolution with the output that was seen; None if there is none."""
    x, weight, bias = (torch.tensor(convolution_inputs(kernel)[name]) for name in ("x", "weight", "bias"))
    output = torch.tensor(answer["output"])
    for gaps in range(8):
        padding, odd = divmod(output.shape[-1] - x.shape[-1] + (kernel - 1) * (gaps + 1), 2)
        if padding >= 0 and not odd and close(output, F.conv2d(x, weight, bias, dilation=gaps + 1, padding=padding)):
            return Convolution(gaps, padding)
    return None


def close(found: torch.Tensor, right: torch.Tensor) -> bool:
    return found.shape == right.shape and torch.allclose(found, right, rtol=1e-3, atol=1e-3)


def gap_fault(found: Convolution | None, gaps: int | None = None) -> str:
    """Say what is wrong with the output of a convolution; any dilation is right if ``gaps`` is None."""
    if found is None:
        return "the output is not that of a convolution with these weights and this bias"
    return "" if gaps in (None, found.gaps) else f"{found.gaps} empty pixels between taps, not {gaps}"


def padding_fault(found: Convolution | None, kernel: int) -> str:
    """Say what is wrong with the padding of a convolution."""
    if found is None:
        return ""
    right = kernel // 2 * (found.gaps + 1)
    return "" if found.padding == right else f"{found.padding} pixels of padding, not {right}: the size changes"


def gradient_faults(answer: dict, kernel: int) -> list[str]:
    """Name the gradients that are wrong or missing; those of the convolution that was recognised are right."""
    found = recognised(answer, kernel)
    given = {name: torch.tensor(value) for name, value in convolution_inputs(kernel).items()}
    x, weight, bias = (given[name].requires_grad_() for name in ("x", "weight", "bias"))
    if found:
        output = F.conv2d(x, weight, bias, dilation=found.gaps + 1, padding=found.padding)
        cotangent = given["cotangent"][..., :output.shape[2], :output.shape[3]]
        (output[..., :cotangent.shape[2], :cotangent.shape[3]] * cotangent).sum().backward()
    faults = []
    for name, operand in {"x": x, "weight": weight, "bias": bias}.items():
        if answer.get(name) is None:
            faults.append(f"no gradient reaches {name if name == 'x' else f'self.{name}'}")
        elif found and not close(torch.tensor(answer[name]), operand.grad):
            faults.append(f"the gradient of {name if name == 'x' else f'self.{name}'} is wrong")
    return faults


def convolution_fault(ask, kernel: int) -> str:
    found = recognised(ask(f"{PLAIN[0]} {kernel} None"), kernel)
    return gap_fault(found, 0) or padding_fault(found, kernel)


def plain_convolution(ask):
    complaints = [convolution_fault(ask, 3), *gradient_faults(ask(f"{PLAIN[0]} 3 None"), 3)]
    replaced = [network for network in written(ask, "CNN", "UNet") if ask(f"{network} library")]
    if replaced:
        complaints.append(f"{' and '.join(replaced)}: nn.Conv2d in place of {PLAIN[0]}")
    return ("output and gradients of nn.Conv2d with padding kernel // 2, and no other convolution in CNN and UNet",
            [line for line in complaints if line])


def library_dilates(ask, kernel: int, dilation: int) -> bool:
    try:
        return "library" in ask(dilated_look(kernel, dilation))
    except Failure:
        return False


def dilated(ask) -> list[dict]:
    """Return what was seen of dilations 1 and 3; raises ``Failure`` if the library dilates, or nothing does."""
    if any(library_dilates(ask, *case) for case in DILATED_CASES):
        raise Failure("the dilation is the library's: the sheet gives no credit for that")
    answers = [ask(dilated_look(3, dilation)) for dilation in (1, 3)]
    first, second = (recognised(answer, 3) for answer in answers)
    if first and second and first.gaps == second.gaps:
        raise Failure(f"dilation 1 and 3 both have {first.gaps} empty pixels between taps: nothing is dilated")
    return answers


def dilated_output(ask):
    convolutions = [recognised(answer, 3) for answer in dilated(ask)]
    complaints = [gap_fault(found) or padding_fault(found, 3) for found in convolutions]
    return "taps that stand apart, and the size as it was", [line for line in complaints if line][:1]


def dilated_numbering(ask):
    found = [one.gaps if one else "no" for one in (recognised(answer, 3) for answer in dilated(ask))]
    complaints = [] if found == [1, 3] else ["PyTorch's numbering: your dilation 1 is our 0"] if found == [0, 2] else [
        f"with dilation 1 and 3 there are {found[0]} and {found[1]} empty pixels between taps"]
    return "1 and 3 empty pixels between taps with dilation 1 and 3", complaints


def dilated_gradients(ask):
    faults = [fault for answer in dilated(ask) for fault in gradient_faults(answer, 3)]
    return "the gradients of a dilated convolution, which reach self.weight and self.bias", faults


def dilated_others(ask):
    """Judge dilation 0 and kernel 5; a mistake of numbering or padding has cost its points before."""
    convolutions, complaints = [recognised(answer, 3) for answer in dilated(ask)], []
    shift = 1 if convolutions[0] and convolutions[0].gaps == 0 else 0
    cut = any(padding_fault(one, 3) for one in convolutions)
    for kernel, dilation in [(5, 1)] if shift else [(3, 0), (5, 1)]:
        try:
            found = recognised(ask(dilated_look(kernel, dilation)), kernel)
            complaint = gap_fault(found, dilation - shift) or ("" if cut else padding_fault(found, kernel))
        except Failure as failure:
            complaint = str(failure)
        complaints += [f"kernel {kernel}, dilation {dilation}: {complaint}"] if complaint else []
    return "dilation 0 and kernel 5, too", complaints


def dilated_network(ask):
    right, found = stated_accuracy(NETWORKS["DilatedUNet"]), accuracy(ask, "DilatedUNet")
    complaints = differences("DilatedUNet", SIZES, ask("DilatedUNet layers")) or forward(ask, "DilatedUNet")[1]
    complaints += ["its dilation is the library's"] if "rfconv.0" in ask("DilatedUNet library") else []
    if not complaints and (found is None or abs(found - right) >= 1e-3):
        complaints = ["the given weights do not fit" if found is None else f"the given weights score {found:.1%}"]
    return f"{right:.1%} with weights/{NETWORKS['DilatedUNet']}.pkl, our convolution put in", complaints


CHECKS = [
    Check("B", "layers", 0.6, layers, ("CNN",)),
    Check("B", "convolution", 0.4, plain_convolution),
    Check("B", "forward", 0.4, forward, ("CNN",)),
    Check("B", "training", 0.2, training, ("CNN",)),
    Check("B", "weights", 0.2, weights, ("CNN",)),
    Check("B", "colours", 0.1, colours),
    Check("B", "kernel", 0.1, other_kernel),
    Check("C", "layers", 0.5, layers, ("UNet",)),
    Check("C", "forward", 0.4, forward, ("UNet",)),
    Check("C", "join-upconv1", 0.5, join, ("UNet", "upconv1")),
    Check("C", "join-upconv2", 0.5, join, ("UNet", "upconv2")),
    Check("C", "join-finalconv", 0.5, join, ("UNet", "finalconv")),
    Check("C", "training", 0.3, training, ("UNet",)),
    Check("C", "weights", 0.3, weights, ("UNet",)),
    Check("D", "network", 0, dilated_network),
    Check("G", "output", 0.3, dilated_output),
    Check("G", "numbering", 0.2, dilated_numbering),
    Check("G", "gradients", 0.4, dilated_gradients),
    Check("G", "others", 0.1, dilated_others),
]
