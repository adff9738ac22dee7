"""What makes a training step fast: bfloat16 where it pays, and CUDA graphs."""

import math
import time
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import nn

from colour.system import torchrun
from colour.system.devices import threads


def replayed(step: Callable, device: torch.device, parameters: Sequence[nn.Parameter] = ()) -> Callable:
    """Return a function that does what ``step`` does, but launches all its work on a CUDA GPU at once.

    Launching hundreds of small operations takes the CPU longer than computing them takes the GPU. The first call with
    each shape of the first input runs normally, the second is captured as a CUDA graph, and later calls replay it on
    copies of the inputs. A call overwrites the results of the one before, and the gradients that it left in
    ``parameters``. ``step`` must do the same operations each time, and read no value from the GPU.
    """
    if device.type != "cuda" or torchrun.launched():
        return step
    graphs = {}

    def replay(*inputs: torch.Tensor | None):
        shape = inputs[0].shape
        if shape not in graphs:
            graphs[shape] = None
            return step(*inputs)
        if graphs[shape] is None:
            copies = [None if one is None else one.clone() for one in inputs]
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                results = step(*copies)
            graphs[shape] = graph, copies, results, [parameter.grad for parameter in parameters]
        graph, copies, results, gradients = graphs[shape]
        for copy, one in zip(copies, inputs, strict=True):
            if one is not None:
                copy.copy_(one)
        graph.replay()
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        return results

    return replay


def has_fast_bf16(device: torch.device) -> bool:
    """Tell whether convolutions are faster in bfloat16: GPUs say so, CPUs are timed.

    Some CPUs with AVX512-BF16 are twice as fast as in float32, others half as fast. One thread is timed, because its
    times hardly change beside other work.
    """
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type != "cpu":
        return False
    least = {torch.float32: math.inf, torch.bfloat16: math.inf}
    with threads(1):
        for dtype in [*least] * 20:
            x, weight = (torch.ones(shape).to(dtype, memory_format=torch.channels_last)
                         for shape in ((4, 64, 16, 16), (64, 64, 3, 3)))
            start = time.perf_counter()
            F.conv2d(x, weight, padding=1)
            least[dtype] = min(least[dtype], time.perf_counter() - start)
    return least[torch.bfloat16] < 0.8 * least[torch.float32]
