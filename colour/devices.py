"""What to compute on, and in what, to get the most of a machine."""

import ctypes
import os
import time
from contextlib import suppress

import numpy as np
import torch
import torch.nn.functional as F

from colour import torchrun
from colour.cli import UserError


def pick_device(gpu: bool) -> torch.device:
    """The CPU, or with ``gpu`` the machine's accelerator; ``UserError`` if it has none.

    Where ``torchrun`` started several processes, each takes the GPU of its number. Call this first:
    denormal numbers count as 0 in the threads that the CPU's work starts from then on.
    Gradients of colours out of the question are denormal, and made training three times slower.
    """
    for dtype in np.float32, np.float64:
        np.finfo(dtype)  # numpy looks at denormals once, and before 2.4 warned if they were gone
    torch.set_flush_denormal(True)
    _keep_freed_memory()
    if not gpu:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        torch.set_num_threads(min(torch.get_num_threads(), cores))  # more only get in each other's way
        return torch.device("cpu")
    if torch.cuda.is_available():
        torch.backends.cudnn.allow_tf32 = False  # float32 is to mean it: TF32 rounds inputs to 11 bits
        return torchrun.own_gpu()
    if torch.backends.mps.is_available():
        return torch.device("mps")
    raise UserError("PyTorch finds no GPU on this machine: leave out --gpu to run on the CPU")


def has_fast_bf16(device: torch.device) -> bool:
    """Whether convolutions are faster in bfloat16: GPUs are asked, CPUs are timed.

    What a CPU says of itself is not enough: with AVX512-BF16 some are twice as fast as in float32, others half
    as fast. In one thread the times are the same beside other work.
    """
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type != "cpu":
        return False
    least = {torch.float32: float("inf"), torch.bfloat16: float("inf")}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    for _ in range(20):
        for dtype in least:
            x, weight = (torch.ones(shape).to(dtype, memory_format=torch.channels_last)
                         for shape in ((4, 64, 16, 16), (64, 64, 3, 3)))
            start = time.perf_counter()
            F.conv2d(x, weight, padding=1)
            least[dtype] = min(least[dtype], time.perf_counter() - start)
    torch.set_num_threads(threads)
    return least[torch.bfloat16] < 0.8 * least[torch.float32]


def _keep_freed_memory() -> None:
    """Have the C library keep what one training step frees for the next one.

    By default, glibc returns the end of its heap, and all that is larger than 32 MB, to the system: thousands of
    pages a step, each of which costs a page fault to come back. Other C libraries have no such setting.
    """
    trim_threshold, mmap_max = -1, -4  # as malloc.h numbers them
    with suppress(AttributeError, OSError, TypeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(trim_threshold, (1 << 31) - 1)
        mallopt(mmap_max, 0)
