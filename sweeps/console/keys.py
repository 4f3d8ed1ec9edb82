"""Keys: single keys from a terminal, without Enter and without echo; it is put back as it was, whatever happens."""

from __future__ import annotations

import os
import select
import sys
import termios
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager

ESCAPE, REST = b"\x1b", 64
"""what a terminal begins an arrow or the like with, and more bytes than follow"""


def can_be_asked() -> bool:
    """Whether there is somebody to ask: stdin and stderr, where questions go, are a terminal."""
    return all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stderr))


@contextmanager
def single_keys() -> Iterator[Callable[[], str]]:
    """While the block runs stdin gives single keys: a function that waits for the next one.

    What was typed before is forgotten, so that nobody answers what they have not seen. An arrow or the like is "?", the
    end of the input "". Ctrl-C is a signal, as ever.
    """
    terminal = sys.stdin.fileno()
    before = termios.tcgetattr(terminal)

    def key() -> str:
        pressed = os.read(terminal, 1)
        if pressed != ESCAPE:
            return pressed.decode(errors="replace")
        while select.select([terminal], [], [], 0)[0] and os.read(terminal, REST):
            pass
        return "?"

    try:
        tty.setcbreak(terminal, termios.TCSAFLUSH)
        yield key
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)
