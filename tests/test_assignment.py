"""The checker: wrong solutions lose exactly the points of what is wrong, and nothing else happens.

Each is this project's own ``colourization.py`` with a few words exchanged.
"""

import json
import os
import subprocess
import sys

import pytest
import torch
from assignment import checks
from assignment.checks import CHECKS, Submission, outdated
from assignment.sandbox import Sandbox

from colour.files import ROOT
from colour.palette import Palette
from colourization import Data, evaluate, load_model, load_sets

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="the checker needs fork")

ALL = {check.id for check in CHECKS}
FORWARD = {"shapes", "training", "weights"}  # the checks that every network's forward is needed for
C_FORWARD = {f"C-{name}" for name in FORWARD | {"join-upconv1", "join-upconv2", "join-finalconv"}}
D_FORWARD = {f"D-{name}" for name in FORWARD | {"joins", "dilation"}}
UNETS = {"C-weights", "D-weights", "D-joins"}  # what a UNet with a wrong join loses beside that join

UPCONV1 = "up1 = self.upconv1(torch.cat([middle, down2], dim=1))"
DILATED_FORWARD = """        weight = self.dilated_weight()
        return F.conv2d(x, weight, self.bias, padding=weight.shape[-1] // 2)
"""
MIDDLE = "self.rfconv[0] = MyDilatedConv2d(2 * num_filters, 2 * num_filters, kernel, dilation)"
CNN_FORWARD = "up2 = self.upconv2(up1)"

WRONG = {  # what is exchanged, and the checks that are lost
    "a DilatedUNet that is a UNet": (MIDDLE, "pass", {"D-dilation", "D-weights"}),
    "dilation that does nothing":
        (DILATED_FORWARD, "        return super().forward(x)\n",
         {"D-dilation", "D-weights", "G-values", "G-gradients", "G-own"}),
    "one gap more": ("step = self.dilation + 1", "step = self.dilation + 2",
                     {"G-values", "G-gradients", "G-own", *D_FORWARD}),
    "a detached gradient": ("::step] = self.weight", "::step] = self.weight.data", {"G-gradients", "D-training"}),
    "the library's dilation":
        (DILATED_FORWARD, "        gaps = self.dilation + 1\n        return F.conv2d(x, self.weight, self.bias, "
                          "dilation=gaps, padding=self.weight.shape[-1] // 2 * gaps)\n", {"G-own"}),
    "the library's dilation, in the network alone":
        (MIDDLE, "self.rfconv[0] = nn.Conv2d(2 * num_filters, 2 * num_filters, kernel, dilation=2, padding=kernel - 1)",
         {"G-own"}),
    "the library's dilation as unfold":
        (DILATED_FORWARD, """        gaps, k = self.dilation + 1, self.weight.shape[-1]
        columns = F.unfold(x, k, dilation=gaps, padding=k // 2 * gaps)
        return (self.weight.flatten(1) @ columns).unflatten(2, x.shape[2:]) + self.bias[:, None, None]
""", {"G-own"}),
    "a join in the wrong order": (UPCONV1, UPCONV1.replace("middle, down2", "down2, middle"),
                                  {"C-join-upconv1", *UNETS}),
    "a join of another layer":
        (UPCONV1, UPCONV1.replace("down2]", "F.max_pool2d(torch.cat([down1, down1], dim=1), 2)]"),
         {"C-join-upconv1", *UNETS}),
    "a skip that is missing": ("torch.cat([up1, down1], dim=1)", "torch.cat([up1, up1], dim=1)",
                               {"C-join-upconv2", *UNETS}),
    "no grey at the end": ("torch.cat([up2, x], dim=1)", "torch.cat([up2, up2[:, :1]], dim=1)",
                           {"C-join-finalconv", *UNETS}),
    "wrong channels":
        ("""        self.rfconv = same_block(conv(2 * f, 2 * f, kernel), 2 * f)
        self.upconv1 = up_block(conv(2 * f, f, kernel), f)
""", """        self.rfconv = same_block(conv(2 * f, 4 * f, kernel), 4 * f)
        self.upconv1 = up_block(conv(4 * f, f, kernel), f)
""", {"B-parameters", "B-weights"}),
    "no padding": ("return F.conv2d(x, self.weight, self.bias, padding=self.weight.shape[-1] // 2)",
                   "return F.conv2d(x, self.weight, self.bias)",
                   {"B-convolution", "B-shapes", "B-training", "B-weights", *C_FORWARD, *D_FORWARD, "G-own"}),
    "too much memory": (CNN_FORWARD, "up2 = self.upconv2(up1) + torch.ones(1 << 31).sum()",
                        {f"B-{name}" for name in FORWARD}),
    "a crash": (CNN_FORWARD, "import ctypes; ctypes.string_at(0)", {f"B-{name}" for name in FORWARD}),
    "an exit that looks like success": (CNN_FORWARD, "import os; os._exit(0)", {f"B-{name}" for name in FORWARD}),
    "an endless loop": (CNN_FORWARD, "while True: pass", {f"B-{name}" for name in FORWARD}),
}


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox() as sandbox:
        yield sandbox


@pytest.fixture(scope="module", autouse=True)
def fewer_horses():
    """The given weights score on 100 test horses here, to save time."""
    palette = Palette.load()
    valid = load_sets("horse", None, None, torch.device("cpu"), palette)[1]
    few = Data(valid.images[:100], valid.labels[:100])
    figures = {name: evaluate(load_model(ROOT / "weights" / f"{name}.pkl", palette=palette)[0], few)["acc"]
               for name in checks.TRAINED.values()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checks, "SCORED", 100)
        patch.setattr(checks, "stated_accuracy", figures.get)
        yield


def own_source() -> str:
    return (ROOT / "colourization.py").read_text()


def submitted(sandbox, folder, source) -> Submission:
    path = folder / "colourization.py"
    path.write_text(source)
    return Submission(path, sandbox)


def lost(submission) -> dict[str, str]:
    """What was found where points are lost."""
    verdicts = {check.id: check(submission.ask) for check in CHECKS}
    return {name: verdict.found for name, verdict in verdicts.items() if verdict.complaints}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_solutions_lose_the_points_of_what_is_wrong(sandbox, tmp_path, monkeypatch, name):
    before, after, expected = WRONG[name]
    assert before in own_source()
    submission = submitted(sandbox, tmp_path, own_source().replace(before, after, 1))
    if name == "an endless loop":
        monkeypatch.setattr(sandbox, "seconds", 3)
    assert lost(submission).keys() == expected
