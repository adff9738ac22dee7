"""Looks at submissions, which are code that nobody vouches for.

They run in other processes (``worker``): without this one's environment, in a temporary folder, within limits of time,
memory and files, their output caught. That keeps accidents and plain cheating out. It is no wall against an attacker,
who runs with the rights of whoever started the checker.
"""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path

from . import processes

SECONDS = 100  # for a submission
NOT_IMPORTED = "it cannot be imported: "
GRACE = 10  # seconds more until the worker itself counts as stopped
MEGABYTES = 2048  # of memory beside torch's own; enforced by Linux alone
ROOT = Path(__file__).parents[2]
WORKERS, CHANGING = [], threading.Lock()  # the processes of all sandboxes, and who may start or end one
START = ("import sys; sys.path += sys.argv[1:]; from tests.assignment import worker; "
         "sys.path.remove(sys.argv[2]); worker.main()")  # a submission does not find this project there


class Failure(Exception):
    """Why a submission gave no answer, in one line."""


class Sandbox:
    """Start the worker, and start it again when a submission has ended it."""

    def __init__(self, seconds: float = SECONDS):
        self.seconds = seconds
        self.process = self.child = self.folder = None

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stop()

    def start(self) -> None:
        """Start the worker, which takes a while to import torch, if it does not run."""
        with CHANGING:
            if self.folder is None:
                self.folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
                processes.adopt_orphans()
                self.others = processes.descendants(os.getpid())
            if self.process is None:
                self._start()
                WORKERS.append(self.process.pid)

    def stop(self) -> None:
        if self.folder is not None:
            self._stop()
            if not WORKERS:
                processes.adopt_orphans(False)
            self.folder.cleanup()
            self.folder = None

    def look(self, submission: Path, groups: list[dict[str, tuple]]) -> tuple[dict, list[str]]:
        """Take looks, ``{name: (function of looks, its arguments)}``, in a process of the submission's own.

        Returns what was seen by name, a ``Failure`` where the submission fails, and the notes made when importing it.
        A look that ends the process costs the rest of its group; a new process takes the other groups.
        """
        seen, notes, end = {}, [], time.monotonic() + self.seconds
        while groups:
            try:
                answers, notes, failure = self._ask(submission, groups, end - time.monotonic())
            except Failure as failure:  # it ended the worker: look no further
                return seen | {look: failure for group in groups for look in group}, notes
            left = [group for group in groups if not group.keys() <= answers.keys()]
            for group in left:
                answers = dict.fromkeys(group, answers.get(None, failure)) | answers
            seen |= answers
            groups = left[1:] if None not in answers else []
        return seen, notes

    def _ask(self, submission: Path, groups: list[dict], seconds: float) -> tuple[dict, list[str], Failure]:
        """Return what was seen, under None why nothing can be, the notes, and why there is no more.

        Raises ``Failure`` if the submission has ended or stopped the worker.
        """
        self.start()
        if not self.ready and not self.process.stdout.readline():
            raise RuntimeError("the worker does not start")
        self.ready = True
        looks = {name: look for group in groups for name, look in group.items()}
        question = {"submission": str(submission), "questions": [[name, *look] for name, look in looks.items()],
                    "seconds": seconds, "patience": self.seconds / 4, "megabytes": MEGABYTES}
        timer = threading.Timer(seconds + GRACE, self.process.kill)  # for when the worker was stopped
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
        reason, printed = reply["stopped"] or "it ended without an answer", reply["output"].strip()[-200:]
        seen, notes = {}, []
        for line in reply["result"].splitlines():
            with suppress(ValueError, LookupError, TypeError, AttributeError, RecursionError):  # it may be forged
                said = json.loads(line)
                notes += [str(note) for note in said.get("notes", [])]
                if "look" not in said and "error" in said:
                    seen[None] = Failure(f"{NOT_IMPORTED}{said['error']}")
                elif said.get("look") in looks:
                    seen[said["look"]] = Failure(str(said["error"])) if "error" in said else said["saw"]
        return seen, notes, Failure(f"{reason}; it printed: {printed}" if printed else reason)

    def _start(self) -> None:
        home = self.folder.name
        environment = {"PATH": os.defpath, "HOME": home, "TMPDIR": home, "LANG": "C.UTF-8", "MPLBACKEND": "Agg",
                       "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1",
                       "PYTORCH_JIT": "0", "TORCH_COMPILE_DISABLE": "1"}  # compilers take long, and see our stand-ins
        environment |= {name: os.environ[name] for name in ["LD_LIBRARY_PATH"] if name in os.environ}
        packages = Path(importlib.util.find_spec("torch").origin).parents[1]
        self.process = subprocess.Popen([sys.executable, "-I", "-B", "-c", START, packages, ROOT], cwd=home,
                                        env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                        encoding="utf-8", start_new_session=True)
        self.ready = False

    def _stop(self) -> None:
        """End the worker and all that submissions have started, whose parent this process has become by then."""
        with CHANGING:
            if self.process is not None:
                self.process.kill()
                self.process.communicate()
                WORKERS.remove(self.process.pid)
                self.process = None
            if self.child is not None:
                with suppress(ProcessLookupError):
                    os.killpg(self.child, signal.SIGKILL)
                self.child = None
            processes.end_descendants(self.others | {*WORKERS})
