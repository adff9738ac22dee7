"""Asks about submissions, which are code that nobody vouches for.

They run in other processes (``worker``): without this one's environment, in a temporary folder, within
limits of time and memory, their output caught. That keeps accidents and plain cheating out. It is no
wall against an attacker, who runs with the rights of whoever started the checker.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from contextlib import suppress
from pathlib import Path

import torch

SECONDS = 60  # for one question
GRACE = 10  # seconds more until the worker itself counts as stopped
MEGABYTES = 2048  # of data beside torch itself; enforced by Linux alone
START = "import runpy, sys; sys.path += sys.argv[2:]; runpy.run_path(sys.argv[1], run_name='__main__')"


class Failure(Exception):
    """Why a submission gave no answer, in one line."""


class Sandbox:
    """Starts the worker when it is needed, and anew when a submission has ended it."""

    def __init__(self, seconds: float = SECONDS):
        self.seconds = seconds
        self.process = self.child = None
        self.folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._stop()
        self.folder.cleanup()

    def ask(self, submission: Path, what: str, *cases: dict) -> list:
        """What ``worker`` sees of a submission, in each case. Raises ``Failure`` where the submission fails."""
        if self.process is None:
            self._start()
        question = {"submission": str(submission), "what": what, "cases": cases, "seconds": self.seconds,
                    "megabytes": MEGABYTES}
        timer = threading.Timer(self.seconds + GRACE, self.process.kill)  # for when the worker was stopped
        timer.start()
        try:
            self.process.stdin.write(json.dumps(question) + "\n")
            self.process.stdin.flush()
            self.child = int(self.process.stdout.readline())
            reply = json.loads(self.process.stdout.readline())
            self.child = None
        except (OSError, ValueError):
            self._stop()
            raise Failure("it ended the process that watches over it") from None
        finally:
            timer.cancel()
        said = f"; it printed: {reply['output'].strip()[-300:]}" if reply["output"].strip() else ""
        if reply["late"]:
            raise Failure(f"no answer within {self.seconds:g} seconds{said}")
        if not reply["result"]:
            raise Failure(f"it ended without an answer, with the exit status {reply['status']}{said}")
        try:
            answer = json.loads(reply["result"])
            if "error" in answer:
                raise Failure(str(answer["error"]) + said)
            if len(answer["saw"]) != len(cases):
                raise ValueError("an answer is due in every case")
            return answer["saw"]
        except (ValueError, LookupError, TypeError, RecursionError):
            raise Failure("its answer makes no sense") from None

    def _start(self):
        home = self.folder.name
        environment = {"PATH": os.defpath, "HOME": home, "TMPDIR": home, "LANG": "C.UTF-8", "MPLBACKEND": "Agg",
                       "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        environment |= {name: os.environ[name] for name in ["LD_LIBRARY_PATH"] if name in os.environ}
        worker, packages = Path(__file__).with_name("worker.py"), Path(torch.__file__).parents[1]
        self.process = subprocess.Popen([sys.executable, "-I", "-B", "-c", START, worker, packages], cwd=home,
                                        env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                        encoding="utf-8", start_new_session=True)
        if not self.process.stdout.readline():
            raise RuntimeError("the worker does not start")

    def _stop(self):
        if self.process is not None:
            self.process.kill()
            self.process.communicate()
            self.process = None
        if self.child is not None:
            with suppress(ProcessLookupError):
                os.killpg(self.child, signal.SIGKILL)
            self.child = None
