"""What is asked of a submission, what each question is worth, and what the right answer is.

``CHECKS`` is the table of points: B 2, C 3, D 1 and G 1, as on the sheet. The other parts, and what is
written about these, are for people to read.
"""

import base64
import json
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

from colour.files import ROOT
from colour.palette import Palette
from load_data import load_horses

from .sandbox import Failure, Sandbox

SIZES = [1, 16, 24], [3, 4, 3], [3, 32, 24], [5, 8, 16]  # kernel, num_filters, num_colours
SMALL = [3, 2, 3]
TRAINED = {"CNN": "cnn_k3_f16", "UNet": "unet_k3_f16", "DilatedUNet": "dunet_k3_f16"}
SCORED = 1000  # test horses that the given weights are scored on
JOINS = {"upconv1": ["rfconv", "downconv2"], "upconv2": ["upconv1", "downconv1"], "finalconv": ["upconv2", "input"]}
NORMS = {"downconv1": 2, "downconv2": 2, "rfconv": 1, "upconv1": 2, "upconv2": 2}  # where in a block its norm is

# Today's words for what PyTorch and Python had in 2018. None of this was in the way of a right answer then.
REMOVED = {
    r"\basync\s*=": "`async` is a keyword of Python now; the argument is called `non_blocking`",
    r"\bvolatile\s*=": "`volatile` does nothing any more: compute within `with torch.no_grad():`",
    r"\.data\[0\]": "a loss has no dimension now: `loss.item()` in place of `loss.data[0]`",
    r"\bdevice_id\s*=": "`cuda(device_id=...)` is gone: `.to(device)`",
    r"\btorch\.(legacy|utils\.ffi)\b": "`torch.legacy` and `torch.utils.ffi` are gone",
    r"\bnp\.(float|int|bool|object)\b": "numpy's names for Python's own types are gone: `float`, `int`, `bool`",
    r"\bscipy\.misc\b": "`scipy.misc` is gone: read pictures with Pillow",
    r"\bxrange\(": "`xrange` is called `range` since Python 3",
    r"\b(izip|cPickle)\b": "`izip` and `cPickle` are Python 2's: `zip`, `pickle`",
}


class Verdict(NamedTuple):
    """What was right, and how the submission differs: in nothing if it passes."""

    expected: str
    complaints: list[str]

    @property
    def found(self) -> str:
        return "; ".join(self.complaints) or "that"


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
        """Judge a submission by its answers: ``ask(what, *cases)``, which raises ``Failure``."""
        try:
            expected, complaints = self.judge(ask, *self.arguments)
        except Failure as failure:
            expected, complaints = "an answer", [str(failure)]
        except Exception as error:  # a forged answer has any form
            expected, complaints = "an answer", [f"one that makes no sense ({type(error).__name__}: {error})"]
        return Verdict(expected, [advised(line) for line in complaints])


class Submission:
    """A file under examination. A failing import is found out once, not by each check anew."""

    def __init__(self, path: Path, sandbox: Sandbox):
        self.path, self.sandbox = path.resolve(), sandbox
        self.failure = None

    def ask(self, what: str, *cases: dict) -> list:
        if self.failure is None:
            self.failure = ""
            try:
                self.sandbox.ask(self.path, "parameters")
            except Failure as failure:
                self.failure = f"it cannot be imported: {failure}"
        if self.failure:
            raise Failure(self.failure)
        return self.sandbox.ask(self.path, what, *cases)


def advised(line: str) -> str:
    """A line fit for a terminal, with what to write today where it names what is gone."""
    line = " ".join("".join(letter if letter.isprintable() else " " for letter in line).split())
    line = line if len(line) < 600 else line[:600] + " ..."
    return "; ".join([line, *(advice for pattern, advice in REMOVED.items() if re.search(pattern, line))])


def outdated(path: Path) -> list[str]:
    """The lines of a submission that use what is gone, be they run or not."""
    return [f"line {number}: {advice}" for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1)
            for pattern, advice in REMOVED.items() if re.search(pattern, line)]


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


def parameters(ask, network):
    complaints = []
    for sizes, found in zip(SIZES, ask("parameters", *({"network": network, "sizes": sizes} for sizes in SIZES))):
        expected = expected_shapes(network, *sizes)
        differences = [f"{name} is {found.get(name, 'missing')}, not {expected.get(name, 'there')}"
                       for name in {**expected, **found}
                       if found.get(name) != expected.get(name) and not name.endswith("num_batches_tracked")]
        if differences:
            complaints.append(f"{called(network, sizes)}: {', '.join(differences)}")
    count = sum(int(np.prod(shape)) for name, shape in expected_shapes(network, 3, 32, 24).items()
                if "running" not in name)
    return (f"the blocks and channels of the sheet, under its names: {count:,} weights and biases in "
            f"{called(network, [3, 32, 24])}"), complaints


def called(network, sizes):
    return f"{network}({', '.join(map(str, sizes))})"


def shapes(ask, network):
    batches = [(2, True), (1, False), (5, True), (3, False)]
    found = ask("shape", *({"network": network, "sizes": sizes, "batch": batch, "training": training}
                           for sizes, (batch, training) in zip(SIZES, batches)))
    complaints = [f"{called(network, sizes)} makes {shape} of {[batch, 1, 32, 32]}"
                  for sizes, (batch, _), shape in zip(SIZES, batches, found) if shape != [batch, sizes[2], 32, 32]]
    return "[N, num_colours, 32, 32] from [N, 1, 32, 32], also for a batch of one", complaints


def sources(tensor: torch.Tensor, outputs: dict[str, torch.Tensor]) -> list[str]:
    """Whose outputs a tensor consists of, along its channels."""
    names, at = [], 0
    while at < tensor.shape[1]:
        for name, output in outputs.items():
            if torch.equal(tensor[:, at:at + output.shape[1]], output):
                names.append(name)
                at += output.shape[1]
                break
        else:
            return [*names, "something else"]
    return names


def joins(ask, network, *blocks):
    answer, = ask("blocks", {"network": network, "sizes": SMALL})
    outputs = {"input": torch.tensor(answer["input"])}
    outputs |= {name: torch.tensor(seen["output"]) for name, seen in answer["blocks"].items()}
    complaints = [f"{block} was not called" for block in blocks if block not in answer["blocks"]]
    for block in set(blocks) & set(answer["blocks"]):
        found = sources(torch.tensor(answer["blocks"][block]["input"]), outputs)
        if found != JOINS[block]:
            complaints.append(f"{block} sees {', '.join(found)}")
    return "; ".join(f"{block} sees {', '.join(JOINS[block])}" for block in blocks) + ", in this order", complaints


@cache
def horses(split: int, n: int):
    """The grey and the labels of the first training horses (0) or test horses (1), as ``worker`` unpacks them."""
    images = load_horses()[split][:n]
    return packed(images.sum(axis=1, keepdims=True, dtype=np.uint16)), packed(Palette.load().labels(images))


def packed(array: np.ndarray) -> dict:
    data = base64.b64encode(array.tobytes()).decode()
    return {"data": data, "dtype": str(array.dtype), "dims": list(array.shape)}


def training(ask, network):
    steps, share = 10, 0.9
    grey, labels = horses(0, 8)
    answer, = ask("training", {"network": network, "sizes": [3, 8, 24], "steps": steps, "rate": 0.005, "grey": grey,
                               "labels": labels})
    first, *_, last = answer["losses"]
    complaints = [f"the loss went from {first:.3f} to {last:.3f}"] if not 0 < last < share * first else []
    complaints += [f"{name} never changes" for name in answer["still"]]
    return f"{steps} steps lower the loss by a tenth at least, and change every filter", complaints


def stated_accuracy(name: str) -> float:
    """What the sidecar of given weights says they score."""
    return json.loads((ROOT / "weights" / f"{name}.json").read_text())["validation"]["acc"]


def weights(ask, network):
    name = TRAINED[network]
    grey, labels = horses(1, SCORED)
    found, = ask("predictions", {"network": network, "sizes": [3, 16, 24], "grey": grey,
                                 "weights": str(ROOT / "weights" / f"{name}.pkl")})
    score = np.mean(np.frombuffer(base64.b64decode(found), np.uint8)
                    == np.frombuffer(base64.b64decode(labels["data"]), np.uint8))
    right = stated_accuracy(name)
    return f"{right:.1%} with weights/{name}.pkl", [] if abs(score - right) < 1e-3 else [f"{score:.1%}"]


# ------------------------------------------------------------------------------------------------
# Convolutions


def dilated(x, weight, bias, gaps: int) -> torch.Tensor:
    """The library's, whose dilation is one more than the pixels between neighbouring taps."""
    return F.conv2d(x, weight, bias, dilation=gaps + 1, padding=weight.shape[-1] // 2 * (gaps + 1))


def close(found: torch.Tensor, right: torch.Tensor) -> bool:
    return found.shape == right.shape and torch.allclose(found, right, rtol=1e-3, atol=1e-3)


def gaps_of(output, *operands) -> str:
    """How far apart a convolution's taps are, by what it makes of its input."""
    output, operands = torch.tensor(output), [torch.tensor(operand) for operand in operands]
    fitting = [gaps for gaps in range(8) if close(output, dilated(*operands, gaps))]
    if fitting:
        return f"{fitting[0]} empty pixels between taps"
    size, right = list(output.shape[2:]), list(operands[0].shape[2:])
    return "no convolution with these taps" if size == right else f"{size} from {right}"


def middle(ask, network):
    seen, = ask("middle", {"network": network, "sizes": SMALL})
    right, found = "1 empty pixels between taps", gaps_of(seen["output"], seen["x"], seen["weight"], seen["bias"])
    return f"{right} of the convolution in rfconv", [] if found == right else [found]


PLAIN = "MyConv2d", ("CNN", "finalconv")  # where to find the class if it has another name
DILATED = "MyDilatedConv2d", ("DilatedUNet", "rfconv.0")
CASES = {"MyConv2d": [(1, 0), (3, 0), (5, 0)], "MyDilatedConv2d": [(3, 1), (3, 0), (3, 3), (5, 2)]}  # kernel, dilation


def operands(kernel: int) -> dict[str, list]:
    """Small whole numbers, which float32 computes with exactly."""
    random = np.random.default_rng(kernel)
    dims = {"x": (2, 2, 14, 13), "weight": (3, 2, kernel, kernel), "bias": (3,), "cotangent": (2, 3, 14, 13)}
    return {name: random.integers(-3, 4, shape).astype(float).tolist() for name, shape in dims.items()}


def convolutions(ask, name, block, expected, *looks):
    """Compare a class's convolutions, also with the gaps that it is asked for, by each of ``looks``."""
    dilates = name == "MyDilatedConv2d"
    cases = [{"name": name, "block": block, **operands(kernel), "dilation": dilation if dilates else None}
             for kernel, dilation in CASES[name]]
    complaints = []
    for case, answer, (kernel, dilation) in zip(cases, ask("convolution", *cases), CASES[name]):
        label = f"kernel {kernel}, dilation {dilation}" if dilates else f"kernel {kernel}"
        complaints += [f"{label}: {line}" for look in looks for line in look(case, answer, dilation)]
    return expected, complaints


def values(given, answer, gaps) -> list[str]:
    found = gaps_of(answer["output"], given["x"], given["weight"], given["bias"])
    return [] if found == f"{gaps} empty pixels between taps" else [found]


def gradients(given, answer, gaps) -> list[str]:
    x, weight, bias = (torch.tensor(given[name], requires_grad=True) for name in ("x", "weight", "bias"))
    (dilated(x, weight, bias, gaps) * torch.tensor(given["cotangent"])).sum().backward()
    complaints = []
    for name, operand in {"x": x, "weight": weight, "bias": bias}.items():
        found = answer.get(name)
        if found is None:
            complaints.append(f"no gradient reaches {name}")
        elif not close(torch.tensor(found), operand.grad):
            complaints.append(f"another gradient of {name}")
    return complaints


def library_dilations(answer) -> list[str]:
    return [f"{name} is called with dilation {dilation}" for name, dilation in answer["dilations"]]


def own(given, answer, gaps) -> list[str]:
    return values(given, answer, gaps) or library_dilations(answer)


def undilated_calls(ask):
    expected, complaints = convolutions(ask, *DILATED, "gaps in the filter itself, and dilation 1 in every call of the "
                                        "library", own)
    seen, = ask("middle", {"network": "DilatedUNet", "sizes": SMALL})
    return expected, complaints + [f"DilatedUNet: {line}" for line in library_dilations(seen)]


CHECKS = [
    Check("B", "convolution", 0.5, convolutions,
          (*PLAIN, "output and gradients of nn.Conv2d with padding kernel // 2", values, gradients)),
    Check("B", "parameters", 0.5, parameters, ("CNN",)),
    Check("B", "shapes", 0.4, shapes, ("CNN",)),
    Check("B", "training", 0.3, training, ("CNN",)),
    Check("B", "weights", 0.3, weights, ("CNN",)),
    Check("C", "parameters", 0.5, parameters, ("UNet",)),
    Check("C", "shapes", 0.3, shapes, ("UNet",)),
    Check("C", "join-upconv1", 0.5, joins, ("UNet", "upconv1")),
    Check("C", "join-upconv2", 0.5, joins, ("UNet", "upconv2")),
    Check("C", "join-finalconv", 0.5, joins, ("UNet", "finalconv")),
    Check("C", "training", 0.4, training, ("UNet",)),
    Check("C", "weights", 0.3, weights, ("UNet",)),
    Check("D", "parameters", 0.2, parameters, ("DilatedUNet",)),
    Check("D", "shapes", 0.1, shapes, ("DilatedUNet",)),
    Check("D", "joins", 0.2, joins, ("DilatedUNet", *JOINS)),
    Check("D", "dilation", 0.3, middle, ("DilatedUNet",)),
    Check("D", "training", 0.1, training, ("DilatedUNet",)),
    Check("D", "weights", 0.1, weights, ("DilatedUNet",)),
    Check("G", "values", 0.3, convolutions, (*DILATED, "output of the library's dilation + 1", values)),
    Check("G", "gradients", 0.3, convolutions, (*DILATED, "gradients of the library's dilation + 1", gradients)),
    Check("G", "own", 0.4, undilated_calls),
]
