"""Interruption as a request: a run stops where it can be resumed."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def deferred_interrupt() -> Iterator[Callable[[], bool]]:
    """Turns the first SIGINT or SIGTERM into a flag; a second one acts at once.

    An exception in the middle of a compilation or a checkpoint would be lost, or leave it half
    written; a loop that checks the flag between steps stops where it can be resumed. Outside the
    main thread, which alone receives signals, nothing is changed.

    Yields:
      A function that says whether to stop.
    """
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked.is_set
        return
    before = {}

    def restore():
        for number, handler in before.items():
            signal.signal(number, handler)

    def ask(*_):
        asked.set()
        restore()

    for number in (signal.SIGINT, signal.SIGTERM):
        before[number] = signal.signal(number, ask)
    try:
        yield asked.is_set
    finally:
        restore()
