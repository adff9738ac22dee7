"""Choose what to compute on, with how many threads and in which precision, to get the most of a machine."""

import ctypes
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from colour.system import torchrun
from colour.system.cli import UserError


def pick_device(gpu: bool) -> torch.device:
    """Return the CPU, or with ``gpu`` the machine's accelerator; raise ``UserError`` if it has none.

    Where ``torchrun`` started several processes, each takes the GPU of its number. Call this before any thread
    starts: denormal numbers count as 0 from then on, because the gradients of very unlikely colours are denormal and
    made training three times slower.
    """
    for dtype in np.float32, np.float64:
        np.finfo(dtype)  # numpy looks at denormals once, and before 2.4 warned if they were gone
    torch.set_flush_denormal(True)
    _keep_freed_memory()
    if not gpu:
        torch.set_num_threads(min(torch.get_num_threads(), usable_cpus()))  # more would wait for each other
        return torch.device("cpu")
    if torch.cuda.is_available():
        torch.backends.cudnn.allow_tf32 = False  # float32 is to mean it: TF32 rounds inputs to 11 bits
        torch.backends.cudnn.deterministic = True  # so that a stopped training resumes exactly
        return torchrun.own_gpu()
    if torch.backends.mps.is_available():
        return torch.device("mps")
    raise UserError("PyTorch finds no GPU on this machine: leave out --gpu to run on the CPU")


def usable_cpus(root: str | Path = "/") -> int:
    """Return how many CPUs this process can keep busy, by its affinity and by the quotas of Linux's control groups.

    ``root`` is where proc/ and sys/ are. A quota holds for a group and all below it: containers, batch systems.
    """
    cpus = [len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1]
    with suppress(OSError, ValueError):  # another system
        for line in Path(root, "proc/self/cgroup").read_text().splitlines():
            _, controllers, group = line.split(":", 2)  # without controllers: version 2
            if not controllers or "cpu" in controllers.split(","):
                folder = Path(root, "sys/fs/cgroup", "cpu" if controllers else "", group.lstrip("/"))
                cpus += map(_quota, (folder, *folder.parents))
    return max(1, int(min(cpus)))


def _quota(folder: Path) -> float:
    """Return how many CPUs a control group may use, infinity if there is no limit."""
    for names in ["cpu.max"], ["cpu.cfs_quota_us", "cpu.cfs_period_us"]:
        with suppress(OSError, ValueError):  # no such file; "max"
            quota, period = (float(text) for name in names for text in (folder / name).read_text().split())
            if quota > 0:
                return quota / period
    return math.inf


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Let PyTorch compute with ``count`` threads in the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


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


def _keep_freed_memory() -> None:
    """Have glibc keep what one training step frees for the next one; other C libraries have no such setting.

    By default it returns thousands of pages a step to the system, each of which costs a page fault to come back.
    """
    trim_threshold, mmap_max = -1, -4  # as malloc.h numbers them
    with suppress(AttributeError, OSError, TypeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(trim_threshold, (1 << 31) - 1)
        mallopt(mmap_max, 0)
