"""Ctrl-C and SIGTERM as a request that a long job sees when it suits."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def requests_to_stop() -> Iterator[Callable[[], int]]:
    """Within it, the first Ctrl-C or SIGTERM only makes the yielded function return its number, 0 before.

    The second acts as ever. What is ignored (in the background, under ``nohup``) stays so, and threads
    other than the main one, which get no signals, never see one.
    """
    caught = []

    def note(number, frame):
        caught.append(number)
        restore()
        os.write(2, b"stopping after this batch (again: at once)\n")  # print() may be what was interrupted

    def restore():
        for number, handler in previous.items():
            signal.signal(number, handler)

    previous = {number: signal.getsignal(number) for number in SIGNALS
                if threading.current_thread() is threading.main_thread()}
    previous = {number: handler for number, handler in previous.items() if handler not in (signal.SIG_IGN, None)}
    for number in previous:
        signal.signal(number, note)
    try:
        yield lambda: caught[0] if caught else 0
    finally:
        restore()
