"""Progress on a terminal, and signals that ask a command to stop."""

from __future__ import annotations

import contextlib
import logging
import signal
import sys
import time
from collections.abc import Callable, Iterator
from types import FrameType

from tqdm import tqdm

log = logging.getLogger(__name__)

# Seconds between two lines of progress if there is no terminal.
LINE_EVERY = 10.0


@contextlib.contextmanager
def stop_signals() -> Iterator[Callable[[], bool]]:
    """A function that says whether SIGTERM, of a cluster's time limit, or SIGINT, of Ctrl-C, has come.

    A second signal acts as if there had been no first.
    """
    received: list[int] = []

    def receive(number: int, frame: FrameType | None) -> None:
        received.append(number)
        restore()

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    before = {number: signal.signal(number, receive) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield lambda: bool(received)
    finally:
        restore()


def progress(name: str) -> Callable[[int, int], None]:
    """A bar on a terminal, a line now and then elsewhere, both with rate and time left."""
    started = time.monotonic()
    first: list[int] = []
    shown = [started]
    bar = tqdm(desc=name, unit=" steps", disable=not sys.stderr.isatty())

    def show(done: int, total: int) -> None:
        if not first:
            first.append(done)
        bar.total = total
        bar.update(done - bar.n)
        now = time.monotonic()
        if done == total:
            bar.close()
        if bar.disable and (now - shown[0] > LINE_EVERY or done == total):
            shown[0] = now
            rate = (done - first[0]) / max(now - started, 1e-9)
            # Of a short run only the end is seen.
            speed = f", {rate:.3g}/s, {(total - done) / rate:.0f} s left" if rate > 0 else ""
            log.info("%s: step %d of %d%s", name, done, total, speed)

    return show
