"""Start programs as ``python FILE ...`` does, without the seconds that each would need to import PyTorch.

A server has imported it, and other libraries, but nothing of this project, and forks for each program: it is the
forkserver of ``multiprocessing``.
"""

import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import threading
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CONTEXT = multiprocessing.get_context("forkserver" if hasattr(os, "fork") else "spawn")
CONTEXT.set_forkserver_preload(["torch", "torch._dynamo", "matplotlib.figure", "pytest"])  # optimizers import _dynamo


def start_server() -> None:
    """Start the server now, not with the first program."""
    process = CONTEXT.Process(target=int)
    process.start()
    process.join()


def _run(words, folder, environment, out, error):
    """In the new process: become the program."""
    for pipe, descriptor in (out, 1), (error, 2):
        os.dup2(pipe.fileno(), descriptor)
        pipe.close()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # even if this suite runs in the background
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    for name in [name for name in sys.modules if name.partition(".")[0] == "tests"]:
        del sys.modules[name]
    elsewhere = [path for path in sys.path if path and Path(path) != ROOT]  # the environment may lie in ROOT
    if words[0] == "-m":
        sys.path[:], sys.argv[:] = [str(folder), *elsewhere], words[1:]
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    else:
        sys.path[:], sys.argv[:] = [str(Path(words[0]).resolve().parent), *elsewhere], words
        runpy.run_path(words[0], run_name="__main__")


class Program:
    """A program that runs, with the part of ``subprocess.Popen`` that tests use.

    ``words`` are what follows ``python`` on the command line: a file or ``-m MODULE``, and its arguments.
    """

    def __init__(self, words, folder=ROOT, environment=None):
        environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"} if environment is None else environment
        (self._out, out), (self._error, error) = CONTEXT.Pipe(duplex=False), CONTEXT.Pipe(duplex=False)
        arguments = [str(word) for word in words], Path(folder), environment, out, error
        self._process = CONTEXT.Process(target=_run, args=arguments, daemon=True)
        self._process.start()
        out.close(), error.close()
        self.stdout, self.stderr = (os.fdopen(os.dup(pipe.fileno())) for pipe in (self._out, self._error))
        self.pid, self.wait = self._process.pid, self._process.join
        self.kill, self.terminate = self._process.kill, self._process.terminate

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def communicate(self, timeout: float = 300) -> tuple[str, str]:
        """Return what it prints until it ends, on standard output and standard error; kill it after ``timeout``."""
        timer = threading.Timer(timeout, self.kill)
        timer.start()
        printed = "" if self.stdout.closed else self.stdout.read()
        error = self.stderr.read()  # what programs here say of errors fits into a pipe
        self._process.join()
        timer.cancel()
        self.hang_up(), self.stderr.close(), self._error.close()
        return printed, error

    def hang_up(self) -> None:
        """Read no more of standard output, as ``head`` does."""
        self.stdout.close(), self._out.close()


def run(words, folder=ROOT) -> subprocess.CompletedProcess:
    """Run a program to its end."""
    program = Program(words, folder)
    out, error = program.communicate()
    return subprocess.CompletedProcess(words, program.returncode, out, error)
