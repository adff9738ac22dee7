"""Choose what to compute on, and with how many threads."""

import ctypes
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import psutil
import torch

from colour.system import torchrun
from colour.system.cli import UserError


def pick_device(gpu: bool) -> torch.device:
    """Return the CPU, or with ``gpu`` the machine's accelerator; raise ``UserError`` if it has none.

    Where ``torchrun`` started several processes, each takes the GPU of its number. Call this before any thread
    starts: denormal numbers count as 0 from then on. The gradients of very unlikely colours are denormal; with them, a
    step of a trained UNet in float32 takes 1.7 (32 filters) to 2.8 times (16 filters) as long.
    """
    for dtype in np.float32, np.float64:
        np.finfo(dtype)  # numpy looks at denormals once, and before 2.4 warned if they were gone
    torch.set_flush_denormal(True)
    _keep_freed_memory()
    if not gpu:
        torch.set_num_threads(free_threads())
        return torch.device("cpu")
    if torch.cuda.is_available():
        torch.backends.cudnn.allow_tf32 = False  # fp32 means all 24 bits: TF32 rounds inputs to 11
        torch.backends.cudnn.deterministic = True  # so that a stopped training resumes exactly
        return torchrun.own_gpu()
    if torch.backends.mps.is_available():
        return torch.device("mps")
    raise UserError("PyTorch finds no GPU on this machine: leave out --gpu to run on the CPU")


def free_threads() -> int:
    """Return how many threads to compute with: one for each CPU that is idle now, at least one.

    Threads wait for each other after every operation, so one that has to share its CPU holds up all: beside two busy
    processes on two CPUs, a step of the UNet at batch 10 takes 30 times as long with two threads as with one. The
    other processes are watched for 0.2 s. ``OMP_NUM_THREADS`` decides if it is set.
    """
    most = torch.get_num_threads()
    if "OMP_NUM_THREADS" in os.environ or most == 1:
        return most
    idle = psutil.cpu_count() * (1 - psutil.cpu_percent(interval=0.2) / 100)
    return max(1, min(most, usable_cpus(), round(idle)))


def use_threads(count: object) -> None:
    """Compute with ``count`` threads, if that is a number of threads: another number rounds sums differently.

    ``OMP_NUM_THREADS`` decides if it is set.
    """
    if "OMP_NUM_THREADS" not in os.environ and type(count) is int and 0 < count <= 1024:
        torch.set_num_threads(count)


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


def _keep_freed_memory() -> None:
    """Have glibc keep what one training step frees for the next one; other C libraries have no such setting.

    By default it returns thousands of pages a step to the system, each of which costs a page fault to come back. A step
    of the UNet takes 1.05 to 1.2 times as long then where page faults are dear; on an Intel Xeon (model 207), it does
    not take longer.
    """
    trim_threshold, mmap_max = -1, -4  # as malloc.h numbers them
    with suppress(AttributeError, OSError, TypeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(trim_threshold, (1 << 31) - 1)
        mallopt(mmap_max, 0)
