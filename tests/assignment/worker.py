"""Runs submissions, each group of looks at one in a new process that is bounded and ended with all that it started.

Started by ``sandbox``. It reads questions, lines of JSON, from standard input and writes answers to standard output.
It has imported torch and never a submission; a fork of it does that, looks (see ``looks``) and says what it saw.
"""

import importlib
import inspect
import json
import os
import random
import resource
import signal
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
from torch import nn

from . import forgiving, looks, processes
from .loading import MAX_SOURCE, Wrong, explain, load

MAX_FILE = 16 << 20  # bytes that a submission may print, or write into a file
MAX_ANSWER = 8 << 20  # bytes of its answers that are read
MAX_WRITTEN = 256 << 20  # bytes that it may write into files together
MAX_PROCESSES = 64
HEAVY = {"matplotlib": "matplotlib.pyplot", "sklearn": "sklearn.cluster", "skimage": "skimage.io", "scipy": "scipy.io",
         "torchvision": "torchvision", "pandas": "pandas", "PIL": "PIL.Image"}


def import_heavy(folder: Path) -> None:
    """Import what takes long and what the files of a submission name, once for all forks."""
    text = "".join(file.read_text(errors="replace") for file in folder.glob("*.py") if file.stat().st_size < MAX_SOURCE)
    for name, module in HEAVY.items():
        if name in text:
            with suppress(Exception):
                importlib.import_module(module)


def limit(megabytes: int) -> None:
    """Limit files and memory of this process; memory that it shares, or only reserves, counts, too."""
    pages = Path("/proc/self/statm")
    limits = {"FSIZE": MAX_FILE, "CORE": 0}
    if pages.exists():  # torch reserves far more than it uses, but it has done so by now
        limits["AS"] = int(pages.read_text().split()[0]) * resource.getpagesize() + (megabytes << 20)
    for name, value in limits.items():
        resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (value, value))


def answer(submission, questions, seconds, megabytes, folder, output, result):
    """In the forked process: close every way out but ``result``, import, look, and end."""
    os.chdir(folder)
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    for descriptor in 1, 2:
        os.dup2(output.fileno(), descriptor)
    forgiving.begin()
    limit(megabytes)

    def say(**reply):
        result.write(json.dumps(reply).encode() + b"\n")
        result.flush()

    try:
        module, notes = load(submission, seconds)
        say(notes=notes)
        for name, look, case in questions:
            for library in random, np.random:
                library.seed(0)
            torch.manual_seed(0)
            try:
                say(look=name, saw=getattr(looks, look)(module, **case))
            except BaseException as error:
                say(look=name, error=explain(error, submission))
    except BaseException as error:
        say(error=explain(error, submission))
    for stream in sys.stdout, sys.stderr:
        with suppress(Exception):
            stream.flush()


def excess(megabytes: int, base: int) -> str:
    """Say which limit the processes of a submission exceed; "" if none."""
    pids = processes.descendants(os.getpid())
    if len(pids) > MAX_PROCESSES:
        return f"it started more than {MAX_PROCESSES} processes"
    if sum(max(0, processes.memory(pid) - base) for pid in pids) > megabytes << 20:
        return f"it took more than {megabytes} MB of memory"
    if sum(map(processes.written, pids)) > MAX_WRITTEN:
        return f"it wrote more than {MAX_WRITTEN >> 20} MB"
    return ""


def ask(submission, questions, seconds, patience, megabytes):
    """Take looks in a process of its own; then end that process and all that it started.

    It has so many seconds together, and its import and each look as many as ``patience``.
    """
    import_heavy(Path(submission).parent)
    with (tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, tempfile.TemporaryFile() as output,
          tempfile.TemporaryFile() as result):
        pid = os.fork()
        if not pid:
            try:
                os.setsid()
                answer(submission, questions, 0.8 * patience, megabytes, folder, output, result)
            finally:
                os._exit(0)
        print(pid, flush=True)  # should this process be ended, its child can be, too
        base, start, turns, stopped = processes.memory("self"), time.monotonic(), 0, ""
        said, heard = 0, start
        while not (ended := os.waitpid(pid, os.WNOHANG))[0] and not stopped:
            time.sleep(0.005)
            turns += 1
            now, before, said = time.monotonic(), said, os.fstat(result.fileno()).st_size
            heard = now if said != before else heard
            stopped = (f"no answer within {min(patience, seconds):.0f} seconds" if now > heard + patience else
                       f"its {seconds:.0f} seconds are over" if now > start + seconds else
                       excess(megabytes, base) if turns % 20 == 0 else "")
        with suppress(ProcessLookupError, PermissionError):  # nobody is left of its group
            os.killpg(pid, signal.SIGKILL)
        if stopped:
            ended = os.waitpid(pid, 0)
        processes.end_descendants()
        if status := os.waitstatus_to_exitcode(ended[1]):
            stopped = stopped or ("it exited" if status > 0 else f"it crashed ({signal.Signals(-status).name})")
        result.seek(0)
        output.seek(max(0, output.seek(0, os.SEEK_END) - 2000))
        return {"result": result.read(MAX_ANSWER).decode(errors="replace"), "stopped": stopped,
                "output": output.read().decode(errors="replace")}


def main() -> None:
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True, warn_only=True)  # memory that is not initialised holds no luck, but NaN
    processes.adopt_orphans()
    # The first use of each imports much: once here, not in every process.
    with suppress(Wrong), looks.Dilations():
        nn.functional.conv2d(torch.ones(1, 1, 5, 5, requires_grad=True), torch.ones(1, 1, 3, 3)).sum().backward()
    inspect.signature(nn.Conv2d)
    for name in [name for name in sys.modules if name.partition(".")[0] == __package__.partition(".")[0]]:
        del sys.modules[name]  # a submission may have files of these names, and does not find ours
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        print(json.dumps(ask(**json.loads(line))), flush=True)
