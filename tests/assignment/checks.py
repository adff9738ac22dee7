"""What is asked of a submission, what each question is worth, and what the right answer is.

``CHECKS`` is the table of points: B 2, C 3 and the bonus G 1, as on the sheet; D is shown. The other parts, and what is
written about these, are for people to read. Each check judges one thing, so that a mistake costs once: networks are
tried with our convolution, which takes inputs that do not fit; gradients are compared with those of the dilation that a
convolution really has; and the given weights cost nothing where layers or joins differ. What is not there earns
nothing: a network counts if it runs five of its convolutions, a UNet if it has a skip connection, too.
"""

import base64
import itertools
import json
import re
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

from colour.data.cifar10 import load_horses
from colour.palette import Palette
from colour.system.files import ROOT

from .loading import advised, size
from .sandbox import NOT_IMPORTED, Failure, Sandbox

NORMS = {"downconv1": 2, "downconv2": 2, "rfconv": 1, "upconv1": 2, "upconv2": 2}  # where in a block its norm is
BLOCKS = *NORMS, "finalconv"
MIDDLES = {"downconv1": "MaxPool2d, ", "downconv2": "MaxPool2d, ", "upconv1": "Upsample, ", "upconv2": "Upsample, "}
JOINS = {"upconv1": ["rfconv", "downconv2"], "upconv2": ["upconv1", "downconv1"], "finalconv": ["upconv2", "input"]}
WEIGHTS = {"CNN": "cnn_k3_f32", "UNet": "unet_k3_f32"}
SIZES = 3, 32, 24  # kernel, num_filters, num_colours: the sheet's
ENOUGH = 5  # of the convolutions of a network, so that it counts
OTHERS = {"kernel": (5, 32, 24), "filters": (3, 8, 24), "colours": (3, 32, 10)}
SCORED = 1000  # test horses that the given weights are scored on
AS_EXPECTED = "as expected"  # what is found where a check passes
STEPS, RATE, SHARE = 10, 0.005, 0.9  # of a training, and what part of its first loss must be left at most

PLAIN = "MyConv2d", ("CNN", "finalconv")  # where to find the class if it has another name
DILATED = "MyDilatedConv2d", ("DilatedUNet", "rfconv.0")
DILATED_CASES = (3, 1), (3, 3), (3, 0), (5, 1)  # kernel, dilation
FORGETS = "__init__ does not begin with super().__init__()"
LINE = 1000  # letters of a complaint at most
SIDE, MAX_GAPS, MAX_GROWTH = (14, 13), 8, 32  # rows and columns that a convolution gets; how much larger it may return


class Verdict(NamedTuple):
    """What was expected, and how the submission differs from it. It passes if there are no complaints.

    ``forgiven`` says why complaints do not count.
    """

    expected: str
    complaints: list[str]
    forgiven: str = ""

    @property
    def found(self) -> str:
        return "; ".join(self.complaints) or self.forgiven or AS_EXPECTED


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
            expected, complaints, *forgiven = self.judge(ask, *self.arguments)
        except Failure as failure:
            expected, complaints, forgiven = "an answer", failure.args, ()
        except Exception:  # a forged answer has any form
            expected, complaints, forgiven = "an answer", ["its answer makes no sense"], ()
        return Verdict(expected, [advised(line, LINE) for line in grouped(complaints)], *forgiven)


def grouped(lines: Iterable[str]) -> list[str]:
    """Put lines of the form "in CALL, WHAT" together that say the same of several calls, and what is said of a call."""
    calls, said = {}, {}
    for line in lines:
        call, what = re.fullmatch(r"(?s)(in \w+\([\d, ]+\), )?(.*)", line).groups(default="")
        calls.setdefault(what, []).append(call)
    for what, found in calls.items():
        said.setdefault(" and ".join(dict.fromkeys(call[3:-2] for call in found)), []).append(what)
    return [f"in {call}, {'; '.join(found)}" if call else "; ".join(found) for call, found in said.items()]


class Submission:
    """A file under examination.

    ``about`` is a note on the file, ``notes`` are on what of it was left out, ``missing`` says why there is no file.
    """

    def __init__(self, path: Path, about: str = "", missing: str = ""):
        self.path, self.about, self.missing = path.resolve(), about, missing
        self.seen, self.notes = {}, []

    def ask(self, look: str):
        """Return what a look saw; raises ``Failure`` if it saw nothing."""
        if self.missing:
            raise Failure(self.missing)
        found = self.seen[look]
        if isinstance(found, Failure):
            raise found if str(found).startswith(NOT_IMPORTED) else Failure(f"in {look.partition(': ')[0]}, {found}")
        return found

    def look(self, sandbox: Sandbox) -> None:
        """Take all looks, before any question."""
        if not self.missing:
            self.seen, self.notes = sandbox.look(self.path, looks())


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
    dims = {"x": (2, 2, *SIDE), "weight": (4, 2, kernel, kernel), "bias": (4,), "cotangent": (2, 4, *SIDE)}
    return {name: random.integers(-3, 4, shape).astype(float).tolist() for name, shape in dims.items()}


def convolution_look(place: tuple, *sizes: int) -> str:
    """Return the name of the look at a convolution, which begins as all do with the call that it makes."""
    return f"{place[0]}({', '.join(map(str, (2, 4, *sizes)))}): convolution"


def convolution_looks(place: tuple, *cases: tuple) -> dict[str, tuple]:
    return {convolution_look(place, *case): ("convolution", {
        "name": place[0], "block": place[1], "dilation": (*case, None)[1], **convolution_inputs(case[0])})
        for case in cases}


def network_look(network: str, name: str, sizes: tuple = SIZES) -> str:
    return f"{network}{sizes}: {name}"


def network_looks(network: str) -> dict[str, tuple]:
    (grey, labels), (test, _) = horses(0, 4), horses(1, SCORED)
    weights = str(ROOT / "weights" / f"{WEIGHTS[network]}.pkl")
    learning = {"steps": STEPS, "rate": RATE, "grey": grey, "labels": labels}
    wanted = [
        (SIZES, "layers", "layers", {}),
        (SIZES, "library", "library", {}),
        (SIZES, "sources", "sources", {}),
        (SIZES, "several", "forward", {"batch": 2, "training": True}),
        (SIZES, "single", "forward", {"batch": 1}),
        (SIZES, "training", "training", learning),
        (SIZES, "weights", "predictions", {"weights": weights, "grey": test}),
        *((sizes, name, name, {"batch": 2} if name == "forward" else {})
          for sizes in OTHERS.values() for name in ("layers", "forward"))]
    return {network_look(network, name, sizes): (look, {"network": network, "sizes": sizes, **more})
            for sizes, name, look, more in wanted}


def looks() -> list[dict[str, tuple]]:
    """All looks, in groups: what ends the process costs the rest of its group."""
    shown = network_look("DilatedUNet", "library")
    return [{**convolution_looks(PLAIN, (3,), (5,)), **network_looks("CNN")}, network_looks("UNet"),
            {shown: ("library", {"network": "DilatedUNet", "sizes": SIZES})},
            convolution_looks(DILATED, *DILATED_CASES)]


# ------------------------------------------------------------------------------------------------
# Networks


def channels(network: str) -> dict[str, tuple[str, str]]:
    """The sheet's table of blocks: the channels that each takes and makes; f is num_filters, K num_colours."""
    joined = network != "CNN"
    return {"downconv1": ("1", "f"), "downconv2": ("f", "2f"), "rfconv": ("2f", "2f"),
            "upconv1": ("4f" if joined else "2f", "f"), "upconv2": ("2f" if joined else "f", "K"),
            "finalconv": ("K + 1" if joined else "K", "K")}


def number(channels: str, f: int, c: int) -> int:
    return {"1": 1, "f": f, "2f": 2 * f, "4f": 4 * f, "K": c, "K + 1": c + 1}[channels]


def expected_shapes(network: str, k: int, f: int, c: int) -> dict[str, list[int]]:
    """The state dict's entries by the sheet's table of blocks."""
    shapes = {}
    for block, pair in channels(network).items():
        before, after = (number(one, f, c) for one in pair)
        conv = f"{block}.0" if block in NORMS else block
        shapes |= {f"{conv}.weight": [after, before, k, k], f"{conv}.bias": [after]}
        if block in NORMS:
            names = "weight", "bias", "running_mean", "running_var"
            shapes |= {f"{block}.{NORMS[block]}.{name}": [after] for name in names}
    return shapes


def of_block(shapes: dict, block: str) -> dict:
    return {name: shape for name, shape in shapes.items()
            if name.partition(".")[0] == block and not name.endswith("num_batches_tracked")}


def order(block: str, what: str, layers: list[str]) -> str:
    """Say what layers a block has, and what it should have."""
    if block == "finalconv":
        return f": should be a convolution alone, found {what} of {', '.join(layers)}"
    return f": order is convolution, {MIDDLES.get(block, '')}BatchNorm2d, ReLU, found {', '.join(layers) or what}"


def difference(network: str, block: str, sizes: tuple, answer: dict) -> str:
    """Say how a block differs, in the words of the sheet; "" if it does not."""
    expected, found = (of_block(shapes, block) for shapes in (expected_shapes(network, *sizes), answer["shapes"]))
    if block not in answer["layers"]:
        return ": there is no block of that name"
    what, layers = answer["layers"][block]
    conv = f"{block}.0.weight" if block in NORMS else f"{block}.weight"
    if what == "list":
        return ": should be nn.Sequential, found a Python list, in which PyTorch sees no layers"
    if what == "tuple":
        return ": found a tuple: is there a comma at the end of its line?"
    if conv not in found or len(found[conv]) != 4:
        return order(block, what, layers)
    (makes, takes_in, k, _), right = found[conv], expected[conv]
    lines = [takes(network, block, takes_in, sizes)] if takes_in != right[1] else []
    lines += [f" makes {counted(makes, 'channel')}, should be {right[0]}{letter(network, block, 1)}"
              ] if makes != right[0] else []
    lines += [f" has kernel {k}, should be {right[2]}"] if k != right[2] else []
    if lines:
        return " and".join(lines)
    if found == expected:
        return ""
    if layers[1:] != right_layers(block):
        return order(block, what, layers)
    missing = [f": {name} is missing" for name in expected if name not in found]
    others = [f": {name} is {size(shape)}, should be {size(expected[name])}" if name in expected else
              f": {name} is no name of the sheet" for name, shape in found.items() if shape != expected.get(name)]
    return [*missing, *others][0]


def right_layers(block: str) -> list[str]:
    """Return what layers come after the convolution of a block."""
    return f"{MIDDLES.get(block, '')}BatchNorm2d, ReLU".split(", ") if block in NORMS else []


def letter(network: str, block: str, which: int) -> str:
    """Return what the sheet calls the channels that a block takes (0) or makes (1), for messages."""
    name = channels(network)[block][which]
    return f" ({name})" if name != "1" else ""


def takes(network: str, block: str, found: int, sizes: tuple = SIZES) -> str:
    """Say that a block takes another number of channels than it should."""
    right = number(channels(network)[block][0], *sizes[1:])
    return f" takes {counted(found, 'channel')}, should be {right}{letter(network, block, 0)}"


def differences(ask, network: str, sizes: tuple = SIZES) -> dict[str, str]:
    """Say block by block how a network's layers differ from the sheet's."""
    answer = ask(network_look(network, "layers", sizes))
    lines = {block: difference(network, block, sizes, answer) for block in BLOCKS}
    more = {name.partition(".")[0] for name in answer["shapes"]} - set(BLOCKS)
    lines |= dict.fromkeys(sorted(more), ": the sheet has no block of that name")
    return {block: line for block, line in lines.items() if line}


def said(network: str, lines: dict[str, str], sizes: tuple = SIZES) -> list[str]:
    """Return the differences of blocks as complaints; equal ones are one."""
    return [f"in {network}{sizes}, {', '.join(block for block in lines if lines[block] == line)}{line}"
            for line in dict.fromkeys(lines.values())]


def layers(ask, network):
    answer, where = ask(network_look(network, "layers")), f"in {network}{SIZES}"
    complaints = [f"{where}, {FORGETS}"] if answer["forgets"] else []
    if answer["called"] != network:
        complaints.append(f"{where}, the class is called {answer['called']}, should be {network}")
    complaints += [f"{where}, {fault}" for fault in answer["faults"]]
    forgiven = fitting_joins(ask, network) if network != "CNN" else set()
    lines = {block: line for block, line in differences(ask, network).items() if block not in forgiven}
    return "the blocks and channels of the sheet, under its names", complaints + said(network, lines)


def fitting_joins(ask, network) -> set[str]:
    """Return the blocks that differ only by channels which fit their wrong join: that has cost its points.

    There are none if every join is wrong, or if ``forward`` does not get to them.
    """
    lines = differences(ask, network)
    try:
        faulty = [block for block in JOINS if join_fault(ask, network, block)]
        found = sources(ask, network)
    except Failure:
        return set()
    if len(faulty) == len(JOINS):
        return set()
    return {block for block in faulty if block in found
            and lines.get(block) == takes(network, block, len(found[block]))}


def counted(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"


def calls(ask, network) -> list[str]:
    """Return the blocks that ``forward`` calls, in order; one called in place of another counts as that."""
    blocks = list(ask(network_look(network, "sources"))["blocks"])
    uncalled, twice = ([block for block in BLOCKS if blocks.count(block) == count] for count in (0, 2))
    if len(uncalled) == len(twice) == 1:
        blocks[len(blocks) - 1 - blocks[::-1].index(twice[0])] = uncalled[0]
    return blocks


def sources(ask, network) -> dict[str, list[str]]:
    """Return what each channel of what a block sees comes from, of the blocks that ``forward`` calls."""
    blocks, seen = calls(ask, network), {}
    names = [*blocks, "constants", "input"]  # -2 and -1 are the last
    for block, channels in zip(blocks, ask(network_look(network, "sources"))["channels"], strict=True):
        seen.setdefault(block, [names[source] for source in channels])
    return seen


def seen(ask, network) -> dict[str, list[str]]:
    """Return what each block sees that ``forward`` calls: the blocks before it, the input, or constants."""
    return {block: list(dict.fromkeys(names)) for block, names in sources(ask, network).items()}


def join_fault(ask, network, block) -> str:
    found, right = seen(ask, network).get(block), " and ".join(JOINS[block])
    if found is None:
        ask(network_look(network, "single"))  # which says why, if forward does not get there
        return f"in {network}{SIZES}, forward never calls {block}"
    answer = ask(network_look(network, "sources"))
    forward_is_wrong = not answer["misfits"].keys() <= JOINS.keys() or answer["blocks"] != calls(ask, network)
    misfit = "" if forward_is_wrong else answer["misfits"].get(block)
    if misfit and (sorted(found) != sorted(JOINS[block]) or not differences(ask, network)):
        return f"in {network}{SIZES}, {block} {misfit}: join {right} along dim=1"
    return "" if sorted(found) == sorted(JOINS[block]) else (
        f"in {network}{SIZES}, {block} sees {' and '.join(found)}, should see {right}")


def join(ask, network, block):
    return f"{block} sees {' and '.join(JOINS[block])}", [line for line in [join_fault(ask, network, block)] if line]


def check_presence(ask, network) -> None:
    """Raise ``Failure`` if too little of a network is there."""
    found = seen(ask, network)
    if len(found) < ENOUGH:
        ask(network_look(network, "single"))
        raise Failure(f"in {network}{SIZES}, forward calls {len(found)} of {len(BLOCKS)} convolutions: too few")
    tried = ask(network_look(network, "sources"))["joined"]
    if network != "CNN" and not tried and all(join_fault(ask, network, block) for block in JOINS):
        raise Failure(f"in {network}{SIZES}, no skip connection is right: nothing else counts")


def forward(ask, network):
    check_presence(ask, network)
    where, different, complaints = f"in {network}{SIZES}", differences(ask, network), []
    for look, batch in ("several", 2), ("single", 1):
        found, right = ask(network_look(network, look)), [batch, SIZES[2], 32, 32]
        if found["returned"]:
            complaints.append(f"{where}, forward returns {found['returned']}, should return a tensor")
        elif found["shape"] != right and "finalconv" not in different:
            complaints.append(f"{where}, the output for {size([batch, 1, 32, 32])} is {size(found['shape'])}, "
                              f"should be {size(right)}")
        if found["change"] and "finalconv" not in different:
            complaints.append(f"{where}, forward returns {found['change']} of finalconv's output, should return that "
                              "output itself")
        if not different:
            complaints += [f"{where}, {block} {line}" for block, line in found["misfits"].items()
                           if network == "CNN" or block not in JOINS]
        complaints += [f"{where}, forward uses self.{name}, should be self.{meant}"
                       for name, meant in found["misspelt"].items() if name not in BLOCKS]  # else __init__ misspells it
        if complaints:
            break
    blocks = ask(network_look(network, "sources"))["blocks"]
    complaints += [f"{where}, forward calls {block} {blocks.count(block)} times" for block in BLOCKS
                   if blocks.count(block) > 1]
    uncalled = [block for block in BLOCKS if block not in blocks]
    complaints += [f"{where}, forward never calls {', '.join(uncalled)}"] if uncalled and network == "CNN" else []
    return "[N, num_colours, 32, 32] from [N, 1, 32, 32], also for a batch of one", complaints


def training(ask, network):
    check_presence(ask, network)
    answer, where = ask(network_look(network, "training")), f"in {network}{SIZES}"
    blocks = ask(network_look(network, "sources"))["blocks"]
    first, *_, last = answer["losses"]
    complaints = [] if 0 < last < SHARE * first else [
        f"{where}, the loss went from {first:.3f} to {last:.3f} in {STEPS} steps, should go below {SHARE * first:.3f}"]
    complaints += [f"{where}, training never changes {name}" for name in answer["still"]]
    complaints += [f"{where}, no gradient flows from {blocks[to]} back to {blocks[source]}"
                   for source, to in ask(network_look(network, "sources"))["cut"]]
    return f"{STEPS} steps lower the loss by a tenth at least, and gradients reach every filter", complaints


def stated_accuracy(name: str) -> float:
    """Return what given weights score according to their sidecar."""
    return json.loads((ROOT / "weights" / f"{name}.json").read_text())["validation"]["acc"]


def accuracy(ask, network) -> float | None:
    """Return what the given weights score in a network; None if they do not fit it."""
    found, right = ask(network_look(network, "weights")), horses(1, SCORED)[1]["data"]
    if not found:
        return None
    found, right = (np.frombuffer(base64.b64decode(text), np.uint8) for text in (found, right))
    return float(np.mean(found == right)) if found.shape == right.shape else 0.


def cost_before(ask, network) -> str:
    """Name the check that a mistake, which weights show, too, has cost its points; "" if there is none."""
    part = "B" if network == "CNN" else "C"
    return next((check.id for check in CHECKS if check.part == part and check.judge in (layers, forward, join)
                 and check(ask).complaints), "")


def weights(ask, network):
    """Score the given weights; a mistake of layers, output or joins has cost its points before."""
    check_presence(ask, network)
    name, found = WEIGHTS[network], accuracy(ask, network)
    right = stated_accuracy(name)
    expected = f"{right:.1%} with weights/{name}.pkl"
    if found is not None and abs(found - right) < 1e-3:
        return expected, []
    if before := cost_before(ask, network):
        return expected, [], f"forgiven: {before} has cost its points"
    if found is None:
        return expected, [f"in {network}{SIZES}, weights/{name}.pkl does not fit"]
    swapped = [block for block, sees in seen(ask, network).items()
               if network != "CNN" and sees != JOINS.get(block, sees)]
    reasons = [f"the joins have another order in {', '.join(swapped)}"] if swapped else []
    odd = {block: order(block, *answer) for block, answer in ask(network_look(network, "layers"))["layers"].items()
           if block in NORMS and answer[1][1:] != right_layers(block)}
    reasons += [line.partition("), ")[2] for line in said(network, odd)]
    return expected, [": ".join([f"in {network}{SIZES}, the given weights score {found:.1%}, should score {right:.1%}",
                                 *([" and ".join(reasons)] if reasons else [])])]


def working(ask) -> list[str]:
    """Return CNN, and UNet if it works; raises ``Failure`` if CNN does not. A UNet that fails has cost points of C."""
    networks = []
    for network in "CNN", "UNet":
        try:
            check_presence(ask, network)
            ask(network_look(network, "several"))
            networks.append(network)
        except Failure:
            if network == "CNN":
                raise
    return networks


def other_sizes(ask, name):
    """Judge a network of other sizes; a mistake that shows with the sheet's sizes, too, has cost its points before."""
    sizes, complaints = OTHERS[name], []
    if name == "kernel":
        fault, known = (convolution_fault(ask, kernel) for kernel in (sizes[0], SIZES[0]))
        complaints += [fault] if fault and not known else []
    for network in working(ask):
        known = differences(ask, network)
        found = {block: line for block, line in differences(ask, network, sizes).items() if block not in known}
        complaints += said(network, found, sizes)
        output, usual = (ask(look)["shape"] for look in (network_look(network, "forward", sizes),
                                                         network_look(network, "several")))
        right, usual_right = [2, sizes[2], 32, 32], [2, SIZES[2], 32, 32]
        if not found and output != right and usual == usual_right:
            complaints.append(f"in {network}{sizes}, the output is {size(output)}, should be {size(right)}")
    return f"networks for other sizes, too, such as CNN{sizes}", complaints


# ------------------------------------------------------------------------------------------------
# Convolutions


TURNS = {"": lambda weight: weight, "flipped": lambda weight: weight.flip(2, 3),
         "transposed": lambda weight: weight.transpose(2, 3)}


class Convolution(NamedTuple):
    """A convolution by what it does: empty pixels between the taps of its filter, and around the picture."""

    gaps: int
    padding: tuple[int, int]  # before and behind
    turned: str  # what was done to the filter, of TURNS
    biased: bool  # adds its bias, and nothing else
    framed: bool  # pads with zeros, and nothing else
    stale: bool  # computes with the weights that it was made with


def recognised(answer: dict, kernel: int) -> Convolution | None:
    """Return the convolution with the output that was seen; None if there is none."""
    x, weight, bias = (torch.tensor(convolution_inputs(kernel)[name]) for name in ("x", "weight", "bias"))
    output, start = torch.tensor(answer["output"]), torch.tensor(answer["start"])
    if output.dim() != 4 or any(abs(found - right) > MAX_GROWTH for found, right in zip(output.shape[2:], SIDE)):
        return None
    for gaps in range(MAX_GAPS):
        padding = output.shape[-1] - x.shape[-1] + (kernel - 1) * (gaps + 1)
        if padding < 0:
            continue
        filters = [(turned, False, turn(weight)) for turned, turn in TURNS.items()]
        filters += [("", True, start)] * (start.shape == weight.shape)
        # As much before as behind, or what half of an even filter adds, whose last row and column are empty.
        befores = dict.fromkeys([padding - padding // 2, min(padding, kernel * (gaps + 1) // 2)])
        for low, (turned, stale, taps) in itertools.product(befores, filters):
            high = padding - low
            right = F.conv2d(F.pad(x, (low, high, low, high)), taps, dilation=gaps + 1)
            if output.shape != right.shape:
                continue
            rest = output - right
            inner = rest[..., low:rest.shape[2] - high, low:rest.shape[3] - high]
            if min(inner.shape[2:]) < 2:  # too little to tell
                inner = rest
            added = inner.mean(dim=(0, 2, 3), keepdim=True)
            if close(inner, added.expand_as(inner)):
                return Convolution(gaps, (low, high), turned, close(added.flatten(), bias),
                                   close(rest, added.expand_as(rest)), stale)
    return None


def close(found: torch.Tensor, right: torch.Tensor) -> bool:
    return found.shape == right.shape and torch.allclose(found, right, rtol=1e-3, atol=1e-3)


def gap_fault(found: Convolution, gaps: int) -> str:
    return "" if found.gaps == gaps else f"{counted(found.gaps, 'empty pixel')} between taps, should be {gaps}"


def faults(answer: dict, kernel: int) -> list[str]:
    """Say what is wrong with a convolution, whatever its dilation."""
    found = recognised(answer, kernel)
    if found is None:
        dims, right = (torch.tensor(one).shape for one in (answer["output"], convolution_inputs(kernel)["cotangent"]))
        return [f"the output is {size(dims)}, should be {size(right)}" if dims != right else
                "the output is not that of a convolution with self.weight and self.bias"]
    right = kernel // 2 * (found.gaps + 1)
    lines = [f"self.weight is {found.turned}"] if found.turned else []
    lines += [] if found.biased else ["the output is not the filter's plus self.bias"]
    if not found.framed:
        lines.append("something else than zeros is around the picture")
    if len(set(found.padding)) == 2:
        lines.append("the size changes: is the filter of an even size?")
    elif found.padding[0] != right:
        lines.append(f"{counted(found.padding[0], 'pixel')} of padding, should be {right}: the size changes")
    if answer["dtype"] != "torch.float32":
        lines.append(f"the output is {answer['dtype']}, should be torch.float32")
    return lines


def gradient_faults(answer: dict, kernel: int) -> list[str]:
    """Name the gradients that are wrong or missing; those of the convolution that was recognised are right."""
    found = recognised(answer, kernel)
    given = {name: torch.tensor(value) for name, value in convolution_inputs(kernel).items()}
    x, weight, bias = (given[name].requires_grad_() for name in ("x", "weight", "bias"))
    if found:
        low, high = found.padding
        output = F.conv2d(F.pad(x, (low, high, low, high)), TURNS[found.turned](weight), bias, dilation=found.gaps + 1)
        cotangent = given["cotangent"][..., :output.shape[2], :output.shape[3]]
        (output[..., :cotangent.shape[2], :cotangent.shape[3]] * cotangent).sum().backward()
    lines = []
    for name, operand in {"x": x, "self.weight": weight, "self.bias": bias}.items():
        gradient = answer.get(name.removeprefix("self."))
        if name == "self.bias" and found and not found.biased:
            continue  # it has cost its points
        if name != "x" and name.removeprefix("self.") not in answer["parameters"]:
            lines.append(f"{name} is no nn.Parameter")
        elif name == "self.weight" and found and found.stale:
            lines.append("the filter is built in __init__, so training does not change it")
        elif gradient is None:
            lines.append(f"no gradient reaches {name}")
        elif found and found.framed and not found.stale and not close(torch.tensor(gradient), operand.grad):
            lines.append(f"the gradient of {name} is wrong")
    return lines


def call(place: tuple, *sizes: int) -> str:
    return f"in {convolution_look(place, *sizes).partition(': ')[0]}, "


def convolution_fault(ask, kernel: int) -> str:
    try:
        answer = ask(convolution_look(PLAIN, kernel))
    except Failure as failure:
        return str(failure)
    found = recognised(answer, kernel)
    lines = [*faults(answer, kernel), *([gap_fault(found, 0)] if found else [])]
    return "".join(f"{call(PLAIN, kernel)}{line}" for line in lines[:1] if line)


def plain_convolution(ask):
    answer = ask(convolution_look(PLAIN, 3))
    complaints = [convolution_fault(ask, 3), *(call(PLAIN, 3) + line for line in gradient_faults(answer, 3))]
    complaints += [f"{call(PLAIN, 3)}the library's nn.Conv2d computes"] if answer["wraps"] else []
    complaints += [f"{call(PLAIN, 3)}{FORGETS}"] if answer["forgets"] else []
    if not torch.tensor(answer["start"]).isfinite().all():
        complaints.append(f"{call(PLAIN, 3)}self.weight is never set: torch.Tensor holds whatever was in memory")
    for network in "CNN", "UNet":
        try:
            found = ask(network_look(network, "library"))
        except Failure:
            if network == "CNN":
                raise
            continue
        if network == "CNN" and found["all"] < ENOUGH:
            raise Failure(f"in {network}{SIZES}, {found['all']} of {len(BLOCKS)} convolutions are there: too few")
        complaints += [f"in {network}{SIZES}, {', '.join(found['library'])}: nn.Conv2d in place of your own {PLAIN[0]}"
                       ] if found["library"] else []
    return ("output and gradients of nn.Conv2d with padding kernel // 2, and no other convolution in CNN and UNet",
            [line for line in complaints if line])


def library_dilates(ask, kernel: int, dilation: int) -> bool:
    try:
        return "library" in ask(convolution_look(DILATED, kernel, dilation))
    except Failure:
        return False


def dilated(ask) -> dict[int, tuple[Convolution | None, str]]:
    """Return what dilations 1 and 3 are, and why one is none that counts.

    Raises ``Failure`` if neither dilates, or if the library does.
    """
    if any(library_dilates(ask, *case) for case in DILATED_CASES):
        raise Failure(f"in {DILATED[0]}, the dilation is the library's: the sheet gives no credit for that")
    found = {}
    for dilation in 1, 3:
        try:
            answer = ask(convolution_look(DILATED, 3, dilation))
            one = recognised(answer, 3)
            fault = gap_fault(one, dilation) if one else faults(answer, 3)[0]
            found[dilation] = one, call(DILATED, 3, dilation) + fault if fault else ""
        except Failure as failure:
            found[dilation] = None, str(failure)
    if not any(one and one.gaps for one, _ in found.values()):
        raise Failure(*(fault for _, fault in found.values()))
    return found


def dilated_convolutions(ask) -> dict[int, Convolution]:
    return {dilation: one for dilation, (one, _) in dilated(ask).items() if one and one.gaps}


def dilated_output(ask):
    answers = {dilation: ask(convolution_look(DILATED, 3, dilation)) for dilation in dilated_convolutions(ask)}
    try:
        known = ask(convolution_look(PLAIN, 3))["forgets"]  # has cost points of B
    except Failure:
        known = False
    return "taps that stand apart, and the size as it was", [
        call(DILATED, 3, dilation) + line for dilation, answer in answers.items()
        for line in faults(answer, 3) + [FORGETS] * (answer["forgets"] and not known)]


def dilated_numbering(ask):
    found = dilated(ask)
    complaints = [fault for _, fault in found.values() if fault]
    if [one and one.gaps for one, _ in found.values()] == [0, 2]:
        complaints = [f"{call(DILATED, 3, 1)}PyTorch's numbering: your dilation 1 is our 0"]
    return "1 and 3 empty pixels between taps with dilation 1 and 3", complaints


def dilated_gradients(ask):
    return "the gradients of a dilated convolution, which reach self.weight and self.bias", [
        call(DILATED, 3, dilation) + line for dilation in dilated_convolutions(ask)
        for line in gradient_faults(ask(convolution_look(DILATED, 3, dilation)), 3)]


def dilated_others(ask):
    """Judge dilation 0 and kernel 5; a mistake of output or numbering has cost its points before."""
    usual, complaints = dilated(ask)[1][0], []
    for kernel, dilation in [(5, 1)] if dilated_numbering(ask)[1] else [(3, 0), (5, 1)]:
        try:
            answer = ask(convolution_look(DILATED, kernel, dilation))
            found = recognised(answer, kernel)
            lines = [] if found and dilated_output(ask)[1] else faults(answer, kernel)
            lines += [gap_fault(found, usual.gaps if usual and dilation else dilation)] if found else []
            complaints += [call(DILATED, kernel, dilation) + line for line in lines if line]
        except Failure as failure:
            complaints += failure.args
    return "dilation 0 and kernel 5, too", complaints


def dilated_network(ask):
    found, rfconv = ask(network_look("DilatedUNet", "library")), "rfconv.0"
    complaints = [] if rfconv in found["dilated"] else [f"in DilatedUNet{SIZES}, {rfconv} is not {DILATED[0]}"]
    return f"a UNet with {DILATED[0]} in rfconv", complaints


CHECKS = [
    Check("B", "layers", 0.5, layers, ("CNN",)),
    Check("B", "convolution", 0.4, plain_convolution),
    Check("B", "forward", 0.4, forward, ("CNN",)),
    Check("B", "training", 0.2, training, ("CNN",)),
    Check("B", "weights", 0.2, weights, ("CNN",)),
    *(Check("B", name, 0.1, other_sizes, (name,)) for name in OTHERS),
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
