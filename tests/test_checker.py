"""The checker: every submission gets the points that a fair marker would give it, and nothing else happens.

The variants are a right solution, ``RIGHT``, with a few words exchanged.
"""

import csv
import itertools
import json
import os
import re
import sys
import time
from types import SimpleNamespace

import pytest
import torch

from colour.data.cifar10 import load_horses
from colour.jobs.checkpoints import load, load_network
from colour.learning.pictures import PictureSet
from colour.learning.task import Classification
from colour.learning.training import evaluate
from colour.palette import Palette
from colour.system.files import ROOT
from colourization import MODELS
from tests import forking
from tests.assignment import checks, conftest, looks, report
from tests.assignment import sandbox as sandbox_module
from tests.assignment.checks import AS_EXPECTED, CHECKS, Submission
from tests.assignment.loading import outdated
from tests.assignment.sandbox import Sandbox

pytestmark = [pytest.mark.skipif(not hasattr(os, "fork"), reason="the checker needs fork"),
              pytest.mark.xdist_group("checker")]  # they share a sandbox

RIGHT = '''
import argparse
import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from load_data import load_cifar10

class MyConv2d(nn.Module):
    def __init__(self, in_channels, out_channels, kernel_size):
        super(MyConv2d, self).__init__()
        bound = (in_channels * kernel_size ** 2) ** -0.5
        self.weight = nn.Parameter(torch.Tensor(out_channels, in_channels, kernel_size, kernel_size))
        self.bias = nn.Parameter(torch.Tensor(out_channels))
        self.weight.data.uniform_(-bound, bound)
        self.bias.data.uniform_(-bound, bound)
        self.padding = kernel_size // 2
    def forward(self, input):
        return F.conv2d(input, self.weight, self.bias, padding=self.padding)

class MyDilatedConv2d(MyConv2d):
    def __init__(self, in_channels, out_channels, kernel_size, dilation=1):
        super(MyDilatedConv2d, self).__init__(in_channels, out_channels, kernel_size)
        self.dilation = dilation
    def forward(self, input):
        step = self.dilation + 1
        k = self.weight.size(2)
        size = (k - 1) * step + 1
        filters = torch.zeros(self.weight.size(0), self.weight.size(1), size, size)
        filters[:, :, ::step, ::step] = self.weight
        return F.conv2d(input, filters, self.bias, padding=size // 2)

def block(conv, middle, channels):
    return nn.Sequential(*[conv] + middle + [nn.BatchNorm2d(channels), nn.ReLU()])

class CNN(nn.Module):
    def __init__(self, kernel, num_filters, num_colours):
        super(CNN, self).__init__()
        f = num_filters
        self.downconv1 = block(MyConv2d(1, f, kernel), [nn.MaxPool2d(2)], f)
        self.downconv2 = block(MyConv2d(f, 2 * f, kernel), [nn.MaxPool2d(2)], 2 * f)
        self.rfconv = block(MyConv2d(2 * f, 2 * f, kernel), [], 2 * f)
        self.upconv1 = block(MyConv2d(2 * f, f, kernel), [nn.Upsample(scale_factor=2)], f)
        self.upconv2 = block(MyConv2d(f, num_colours, kernel), [nn.Upsample(scale_factor=2)], num_colours)
        self.finalconv = MyConv2d(num_colours, num_colours, kernel)
    def forward(self, x):
        x = self.upconv2(self.upconv1(self.rfconv(self.downconv2(self.downconv1(x)))))
        return self.finalconv(x)

class UNet(nn.Module):
    def __init__(self, kernel, num_filters, num_colours):
        super(UNet, self).__init__()
        f = num_filters
        self.downconv1 = block(MyConv2d(1, f, kernel), [nn.MaxPool2d(2)], f)
        self.downconv2 = block(MyConv2d(f, 2 * f, kernel), [nn.MaxPool2d(2)], 2 * f)
        self.rfconv = block(MyConv2d(2 * f, 2 * f, kernel), [], 2 * f)
        self.upconv1 = block(MyConv2d(4 * f, f, kernel), [nn.Upsample(scale_factor=2)], f)
        self.upconv2 = block(MyConv2d(2 * f, num_colours, kernel), [nn.Upsample(scale_factor=2)], num_colours)
        self.finalconv = MyConv2d(num_colours + 1, num_colours, kernel)
    def forward(self, x):
        down1 = self.downconv1(x)
        down2 = self.downconv2(down1)
        rf = self.rfconv(down2)
        up1 = self.upconv1(torch.cat([rf, down2], 1))
        up2 = self.upconv2(torch.cat([up1, down1], 1))
        out = self.finalconv(torch.cat([up2, x], 1))
        return out

class DilatedUNet(UNet):
    def __init__(self, kernel, num_filters, num_colours):
        super(DilatedUNet, self).__init__(kernel, num_filters, num_colours)
        self.rfconv[0] = MyDilatedConv2d(2 * num_filters, 2 * num_filters, kernel, 1)

if __name__ == '__main__':
    load_cifar10()
'''
CONVOLUTIONS = RIGHT.split("class CNN")[0]  # a submission that is marked fast
UNET = "class UNet" + RIGHT.split("class UNet")[1].split("class DilatedUNet")[0]
CNN_RETURN = "return self.finalconv(x)"
DILATED = RIGHT.split("        self.dilation = dilation\n")[1].split("\ndef block")[0]
PLAIN_CALL = "return F.conv2d(input, self.weight, self.bias, padding=self.padding)"


def part(name: str) -> set[str]:
    return {check.id for check in CHECKS if check.part == name}


def with_forward(code: str) -> tuple[str, str]:
    return DILATED, "    def forward(self, input):\n" + "".join(f"        {line}\n" for line in code.splitlines())


def before_classes(code: str) -> tuple[str, str]:
    return "class MyConv2d", f"{code}\nclass MyConv2d"


def at_the_end(code: str) -> tuple[str, str]:
    return "    load_cifar10()\n", f"    load_cifar10()\n{code}\n"


SIZES = "B-kernel", "B-filters", "B-colours"

# What is exchanged in a right solution, and the checks that are lost.
FULL = {
    "a right solution": [],
    "Python 2 print below the main guard": [at_the_end("    print 'Epoch %d' % 1,")],
    "async below the main guard": [at_the_end("    x = x.cuda(async=True)")],
    "Python 2 after the classes":
        [("if __name__", "def train():\n    try:\n        pass\n    except ValueError, e:\n        print e\n\n"
                         "if __name__")],
    "Python 2 before the classes": [before_classes("def shown(x):\n    print 'x', x\n    return `x`\n")],
    "print in a graded method": [("        down1 =", "        print x.size()\n        down1 =")],
    "a helper whose body is missing": [before_classes("def todo():\n    # later\n")],
    "an old coding line": [("\nimport argparse", "# -*- coding: latin-1 -*-\n# caf\xe9\nimport argparse")],
    "modules that are gone":
        [("import argparse", "import six, argparse\nimport cPickle, torch\nfrom scipy.misc import imread")],
    "magics": [before_classes("%matplotlib inline\n!pip install six\nget_ipython().magic('x')")],
    "arguments parsed": [before_classes("args = argparse.ArgumentParser().parse_args()")],
    "a palette of its author's": [before_classes("colours = np.load('colours/colour_kmeans24_cat7.npy')")],
    "an exit at the end": [("if __name__", "import sys\nsys.exit(1)\nif __name__")],
    "xrange": [("        f = num_filters", "        for f in xrange(num_filters + 1): pass")],
    "tabs of Python 2": [("        out = self.finalconv", "\tout = self.finalconv")],
    "more arguments with defaults":
        [("num_colours):\n        super(CNN", "num_colours, in_channels=1, pool=2):\n        super(CNN")],
    "blocks called by forward": [("self.rfconv(down2)", "self.rfconv.forward(down2)"),
                                 ("self.upconv2(torch", "self.upconv2.forward(torch")],
    "blocks called layer by layer":
        [("down2 = self.downconv2(down1)", "d = down1\n        for layer in self.downconv2: d = layer.forward(d)\n"
                                           "        down2 = d")],
    "functional ReLU": [
        ("nn.BatchNorm2d(channels), nn.ReLU()])", "nn.BatchNorm2d(channels)])"),
        ("x = self.upconv2(self.upconv1(self.rfconv(self.downconv2(self.downconv1(x)))))",
         "for name in ['downconv1', 'downconv2', 'rfconv', 'upconv1', 'upconv2']:\n"
         "            x = F.relu(getattr(self, name)(x))"),
        ("down1 = self.downconv1(x)", "down1 = F.relu(self.downconv1(x))"),
        ("down2 = self.downconv2(down1)", "down2 = F.relu(self.downconv2(down1))"),
        ("rf = self.rfconv(down2)", "rf = F.relu(self.rfconv(down2))"),
        ("self.upconv1(torch.cat([rf, down2], 1))", "F.relu(self.upconv1(torch.cat([rf, down2], 1)))"),
        ("self.upconv2(torch.cat([up1, down1], 1))", "F.relu(self.upconv2(torch.cat([up1, down1], 1)))")],
    "a thread of its own": [before_classes(
        "import threading\nready = []\nthread = threading.Thread(target=ready.append, args=[1])\n"
        "thread.start(); thread.join(); ready[0]")],
    "torch.kron": [("filters[:, :, ::step, ::step] = self.weight", "comb = torch.zeros(step, step); comb[0, 0] = 1"), (
        "return F.conv2d(input, filters", "filters = torch.kron(self.weight, comb)[:, :, :size, :size]\n        "
                                          "return F.conv2d(input, filters")],
    "another name for the dilation": [("kernel_size, dilation=1):", "kernel_size, d=1):"), ("= dilation\n", "= d\n")],
    "a block looked for that is not there":
        [("        up1 =", "        if getattr(self, 'rfconv2', None): raise ValueError\n        up1 =")],
    "blocks in a list, too":
        [("num_colours + 1, num_colours, kernel)\n", "num_colours + 1, num_colours, kernel)\n        self.shown = "
                                                    "[self.downconv1, self.rfconv]\n")],
    "nn.Module's __init__, too":
        [("super(UNet, self).__init__()", "nn.Module.__init__(self); super(UNet, self).__init__()")],
    "a script of its own": [before_classes("@torch.jit.script\ndef joined(a, b):\n    return torch.cat([a, b], 1)\n"),
                            ("torch.cat([up2, x], 1)", "joined(up2, x)")],
    "a default for the kernel": [("in_channels, out_channels, kernel_size):\n        super(MyConv2d",
                                  "in_channels, out_channels, kernel_size=3):\n        super(MyConv2d")],
    "its convolution in forward": [("        return out\n", "        assert isinstance(self.finalconv, MyConv2d) and "
                                    "self.finalconv.padding >= 1\n        return out\n")],
    "another name for the convolution": [("MyConv2d", "OwnConv2d")],
}
CNN_BODY = RIGHT.split("class CNN(nn.Module):\n")[1].split("\nclass UNet")[0]
UNET_BODY = UNET.split("class UNet(nn.Module):\n")[1].removesuffix("\n")
UNET_FORWARD = UNET_BODY.split("    def forward(self, x):\n")[1]
EMPTY = """    def __init__(self, kernel, num_filters, num_colours):
        super().__init__()
    def forward(self, x):
        pass
"""
ZEROS = """    def __init__(self, kernel, num_filters, num_colours):
        super().__init__()
        pass
    def forward(self, x):
        return x.new_zeros(len(x), 24, 32, 32)
"""
LOSES = {
    "24 hard-coded": ([("        f = num_filters", "        f, num_colours = num_filters, 24")], {"B-colours"}),
    "24 hard-coded in the UNet": ([("MyConv2d(num_colours + 1, num_colours", "MyConv2d(num_colours + 1, 24")],
                                  {"B-colours"}),
    "3x3 only": ([("self.padding = kernel_size // 2", "self.padding = 1"), ("padding=size // 2", "padding=step")],
                 {"B-kernel", "G-others"}),
    "3x3 only in the networks": ([("MyConv2d(2 * f, 2 * f, kernel)", "MyConv2d(2 * f, 2 * f, 3)")], {"B-kernel"}),
    "G left as it was": ([with_forward("raise NotImplementedError('question G')")], part("G")),
    "G left blank": ([with_forward("pass")], part("G")),
    "G without its class": ([("class MyDilatedConv2d(MyConv2d):" + RIGHT.split("class MyDilatedConv2d(MyConv2d):")[1]
                              .split("def block")[0], ""), ("MyDilatedConv2d(2", "MyConv2d(2"),
                             ("kernel, 1)", "kernel)")], part("G")),
    "G by the library": ([with_forward("return F.conv2d(input, self.weight, self.bias, dilation=self.dilation + 1,"
                                       " padding=self.padding * (self.dilation + 1))")], part("G")),
    "G by the library, in a thread": ([with_forward('''import threading, _thread
done = []
step = self.dilation + 1
work = lambda: done.append(F.conv2d(input, self.weight, self.bias, dilation=step, padding=step))
thread = threading.Thread(target=work)
thread.start()
thread.join()
return done[0]''')], part("G")),
    "G by the library, in a thread of the lower module": ([with_forward('''import _thread
done, ended = [], _thread.allocate_lock()
step = self.dilation + 1
def work():
    try:
        done.append(F.conv2d(input, self.weight, self.bias, dilation=step, padding=step))
    finally:
        ended.release()
ended.acquire()
_thread.start_new_thread(work, ())
ended.acquire()
return done[0]''')], part("G")),
    "G by the library's unfold": ([with_forward('''gaps, k = self.dilation + 1, self.weight.shape[-1]
columns = F.unfold(input, k, dilation=gaps, padding=k // 2 * gaps)
return (self.weight.flatten(1) @ columns).unflatten(2, input.shape[2:]) + self.bias[:, None, None]''')], part("G")),
    "G that does not dilate": ([with_forward(PLAIN_CALL)], part("G")),
    "the library's dilation in the network": ([
        ("self.rfconv[0] = MyDilatedConv2d(", "self.rfconv[0] = nn.Conv2d("),
        ("kernel, 1)", "kernel, dilation=2, padding=kernel - 1)")], set()),
    "a DilatedUNet that is a UNet": ([("self.rfconv[0] = MyDilatedConv2d", "MyDilatedConv2d")], set()),
    "dilations of at least 1 only": ([("step = self", "assert self.dilation > 0; step = self")], {"G-others"}),
    "PyTorch's numbering": ([("step = self.dilation + 1", "step = self.dilation")], {"G-numbering"}),
    "a filter from weight.data": ([("::step] = self.weight", "::step] = self.weight.data")], {"G-gradients"}),
    "a new parameter in forward": ([("return F.conv2d(input, filters,", "self.weight = nn.Parameter(self.weight.data); "
                                     "filters = filters.detach().clone(); filters[:, :, ::step, ::step] = self.weight; "
                                     "return F.conv2d(input, filters,")], {"G-gradients"}),
    "a filter made a parameter": ([("return F.conv2d(input, filters,", "filters = nn.Parameter(filters.data); "
                                    "return F.conv2d(input, filters,")], {"G-gradients"}),
    "a dilated filter that shrinks the picture": ([("padding=size // 2", "padding=self.padding")], {"G-output"}),
    "all joins swapped": ([("torch.cat([rf, down2], 1)", "torch.cat([down2, rf], 1)"), ("torch.cat([up1, down1], 1)",
                           "torch.cat([down1, up1], 1)"), ("torch.cat([up2, x], 1)", "torch.cat([x, up2], 1)")],
                          {"C-weights"}),
    "networks on nn.Conv2d": ([
        (f"MyConv2d({sizes}, kernel)", f"nn.Conv2d({sizes}, kernel, padding=kernel // 2)") for sizes in (
            "1, f", "f, 2 * f", "2 * f, 2 * f", "2 * f, f", "4 * f, f", "f, num_colours", "2 * f, num_colours",
            "num_colours, num_colours", "num_colours + 1, num_colours")], {"B-convolution"}),
    "forward returns None": ([(CNN_RETURN, "self.finalconv(x)")], {"B-forward"}),
    "forward returns a tuple": ([("return out", "return out, down1")], {"C-forward"}),
    "a batch of one is squeezed": ([(CNN_RETURN, "return self.finalconv(x).squeeze()")], {"B-forward"}),
    "a join of another layer": ([("[rf, down2]", "[rf, F.max_pool2d(torch.cat([down1, down1], 1), 2)]")],
                                {"C-join-upconv1"}),
    "a skip that is missing": ([("[up1, down1]", "[up1, up1]")], {"C-join-upconv2"}),
    "no grey at the end": ([("[up2, x]", "[up2, up2[:, :1]]")], {"C-join-finalconv"}),
    "wrong channels": ([("self.rfconv = block(MyConv2d(2 * f, 2 * f, kernel), [], 2 * f)\n        self.upconv1 = block("
                         "MyConv2d(2 * f, f", "self.rfconv = block(MyConv2d(2 * f, 4 * f, kernel), [], 4 * f)\n        "
                         "self.upconv1 = block(MyConv2d(4 * f, f")], {"B-layers"}),
    "other names of blocks": ([(f"self.{name}", f"self.my_{name}") for name in checks.BLOCKS],
                              {"B-layers", "C-layers"}),
    "a layer without parameters is missing": ([("nn.BatchNorm2d(channels), nn.ReLU()])", "nn.BatchNorm2d(channels)])")],
                                              {"B-weights", "C-weights"}),
    "no padding": ([("self.padding = kernel_size // 2", "self.padding = 0")], {"B-convolution"}),
    "a plain filter from weight.data":
        ([(PLAIN_CALL, PLAIN_CALL.replace("self.weight", "self.weight.data"))], {"B-convolution"}),
    "a hidden copy of a layer":
        ([("self.rfconv(self.downconv2", "__import__('copy').deepcopy(self.rfconv)(self.downconv2")], {"B-training"}),
    "question C not done": ([(UNET, "class UNet(nn.Module):\n    def __init__(self, kernel, filters, num_colours):\n"
                                    "        raise NotImplementedError('question C')\n\n")],
                            part("C")),
    "a class that is not Python": ([("self.downconv2(down1)", "self.downconv2(down1")], part("C")),
    "too much memory": ([(CNN_RETURN, "return self.finalconv(x) + torch.ones(1 << 31).sum()")],
                        {"B-forward", "B-training", "B-weights", *SIZES}),
    "a crash": ([(CNN_RETURN, "import ctypes; ctypes.string_at(0)")],
                {"B-forward", "B-training", "B-weights", *SIZES}),
    "an exit that looks like success": ([(CNN_RETURN, "import os; os._exit(0)")],
                                        {"B-forward", "B-training", "B-weights", *SIZES}),
    "an endless loop": ([(CNN_RETURN, "while True: pass")],
                        {"B-forward", "B-training", "B-weights", *SIZES}),
}
LOSES |= {
    # what is not there earns nothing
    "empty networks": ([(CNN_BODY, EMPTY), (UNET_BODY, EMPTY)], part("B") | part("C")),
    "networks of zeros": ([(CNN_BODY, ZEROS), (UNET_BODY, ZEROS)], part("B") | part("C")),
    "a network of one layer": ([(CNN_BODY, ZEROS.replace("pass", "self.finalconv = MyConv2d(1, num_colours, kernel)")
                                 .replace("x.new_zeros(len(x), 24, 32, 32)", "self.finalconv(x)"))], part("B")),
    "a UNet that is a CNN": ([(UNET, "class UNet(CNN):\n    pass\n\n")], part("C")),
    "a UNet without joins": ([(f"torch.cat([{a}, {b}], 1)", f"torch.cat([{a}, {c}], 1)") for a, b, c in (
        ("rf", "down2", "rf"), ("up1", "down1", "up1"), ("up2", "x", "up2[:, :1]"))], part("C") - {"C-layers"}),
    "a UNet without forward": ([(UNET_FORWARD, "        pass\n")], part("C") - {"C-layers"}),
    "G squared": ([with_forward(PLAIN_CALL.replace("self.weight", "self.weight ** 2"))], part("G")),
    "G plain, then nonsense":
        ([with_forward(PLAIN_CALL.replace("self.weight", "self.weight ** self.dilation"))], part("G")),
    "G from memory that is not set": ([("filters = torch.zeros(", "filters = torch.empty(")], part("G")),
    "G of endless size": ([("filters, self.bias, padding=size // 2)",
                            "filters, self.bias, padding=size // 2).repeat(1, 1, 1, 900)")], part("G")),
    "an own convolution that is the library's": ([("class MyConv2d(nn.Module)", "class MyConv2d(nn.Conv2d)"), (
        "__init__()\n        bound", "__init__(in_channels, out_channels, kernel_size, padding=kernel_size // 2)\n"
                                    "        bound"), (PLAIN_CALL, "return super().forward(input)"),
        ("        self.padding = kernel_size // 2\n", "")], {"B-convolution"}),
    # one mistake costs once
    "super().__init__() forgotten in the CNN": ([("        super(CNN, self).__init__()\n", "")], {"B-layers"}),
    "super().__init__() forgotten in the UNet": ([("        super(UNet, self).__init__()\n", "")], {"C-layers"}),
    "an argument that MyConv2d does not have":
        ([("self.rfconv = block(MyConv2d(2 * f, 2 * f, kernel), [], 2 * f)\n        self.upconv1 = block(MyConv2d(4",
           "self.rfconv = block(MyConv2d(2 * f, 2 * f, kernel, padding=1), [], 2 * f)\n        self.upconv1 = block("
           "MyConv2d(4")], {"C-layers"}),
    "a block of wrong channels that is never called": ([
        ("(2 * f, num_colours, kernel)", "(f, num_colours, kernel)"),
        ("self.upconv2(torch.cat([up1, down1], 1))",
         "F.interpolate(torch.cat([up1, down1], 1)[:, :24], scale_factor=2)")],
        {"C-layers", "C-join-upconv2", "C-join-finalconv"}),
    "a last layer without bias":
        ([("kernel)\n    def forward(self, x):\n        x = self",
           "kernel)\n        self.finalconv.bias = None\n    def forward(self, x):\n        x = self")], {"B-layers"}),
    "a convolution that is never set":
        ([("        self.weight.data.uniform_(-bound, bound)\n", "")], {"B-convolution"}),
    "super().__init__() too late": ([("        super(CNN, self).__init__()\n", ""), (
        "kernel)\n    def forward(self, x):\n        x =",
        "kernel)\n        super(CNN, self).__init__()\n    def forward(self, x):\n        x =")], {"B-layers"}),
    "super().__init__() forgotten in MyConv2d":
        ([("        super(MyConv2d, self).__init__()\n", "")], {"B-convolution"}),
    "parameters of other names": ([("self.weight", "self.W"), ("self.bias", "self.b")], {"B-convolution", *part("G")}),
    "a misspelt block in forward": ([("self.rfconv(down2)", "self.rfcon(down2)")], {"C-forward"}),
    "a misspelt block in __init__": ([("self.downconv1 = block(MyConv2d(1, f, kernel), [nn.MaxPool2d(2)], f)\n        "
                                       "self.downconv2", "self.downcnov1 = block(MyConv2d(1, f, kernel), "
                                       "[nn.MaxPool2d(2)], f)\n        self.downconv2")], {"B-layers", "C-layers"}),
    "a join without a list": ([("torch.cat([rf, down2], 1)", "torch.cat(rf, down2, 1)")], {"C-join-upconv1"}),
    "a join of nothing but two": ([("torch.cat([up2, x], 1)", "torch.cat(up2, x)")], {"C-join-finalconv"}),
    "a join in two lists": ([("torch.cat([up1, down1], 1)", "torch.cat([[up1, down1]], 1)")], {"C-join-upconv2"}),
    "a join with its arguments exchanged":
        ([("torch.cat([rf, down2], 1)", "torch.cat(1, [rf, down2])")], {"C-join-upconv1"}),
    "zeros for all skips": ([(f"torch.cat([{a}, {b}], 1)", f"torch.cat([{a}, torch.zeros_like({b})], 1)") for a, b in (
        ("rf", "down2"), ("up1", "down1"), ("up2", "x"))], part("C") - {"C-layers"}),
    "zeros for the grey": ([("[up2, x]", "[up2, torch.zeros_like(x)]")], {"C-join-finalconv"}),
    "a product for a join, and channels that fit": ([("torch.cat([up1, down1], 1)", "up1 * down1"), (
        "MyConv2d(2 * f, num_colours", "MyConv2d(f, num_colours")], {"C-join-upconv2"}),
    "no grey, and channels that fit": ([("torch.cat([up2, x], 1)", "up2"), (
        "MyConv2d(num_colours + 1, num_colours", "MyConv2d(num_colours, num_colours")], {"C-join-finalconv"}),
    "a block called in place of the next":
        ([("self.upconv2(torch.cat([up1, down1], 1))", "self.upconv1(torch.cat([up1, down1], 1))")], {"C-forward"}),
    "a block called twice": ([("self.rfconv(self.downconv2(", "self.rfconv(self.rfconv(self.downconv2("),
                              ("(self.downconv1(x)))))", "(self.downconv1(x))))))")], {"B-forward"}),
    "a skip changed in place": ([("        rf = self.rfconv(down2)", "        rf = self.rfconv(down2)\n"
                                 "        down2 *= 1")], {"C-training"}),
    "an output that is cut off": ([(CNN_RETURN, "return self.finalconv(x).detach()")], {"B-training"}),
    "an input without its channels":
        ([("x = self.upconv2(", "x = x.squeeze(1)\n        x = self.upconv2(")], {"B-forward"}),
    "a norm of other channels": ([("[], 2 * f)\n        self.upconv1 = block(MyConv2d(2 * f",
                                   "[], f)\n        self.upconv1 = block(MyConv2d(2 * f")], {"B-layers"}),
    "a comma at the end of a line": ([("self.finalconv = MyConv2d(num_colours, num_colours, kernel)",
                                       "self.finalconv = MyConv2d(num_colours, num_colours, kernel),")], {"B-layers"}),
    "a class with other capitals":
        ([("class UNet(", "class Unet("), ("super(UNet,", "super(Unet,"), ("(UNet)", "(Unet)")], {"C-layers"}),
    "G in float64": ([("    filters = torch.zeros(", "    filters = torch.zeros(dtype=torch.float64, size=("),
                      ("size, size)\n        filters", "size, size))\n        filters"), (
        "F.conv2d(input, filters, self.bias,", "F.conv2d(input.double(), filters, self.bias.double(),")], {"G-output"}),
    "G with a filter of an even size": ([("size = (k - 1) * step + 1", "size = k * step")], {"G-output"}),
    "G flipped": ([("= self.weight\n        return", "= self.weight.flip(2, 3)\n        return")], {"G-output"}),
    "G transposed":
        ([("= self.weight\n        return", "= self.weight.transpose(2, 3)\n        return")], {"G-output"}),
    "channels for 32 filters": ([("MyConv2d(2 * f, f", "MyConv2d(64, f")], {"B-filters"}),
    "num_filters ignored": ([("        f = num_filters", "        f = 32")], {"B-filters"}),
    "a crash in the UNet": ([("        down1 =", "        raise ValueError('oops')\n        down1 =")],
                            part("C") - {"C-layers"}),
    "a crash at the end of the UNet":
        ([("torch.cat([up2, x], 1)", "torch.cat([up2, y], 1)")],
         {"C-forward", "C-training", "C-weights", "C-join-finalconv"}),
    "a join along the pictures": ([("[rf, down2], 1", "[rf, down2], 0")], {"C-join-upconv1"}),
    "a join along the rows": ([("[up1, down1], 1", "[up1, down1], dim=2")], {"C-join-upconv2"}),
    "a last join along the pictures": ([("[up2, x], 1", "[up2, x]")], {"C-join-finalconv"}),
    "all joins along the pictures": ([(f"], 1))\n        {after}", f"]))\n        {after}") for after in (
        "up2", "out", "return")], {f"C-join-{block}" for block in checks.JOINS}),
    "a join by torch.stack": ([("torch.cat([rf, down2], 1)", "torch.stack([rf, down2], 1)")], {"C-join-upconv1"}),
    "a block without gradients": ([("        down2 = self", "        with torch.no_grad():\n            down2 = self")],
                                  {"C-training"}),
    "a block without pooling": ([("down2 = self.downconv2(down1)", "down2 = self.downconv2[0](down1)")], {"C-forward"}),
    "filters and colours exchanged": ([("num_filters, num_colours):\n        super(CNN", "num_colours, num_filters):\n"
                                        "        super(CNN")], {"B-layers"}),
    "noise at the end": ([(CNN_RETURN, "return self.finalconv(x) + torch.rand(1)")], {"B-forward"}),
    "a join of another size": ([("[rf, down2]", "[rf, down1]")], {"C-join-upconv1"}),
    "a sum for a join": ([("torch.cat([rf, down2], 1)", "rf + down2")], {"C-join-upconv1"}),
    "too few channels for a join": ([("(2 * f, num_colours, kernel)", "(f, num_colours, kernel)")], {"C-layers"}),
    "the last block of the UNet": ([("return out\n", "return up2\n"), ("out = self.finalconv", "out = ")],
                                   {"C-join-finalconv"}),
    "the last block of the CNN": ([(CNN_RETURN, "return x")], {"B-forward"}),
    "a block left out": ([("self.rfconv(self.downconv2(self.downconv1(x)))", "self.downconv2(self.downconv1(x))")],
                         {"B-forward"}),
    "joins detached": ([("[up1, down1]", "[up1, down1.detach()]")], {"C-training"}),
    "G without bias": ([("F.conv2d(input, filters, self.bias,", "F.conv2d(input, filters, None,")], {"G-output"}),
    "G with its bias twice": ([("return F.conv2d(input, filters,", "return self.bias[:, None, None] + F.conv2d(input, "
                                "filters,")], {"G-output"}),
    "G that repeats the border": ([("F.conv2d(input, filters, self.bias, padding=size // 2)", "F.conv2d(F.pad(input, "
                                    "[size // 2] * 4, mode='replicate'), filters, self.bias)")], {"G-output"}),
    "G for 3x3 and dilation 1 alone": ([("step = self.dilation + 1", "step = 2"), ("size = (k - 1) * step + 1",
                                        "size = 5")], {"G-numbering", "G-others"}),
    "G for dilation 1 alone": ([("step = self", "assert self.dilation == 1; step = self")], {"G-numbering"}),
    "G built in __init__": ([("        self.dilation = dilation\n", """        self.dilation = dilation
        step, size = dilation + 1, kernel_size * (1 + dilation) - dilation
        self.filters = torch.zeros(out_channels, in_channels, size, size)
        self.filters[:, :, ::step, ::step] = self.weight.detach()
"""), ("F.conv2d(input, filters", "F.conv2d(input, self.filters")], {"G-gradients"}),
    # messages
    "softmax at the end": ([(CNN_RETURN, "return F.softmax(self.finalconv(x), 1)")], {"B-forward"}),
    "ReLU at the end": ([("        return out\n", "        return F.relu(out)\n")], {"C-forward"}),
    "argmax at the end": ([("        return out\n", "        return out.argmax(1)\n")], {"C-forward"}),
    "bilinear upsampling": ([("nn.Upsample(scale_factor=2)", "nn.Upsample(scale_factor=2, mode='bilinear')")],
                            {"B-weights", "C-weights"}),
    "lists of layers": ([("return nn.Sequential(*[conv] + middle + [nn.BatchNorm2d(channels), nn.ReLU()])",
                          "return [conv] + middle + [nn.BatchNorm2d(channels), nn.ReLU()]"),
                         ("x = self.upconv2(self.upconv1(self.rfconv(self.downconv2(self.downconv1(x)))))",
                          "for name in ['downconv1', 'downconv2', 'rfconv', 'upconv1', 'upconv2']:\n"
                          "            for layer in getattr(self, name): x = layer(x)"),
                         (UNET_FORWARD, re.sub(r"(self\.(?:up|down|rf)conv.?)\(", r"run(\1, ", UNET_FORWARD)),
                         before_classes("def run(layers, x):\n    for layer in layers: x = layer(x)\n    return x\n")],
                        {"B-layers", "C-layers"}),
    "another order": ([("[conv] + middle + [nn.BatchNorm2d(channels), nn.ReLU()]",
                        "[conv, nn.BatchNorm2d(channels)] + middle + [nn.ReLU()]")], {"B-layers", "C-layers"}),
    "the last layer in a Sequential": ([("self.finalconv = MyConv2d(num_colours, num_colours, kernel)",
                                         "self.finalconv = nn.Sequential(MyConv2d(num_colours, num_colours, kernel))")],
                                       {"B-layers"}),
}
SAID = {  # a part of what is said of some
    "24 hard-coded": "in CNN(3, 32, 10) and UNet(3, 32, 10), upconv2 makes 24 channels, should be 10 (K)",
    "G left as it was": "in MyDilatedConv2d(2, 4, 3, 1) and MyDilatedConv2d(2, 4, 3, 3), question G",
    "G left blank": "in MyDilatedConv2d(2, 4, 3, 1) and MyDilatedConv2d(2, 4, 3, 3), forward returns None",
    "G without its class": "there is no class MyDilatedConv2d",
    "G by the library": "the library's: the sheet gives no credit",
    "PyTorch's numbering": "in MyDilatedConv2d(2, 4, 3, 1), PyTorch's numbering: your dilation 1 is our 0",
    "a filter from weight.data": "no gradient reaches self.weight",
    "a dilated filter that shrinks the picture": "1 pixel of padding, should be 2: the size changes",
    "all joins swapped": "the joins have another order in upconv1, upconv2, finalconv",
    "networks on nn.Conv2d": "in CNN(3, 32, 24) and UNet(3, 32, 24), downconv1.0, downconv2.0, rfconv.0, upconv1.0, "
                             "upconv2.0, finalconv: nn.Conv2d in place of your own MyConv2d",
    "forward returns None": "in CNN(3, 32, 24), forward returns None, should return a tensor",
    "forward returns a tuple": "forward returns a tuple",
    "a batch of one is squeezed": "the output for 1x1x32x32 is 24x32x32, should be 1x24x32x32",
    "a skip that is missing": "in UNet(3, 32, 24), upconv2 sees upconv1, should see upconv1 and downconv1",
    "wrong channels": "rfconv makes 128 channels, should be 64 (2f); upconv1 takes 128 channels, should be 64 (2f)",
    "other names of blocks": "upconv1, upconv2, finalconv: there is no block of that name",
    "a layer without parameters is missing": "rfconv: order is convolution, BatchNorm2d, ReLU, found MyConv2d, BatchN",
    "no padding": "0 pixels of padding, should be 1: the size changes",
    "a class that is not Python": "in UNet(3, 32, 24), there is no class UNet: line ",
    "an endless loop": "no answer within",
    "a crash": "in CNN(3, 32, 24), it crashed (SIGSEGV)",
    "a UNet that is a CNN": "upconv1 takes 64 channels, should be 128 (4f); upconv2 takes 32 channels",
    "G from memory that is not set": "the output is NaN: memory is used that nothing has set",
    "G of endless size": "the output for 2x2x14x13 is 2x4x14x11700",
    "channels for 32 filters": "in CNN(3, 8, 24), upconv1 takes 64 channels, should be 16 (2f)",
    "super().__init__() forgotten in the UNet": "in UNet(3, 32, 24), __init__ does not begin with super().__init__()",
    "super().__init__() forgotten in MyConv2d": "in MyConv2d(2, 4, 3), __init__ does not begin with super().__init__()",
    "a convolution that is never set": "self.weight is never set",
    "an argument that MyConv2d does not have":
        "in UNet(3, 32, 24), MyConv2d.__init__() got an unexpected keyword argument 'padding'",
    "a misspelt block in forward": "in UNet(3, 32, 24), forward uses self.rfcon, should be self.rfconv",
    "a join without a list": "upconv1 sees 2x64x8x8 and 2x64x8x8, not given as torch.cat([a, b], dim=1): join",
    "zeros for all skips": "in UNet(3, 32, 24), upconv1 sees rfconv and constants, should see rfconv and downconv2",
    "a product for a join, and channels that fit": "upconv2 sees upconv1, should see upconv1 and downconv1",
    "a block called in place of the next": "in UNet(3, 32, 24), forward calls upconv1 2 times",
    "a block called twice": "in CNN(3, 32, 24), forward calls rfconv 2 times",
    "a skip changed in place": "in UNet(3, 32, 24), forward changes the output of a layer in place, as += and *= do",
    "an output that is cut off": "in CNN(3, 32, 24), what forward returns is cut off",
    "an input without its channels": "downconv1 sees 2x32x32, should see 2x1x32x32 (pictures, channels, rows, columns)",
    "a norm of other channels": "in CNN(3, 32, 24), rfconv: rfconv.1.weight is 32, should be 64",
    "a comma at the end of a line": "finalconv: found a tuple: is there a comma at the end of its line?",
    "a class with other capitals": "in UNet(3, 32, 24), the class is called Unet, should be UNet",
    "G in float64": "the output is torch.float64, should be torch.float32",
    "G with a filter of an even size": "the size changes: is the filter of an even size?",
    "G flipped": "in MyDilatedConv2d(2, 4, 3, 1) and MyDilatedConv2d(2, 4, 3, 3), self.weight is flipped",
    "a join along the pictures": "upconv1 sees 4x64x8x8, should see 2x128x8x8 (pictures, channels, rows, columns)",
    "a join of another size": "upconv1 sees 2x64x8x8 and 2x32x16x16, which torch.cat cannot join: join rfconv and ",
    "the last block of the UNet": "in UNet(3, 32, 24), forward never calls finalconv",
    "joins detached": "in UNet(3, 32, 24), no gradient flows from upconv2 back to downconv1",
    "a DilatedUNet that is a UNet": "in DilatedUNet(3, 32, 24), rfconv.0 is not MyDilatedConv2d",
    "all joins along the pictures": "finalconv sees 2x24x32x32 and 2x1x32x32, which torch.cat cannot join",
    "G without bias": "the output is not the filter's plus self.bias",
    "G built in __init__": "the filter is built in __init__",
    "softmax at the end": "in CNN(3, 32, 24), forward returns the softmax of finalconv",
    "ReLU at the end": "in UNet(3, 32, 24), forward returns the ReLU of finalconv's output",
    "bilinear upsampling": "found MyConv2d, Upsample(mode='bilinear'), BatchNorm2d, ReLU",
    "lists of layers": "downconv1, downconv2, rfconv, upconv1, upconv2: should be nn.Sequential, found a Python list",
    "another order": "downconv1, downconv2: order is convolution, MaxPool2d, BatchNorm2d, ReLU, found MyConv2d, ",
    "the last layer in a Sequential": "finalconv: should be a convolution alone, found Sequential of MyConv2d",
}


@pytest.fixture(scope="module")
def sandbox():
    """One worker for all submissions. To save time it has less memory, and the given weights score on 40 test horses.

    Our own networks say what they score there.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("A_SECRET", "hush")
        patch.setattr(checks, "SCORED", 40)
        patch.setattr(sandbox_module, "MEGABYTES", 512)
        forking.start_server()  # a sandbox ends the processes that start after it
        patch.setattr(checks, "stated_accuracy", {name: accuracy(name) for name in checks.WEIGHTS.values()}.get)
        with Sandbox() as sandbox:
            yield sandbox


def accuracy(name: str) -> float:
    """Return what given weights score on the test horses that are scored here."""
    network, _ = load_network(load(ROOT / "weights" / f"{name}.pkl"), MODELS)
    task, images = Classification(Palette.load()), torch.from_numpy(load_horses()[1][:checks.SCORED])
    return evaluate(network, PictureSet(images).labelled(task), task)["acc"]


def changed(edits) -> str:
    source = RIGHT
    for before, after in edits:
        assert before in source
        source = source.replace(before, after)
    return source


def submitted(sandbox, folder, source, name="colourization.py") -> Submission:
    (folder / name).write_text(source, encoding="latin-1")
    submission = Submission(folder / name)
    submission.look(sandbox)
    return submission


def result(submission) -> dict:
    return report.report(submission, "it", {check.id: check(submission.ask) for check in CHECKS})


def lost(marked: dict) -> set[str]:
    return {f"{row['part']}-{row['check']}" for row in marked["checks"] if not row["passed"] and row["of"]}


ALONE = "a right solution", "functional ReLU", "another name for the convolution"


@pytest.mark.parametrize("names", [*([name] for name in ALONE), [name for name in FULL if name not in ALONE]],
                         ids=lambda names: f"{len(names)}: {names[0]} ...")
def test_open_questions_cost_nothing(sandbox, tmp_path, names):
    marked = result(submitted(sandbox, tmp_path, changed([edit for name in names for edit in FULL[name]])))
    assert report.complaints(marked) == {} and marked["points"] == 6


def mistakes_together():
    """One mistake each of B, C and G, as long as there are some; those that touch several parts are alone."""
    of_part = {letter: [name for name, (_, lost) in LOSES.items() if lost and lost <= part(letter)] for letter in "BCG"}
    together = [[name for name in names if name] for names in itertools.zip_longest(*of_part.values())]
    return together + [[name] for name in LOSES if name not in itertools.chain(*together)]


@pytest.mark.parametrize("names", mistakes_together(), ids=" and ".join)
def test_each_mistake_costs_once(sandbox, tmp_path, monkeypatch, names):
    if "an endless loop" in names:
        monkeypatch.setattr(sandbox, "seconds", 16)
    marked = result(submitted(sandbox, tmp_path, changed([edit for name in names for edit in LOSES[name][0]])))
    expected = set().union(*(LOSES[name][1] for name in names))
    assert lost(marked) == expected
    assert marked["points"] == pytest.approx(6 - sum(check.points for check in CHECKS if check.id in expected))
    lines = report.table(marked)
    assert len(lines) <= 35 and all(line.isprintable() and len(line) < 1100 for line in lines)
    for name in names:
        assert any(SAID.get(name, "") in line for line in lines)
    assert not any("KeyError" in line or "no sense" in line for line in lines)


OLD_HELPER = """from __future__ import print_function
import os, six
from six.moves import cPickle
from scipy.misc import imresize
import numpy as np

def load_cifar10(path=None):
    return np.zeros(3)

mine = 'mine'
print "loaded"
"""


def test_old_helper_files(sandbox, tmp_path):
    (tmp_path / "load_data.py").write_text(OLD_HELPER)
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "__init__.py").write_text("import cPickle\nsize = 2\n")
    source = changed([("import argparse", "from load_data import *\nfrom load_data import mine\n"
                                          "from parts import size\nimport colour_regression, colour.palette"),
                      ("nn.MaxPool2d(2)", "nn.MaxPool2d(size * len(mine) // 4)")])
    marked = result(submitted(sandbox, tmp_path, source))
    assert marked["points"] == 6
    notes = [note for note in marked["notes"] if note.startswith("load_data.py line 2")]
    assert len(notes) == 1 and notes[0].startswith("load_data.py line 2, `import os, six`: ModuleNotFoundError")
    assert any(note.startswith("__init__.py line 1, `import cPickle`") for note in marked["notes"])
    assert any("load_data.py line 4" in note for note in marked["notes"])
    assert not any("No module named 'colour" in note for note in marked["notes"])
    lines = report.table(marked)
    assert sum("write Python 3" in line for line in lines) >= 1
    assert {path.name for path in tmp_path.iterdir()} == {"colourization.py", "load_data.py", "parts"}


def test_classes_in_another_file(sandbox, tmp_path):
    (tmp_path / "models.py").write_text(changed(LOSES["a crash"][0]).replace("ctypes.string_at(0)", "x.no_such_thing"))
    marked = result(submitted(sandbox, tmp_path, "from models import *\n"))
    assert lost(marked) == LOSES["a crash"][1]
    assert report.complaints(marked)["B-forward"].startswith("in CNN(3, 32, 24), models.py line ")
    assert "x.no_such_thing`: AttributeError" in report.complaints(marked)["B-forward"]


def test_own_files_come_first(sandbox, tmp_path):
    """Whatever they are called: as modules of the checker, or of Python. The file itself is one that Notepad saved."""
    names = "loading", "looks", "processes", "worker", "checks", "profile", "queue", "statistics", "json"
    for name in names:
        (tmp_path / f"{name}.py").write_text("half = 1\n")
    imports = "".join(f"from {name} import half\n" for name in names)
    (tmp_path / "colourization.py").write_text(
        changed([("import argparse", f"{imports}import argparse"), ("nn.MaxPool2d(2)", "nn.MaxPool2d(2 * half)")]),
        encoding="utf-16")
    submission = Submission(tmp_path / "colourization.py")
    submission.look(sandbox)
    assert (marked := result(submission))["points"] == 6 and marked["notes"] == []


@pytest.mark.parametrize("where", [
    "load_data.__file__", "sys._getframe(4).f_code.co_filename", "looks_for_it"])
def test_reference_cannot_be_imported(sandbox, tmp_path, where):
    """Neither by its name nor by the place of a module that is known."""
    code = f"""import importlib.util, load_data, sys
from pathlib import Path
sys.modules.pop('colourization')
looks_for_it = [path for path in Path({str(ROOT)!r}).iterdir()][0]
for folder in Path({where}).resolve().parents:
    if (folder / 'colourization.py').exists():
        sys.path.insert(0, str(folder))
"""
    for last in "from colourization import *", "exec((folder / 'colourization.py').read_text())":
        marked = result(submitted(sandbox, tmp_path, f"{code}        {last}\n" if "exec" in last else f"{code}{last}\n",
                                  "mine.py"))
        assert marked["points"] == 0 and marked["notes"]


FORGED = """
import json, os
forged = json.dumps({"look": "CNN layers", "saw": [], "result": "{}", "stopped": "", "output": "", "points": 7}) + "\\n"
print(forged, flush=True)
for descriptor in range(64):
    try:
        os.write(descriptor, forged.encode())
    except OSError:
        pass
os._exit(0)
"""
AT_IMPORT = {  # what a submission does when it is imported, and what is said of it
    "import os; os._exit(0)": "it ended without an answer",
    "import os; os._exit(7)": "it exited",
    "import sys; sys.exit()": "there is no class CNN",
    "import os\nwhile True: os.write(1, bytes(1 << 20))": "File too large",
    "import torch\nkept = []\nwhile True: kept.append(torch.ones(1 << 24))": "can't allocate memory",
    "import mmap\nkept = mmap.mmap(-1, 1 << 33)": "Cannot allocate memory",
    FORGED: "it ended without an answer",
    "import no_such_helper": "line 1, `import no_such_helper`: ModuleNotFoundError",
    "raise ValueError('\\33[2J' + '\\a' * 5000)": "`: ValueError: [2J",
    "x.cuda(async=True)": "non_blocking",
    "print 'Epoch'": "Missing parentheses",
    "import torch\nloss = torch.tensor(1.).data[0]": "`loss.item()`",
    "import os\nraise ValueError(os.environ.get('A_SECRET'), os.listdir())": "ValueError: (None, [])",
    "import os\nos.read(0, 1)[0]": "IndexError",
    "from colourization import CNN": "cannot import name 'CNN' from",
    "\x00\x01\x02\n" * 100: "",
    "(" * 100_000: "",
    "x = 1\n" * 200_000: "larger than a megabyte",
    "PK\3\4 a zip": "this is an archive: unpack it first",
    '{\n "cells": []}': "this is a notebook: export it as colourization.py",
    "\n<!DOCTYPE html>": "this is a web page: save the Python file itself",
    "%PDF-1.4": "this is a PDF",
    "\n".join(f"class A{n}(:\n    pass" for n in range(300)): "SyntaxError",
}


@pytest.mark.parametrize("source", AT_IMPORT, ids=lambda source: source[:40])
def test_failures_at_import(sandbox, tmp_path, source):
    marked = result(submitted(sandbox, tmp_path, source))
    assert marked["points"] == 0 and lost(marked) == part("B") | part("C") | part("G")
    lines = report.table(marked)
    assert any(AT_IMPORT[source] in line for line in lines)
    assert len(lines) <= 35 and all(line.isprintable() and len(line) < 600 for line in lines)


GREEDY = {
    "shared by many": ("""
import mmap, os, time
for _ in range(3):
    if not os.fork():
        kept = mmap.mmap(-1, 250 << 20)
        kept.write(bytes(250 << 20))
        time.sleep(60)
time.sleep(60)
""", "it took more than 512 MB of memory"),
    "many files": ("""
for number in range(100):
    with open(str(number), "wb") as file:
        file.write(bytes(15 << 20))
import time; time.sleep(60)
""", "it wrote more than 256 MB"),
    "one file": ("open('large', 'wb').write(bytes(32 << 20))", "File too large"),
    "many processes": ("import subprocess\nfor _ in range(100): subprocess.Popen(['sleep', '60'])\nwhile True: pass",
                       "it started more than 64 processes"),
}


@pytest.mark.parametrize("name", GREEDY)
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux says what processes take")
def test_limits_of_resources(sandbox, tmp_path, name):
    source, said = GREEDY[name]
    submission = submitted(sandbox, tmp_path, source)
    start = time.monotonic()
    found = next(check for check in CHECKS if check.id == "B-layers")(submission.ask).found
    assert said in found or any(said in note for note in submission.notes)
    assert time.monotonic() - start < 60


def test_long_import_is_interrupted(sandbox, tmp_path, monkeypatch):
    monkeypatch.setattr(sandbox, "seconds", 24)
    source = changed([before_classes("import time; time.sleep(60)")]) + "while True: pass\n"
    submission = submitted(sandbox, tmp_path, source)
    assert all(check(submission.ask).found == AS_EXPECTED for check in CHECKS if check.part == "G")
    assert sum("took too long" in note for note in submission.notes) == 2


@pytest.mark.parametrize("end, session, said", [
    ("pass", "", "there is no class CNN"), ("pass", "os.setsid()", "there is no class CNN"),
    ("os.kill(os.getppid(), signal.SIGKILL)", "os.setsid()", "ended the process that watches"),
    ("os.kill(os.getppid(), signal.SIGSTOP)", "os.setsid()", "ended the process that watches")])
def test_nothing_is_left_running(sandbox, tmp_path, monkeypatch, end, session, said):
    monkeypatch.setattr(sandbox, "seconds", 2 if "STOP" in end else 16)
    monkeypatch.setattr(sandbox_module, "GRACE", 1)
    traces = tmp_path / "traces"
    marked = result(submitted(sandbox, tmp_path, f"""
import os, signal, time
def leave_traces():
    while True:
        open({str(traces)!r}, "a").write(".")
        time.sleep(0.01)
if not os.fork():
    {session or "pass"}
    if not os.fork():
        leave_traces()
    os._exit(0)
while not os.path.exists({str(traces)!r}): time.sleep(0.01)
if {end!r} != "pass":
    {end}
    leave_traces()
"""))
    assert marked["points"] == 0
    assert said in report.complaints(marked)["B-layers"]
    size = traces.stat().st_size
    time.sleep(0.5)
    assert traces.stat().st_size == size > 0


@pytest.mark.parametrize("losses, still", [([3.2, 3.1, 3.0], []), ([3.2, 1, float("nan")], []),
                                           ([3.2, 2, 1], ["rfconv.0.weight"]), ([3.2], []), ("7 points", [])])
def test_network_that_does_not_learn(losses, still):
    check = next(check for check in CHECKS if check.name == "training")
    right = {"losses": [3.2, 2, 1], "still": [], "blocks": checks.BLOCKS, "channels": [[-1]] * 6, "cut": [],
             "joined": []}
    assert not check(lambda _: right).complaints
    assert check(lambda _: {**right, "losses": losses, "still": still}).complaints


def test_points_are_those_of_the_sheet():
    points = {part: sum(check.points for check in CHECKS if check.part == part) for part in "BCDG"}
    assert points == pytest.approx({"B": 2, "C": 3, "D": 0, "G": 1})
    assert len({check.id for check in CHECKS}) == len(CHECKS)


def test_outdated_lines_are_named(tmp_path):
    path = tmp_path / "old.py"
    path.write_text("loss = f(x)\nx = Variable(x, volatile=True)\ntotal += loss.data[0]\nprint (1)\n")
    assert [line.split(":")[0] for line in outdated(path)] == ["line 2", "line 3"]
    assert outdated(ROOT / "colourization.py") == []


# ------------------------------------------------------------------------------------------------
# The command


def checker(*arguments):
    return forking.run(["-m", "pytest", "-p", "no:cacheprovider", *arguments])


def test_command_prints_a_table_and_writes_the_points(tmp_path):
    edits = [edit for name in ("a filter from weight.data", "a DilatedUNet that is a UNet") for edit in LOSES[name][0]]
    source = changed(edits) + "\n# x.cuda(async=True)\n"
    (tmp_path / "wrong.py").write_text(source)
    done = checker("tests/assignment", "--submission", tmp_path, "--csv", tmp_path / "points.csv",
                   "--points", tmp_path / "new" / "points.json", "--gradescope", tmp_path / "results.json")
    assert done.returncode == 1
    said = "in MyDilatedConv2d(2, 4, 3, 1) and MyDilatedConv2d(2, 4, 3, 3), no gradient reaches self.weight"
    assert f"\nG  gradients        0.0 of 0.4   {said}\n" in done.stdout
    assert "\nD  network           (shown)    in DilatedUNet(3, 32, 24), rfconv.0 is not" in done.stdout
    assert " 1 failed, " in done.stdout
    assert "5.6 of 6.0 points: B 2.0 of 2.0, C 3.0 of 3.0, G 0.6 of 1.0\nwrong.py is marked: " in done.stdout
    assert "\noutdated, line" in done.stdout and done.stdout.count("\n") <= 40 and done.stderr == ""
    points = json.loads((tmp_path / "new" / "points.json").read_text())
    assert (points["points"], points["of"], points["parts"]["G"]) == (5.6, 6, [0.6, 1])
    rows = {f"{row['part']}-{row['check']}": row for row in points["checks"]}
    assert rows.keys() == {check.id for check in CHECKS}
    assert rows["G-gradients"] == {"part": "G", "check": "gradients", "points": 0, "of": 0.4, "passed": False,
                                   "expected": rows["G-gradients"]["expected"], "found": said}
    row, = csv.DictReader((tmp_path / "points.csv").open())
    assert row == {"submission": str(tmp_path / "wrong.py"), "B": "2.0", "C": "3.0", "G": "0.6", "points": "5.6",
                   "of": "6.0", "lost": f"G-gradients: {said}",
                   "notes": "wrong.py is marked: there is no colourization.py"}
    marked = json.loads((tmp_path / "results.json").read_text())
    assert marked["score"] == pytest.approx(sum(test["score"] for test in marked["tests"])) == 5.6
    assert sum(test["max_score"] for test in marked["tests"]) == pytest.approx(6)
    assert [test["name"] for test in marked["tests"] if test["status"] == "failed"] == ["G-gradients"]


def test_verdicts_come_from_other_processes_too(tmp_path):
    (tmp_path / "colourization.py").write_text(CONVOLUTIONS)
    checker("tests/assignment", "--submission", tmp_path / "colourization.py", "--csv", tmp_path / "points.csv",
            "-n", "1")
    row, = csv.DictReader((tmp_path / "points.csv").open())
    assert row["points"] == "1.0" and "G" not in row["lost"]


def test_a_partial_run_writes_no_marks(tmp_path):
    options = {"points": tmp_path / "points.json", "csv": tmp_path / "points.csv"}
    config = SimpleNamespace(stash={conftest.FILES: [(tmp_path / "colourization.py",)], conftest.ALONE: True},
                             getoption=lambda name, default=None: options.get(name, default))
    results, session = conftest.Results(config), SimpleNamespace(exitstatus=0)
    results.verdicts[0] = {"B-layers": (AS_EXPECTED, [], "")}
    results.pytest_sessionfinish(session)
    assert results.lines[-1] == f"a partial run, 1 of {len(CHECKS)} checks: no marks are written"
    assert session.exitstatus == pytest.ExitCode.USAGE_ERROR and list(tmp_path.iterdir()) == []


def test_tabs_that_python_refuses_are_noted(sandbox, tmp_path):
    marked = result(submitted(sandbox, tmp_path, changed(FULL["tabs of Python 2"])))
    assert marked["points"] == 6 and "TabError" in marked["notes"][0]


def test_what_runs_when_it_is_imported_writes_nothing_here(sandbox, tmp_path):
    """Our training stands in, if a submission came without, and would save in outputs/."""
    before = {path.name for path in (ROOT / "outputs").iterdir()}
    train = f"import sys\nfrom colour.system.cli import folder_for\nfolder_for({str(ROOT / 'outputs')!r}, '--outdir')\n"
    submission = submitted(sandbox, tmp_path, f"{CONVOLUTIONS}\n{train}sys.exit(1)\n")
    line, last = submission.notes
    assert "cannot write in the folder" in line and "sys.exit(1)`: SystemExit: 1" in last
    assert "put it under `if __name__ == '__main__':`" in report.table(result(submission))[-1]
    assert {path.name for path in (ROOT / "outputs").iterdir()} == before


def test_an_empty_class_is_a_mistake(tmp_path):
    with pytest.raises(conftest.UserError, match="there is nothing in"):
        conftest.chosen([tmp_path], [], False)


def test_worst_submission_takes_few_lines(sandbox, tmp_path):
    source = "\n".join(f"import missing_{n}" for n in range(30)) + changed(
        [edit for name in ("PyTorch's numbering", "a filter from weight.data", "all joins swapped", "wrong channels",
                           "forward returns a tuple", "24 hard-coded", "no padding") for edit in LOSES[name][0]])
    marked = result(submitted(sandbox, tmp_path, source))
    assert len(marked["notes"]) == 30 and len(report.table(marked)) <= 30
    assert not any(line.startswith("see ") for line in report.complaints(marked).values())


@pytest.mark.parametrize("name", ["=1+1", "-1", "+1", "@SUM(1)"])
def test_spreadsheet_computes_no_name(name):
    marked = {"submission": name, "points": 0, "of": 6, "parts": {"B": [0, 2]},
              **dict.fromkeys(["checks", "about", "notes"], [])}
    assert report.csv_text([marked]).splitlines()[1].startswith(f"'{name},0,0,6")


def trap(folder, name, source=RIGHT):
    """A submission beside which everything lies that pytest would import, and which says so where it is."""
    (folder / name).mkdir(parents=True)
    for file in "conftest.py", "test_it.py", "colourization.py":
        (folder / name / file).write_text(
            f"import sys\nif 'pytest' in sys.modules:\n    open({str(folder / 'sprung')!r}, 'a').write(__file__)\n"
            + (source if file == "colourization.py" else ""))
    return folder / name / "colourization.py"


def test_class_has_a_row_each(tmp_path):
    """A folder, and then one more file, as a shell writes them out for ``--submission */colourization.py``."""
    trap(tmp_path / "class", "ann", "")
    trap(tmp_path / "class", "test_bob", CONVOLUTIONS)
    (tmp_path / "class" / "zoe").mkdir()
    eve = trap(tmp_path, "eve", CONVOLUTIONS.replace("filters[:, :, ::step, ::step] = self.weight", ""))
    done = checker("tests/assignment", "--submission", tmp_path / "class", eve, "--csv", tmp_path / "points.csv")
    assert done.returncode == 1 and not [*tmp_path.rglob("sprung")]
    rows = list(csv.DictReader((tmp_path / "points.csv").open()))
    assert [(row["submission"].removeprefix(str(tmp_path)), row["points"]) for row in rows] == [
        ("/class/ann/colourization.py", "0"), ("/class/test_bob/colourization.py", "1.0"), ("/class/zoe", "0"),
        ("/eve/colourization.py", "0")]
    assert f"{tmp_path}/class/test_bob/colourization.py: 1.0 of 6.0 points: B 0.0 of 2.0" in done.stdout
    assert "/class/zoe: 0.0 of 6.0 points: B 0.0 of 2.0, C 0.0 of 3.0, G 0.0 of 1.0; there is no" in done.stdout


CLASSES = "class CNN:\n    pass\n"
HANDED_IN = {  # the files of a student, which of them is marked, and what is said
    "right": ({"colourization.py": CLASSES, "models.py": CLASSES}, "colourization.py", ""),
    "misnamed": ({"colorization.py": CLASSES, "helper.py": "x = 1"}, "colorization.py", "colorization.py is marked"),
    "downloaded": ({"colourization (1).py": CLASSES}, "colourization (1).py", "there is no colourization.py"),
    "saved": ({"colourization.py.py": CLASSES.encode("utf-16")}, "colourization.py.py", "is marked"),
    "part of it": ({"a.py": f"{CLASSES}class UNet:\n    pass\n", "b.py": CLASSES}, "a.py", "a.py is marked, not b.py"),
    "nested": ({"colourization.py": CLASSES, "old/colourization.py": CLASSES}, "colourization.py", ""),
    "in a folder": ({"a2/colourization.py": CLASSES, "a2/old/colourization.py": ""}, "a2/colourization.py", ""),
    "two": ({"a.py": CLASSES, "b.py": CLASSES}, "", "a.py and b.py have the classes: hand in one file"),
    "nothing": ({}, "", "there is no colourization.py, and no other Python file that has the classes"),
    "other": ({"helper.py": "x = 1"}, "", "there is no colourization.py, and no other Python file that"),
    "notebook": ({"colourization.ipynb": '{"cells": []}'}, "", "a notebook: export it as colourization.py"),
    "zip": ({"a2.zip": "PK\3\4"}, "", "a2.zip: this is an archive: unpack it first"),
}


@pytest.mark.parametrize("alone", [True, False])
def test_what_is_marked_of_a_class(tmp_path, alone):
    for name, (files, _, _) in HANDED_IN.items():
        (tmp_path / name).mkdir()
        for file, content in files.items():
            (tmp_path / name / file).parent.mkdir(exist_ok=True, parents=True)
            (tmp_path / name / file).write_bytes(content if isinstance(content, bytes) else content.encode())
    if not alone:
        for name in "carol.py", "dave.ipynb":  # beside the folders
            (tmp_path / name).write_text(CLASSES)
        first, second, *found = conftest.chosen([tmp_path], [], False)
        assert first == (tmp_path / "carol.py",) and second == (tmp_path / "dave.ipynb",)
    for name in sorted(HANDED_IN):
        (path, *said), = conftest.chosen([tmp_path / name], [], True) if alone else [found.pop(0)]
        _, marked, words = HANDED_IN[name]
        assert path == tmp_path / name / marked and words in "".join(said) and bool(said) == bool(words)
        assert len(said) == (2 if not marked else 1 if words else 0)
    assert alone or not found


def test_several_of_one_student_are_no_submission(tmp_path):
    for name in "a", "b":
        (tmp_path / name).mkdir()
        (tmp_path / name / "colourization.py").write_text(CLASSES)
    (path, _, said), = conftest.chosen([tmp_path], [], True)
    assert path == tmp_path and said == "there are a/colourization.py and b/colourization.py: hand in one file, " \
                                        "colourization.py"
    assert len(conftest.chosen([tmp_path], [], False)) == 2


@pytest.mark.parametrize("order", [
    ["tests/assignment", "--submission=A", "B"], ["--submission=A", "tests/assignment", "B"],
    ["--submission", "A", "B"], ["B", "--submission", "A"]])
def test_nothing_else_is_imported(tmp_path, order):
    files = {"A": trap(tmp_path, "ann"), "B": trap(tmp_path, "bob")}
    for folder in "ann", "bob":
        (tmp_path / folder / "conftest.py").unlink()  # of the first path pytest imports it before ours
    done = checker(*[argument.replace("A", str(files["A"])) if "-" in argument else files.get(argument, argument)
                     for argument in order])
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "tests/assignment" not in order or "name tests/assignment first" in done.stderr
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("arguments, said", [
    (["nowhere.py"], "there is no file nowhere.py"),
    (["colourization.py", "--points", "weights"], "weights is a folder")])
def test_mistake_of_a_user_is_one_line(arguments, said):
    done = checker("tests/assignment", "--submission", *arguments)
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert done.stdout == "" and done.stderr.strip().count("\n") == 0
    assert done.stderr.startswith(f"ERROR: {said}")


def test_gradescope_marks_one_submission(tmp_path):
    done = checker("tests/assignment", "--submission", "colourization.py", "colourization.py", "--gradescope",
                   tmp_path / "results.json")
    assert done.returncode == pytest.ExitCode.USAGE_ERROR and "--gradescope is for one submission" in done.stderr
    marked = json.loads((tmp_path / "results.json").read_text())
    assert marked["score"] == 0 and "for one submission" in marked["output"]


def test_gradescope_is_told_of_a_missing_file(tmp_path):
    done = checker("tests/assignment", "--submission", tmp_path, "--gradescope", tmp_path / "results.json")
    assert done.returncode == 1
    marked = json.loads((tmp_path / "results.json").read_text())
    assert marked["score"] == 0 and "there is no colourization.py" in marked["output"]


@pytest.mark.parametrize("shape", [(2, 3, 14, 12013), (2, 3, 5000, 13), (0,), (1, 1, 1, 1, 1)])
def test_answer_of_any_size_costs_no_time(shape):
    answer = {"output": torch.zeros(shape).tolist(), "start": [[1]] * 1000}
    start = time.monotonic()
    assert checks.recognised(answer, 3) is None
    assert time.monotonic() - start < 2


def test_convolution_that_is_put_in():
    """It is the library's, with the gaps counted as on the sheet."""
    conv, x = torch.nn.Conv2d(2, 3, 3, padding=4, dilation=4), torch.rand(1, 2, 9, 8)
    assert torch.equal(looks.convolved(conv, 3, x), conv(x))
