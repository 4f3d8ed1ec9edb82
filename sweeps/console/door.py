"""The process boundary: signals, pipes, closed streams and exit codes. Every failure is one sentence on stderr.

Results go to stdout, everything else to stderr. Nothing heavy is imported here, since the command line begins with it.
"""

from __future__ import annotations

import io
import os
import shlex
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn

import typer
from typer.core import TyperGroup

from toymodels.sweeps.errors import SweepError

STOPS = (signal.SIGINT, signal.SIGTERM)
CONTINUED = ("sweep", "inspect")
"""the commands that go on where they were, when they are given again"""


class Terminated(BaseException):
    """SIGTERM, as an exception, so that everything in progress cleans up after itself."""


class Door(TyperGroup):
    """The command ``toymodels``: runs one of its commands and turns every failure into a sentence and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command. Raises ``typer.Exit`` with the exit code of what failed."""
        if sys.platform == "win32":
            fail("this platform is not supported: toymodels runs on Linux and macOS", 1)
        mend_streams()
        with stopping():
            try:
                result = super().invoke(ctx)
                sys.stdout.flush()
                return result
            except BrokenPipeError:
                # Whoever read us has had enough; what was to be done is done.
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
                raise typer.Exit(0) from None
            except SweepError as error:
                fail(str(error), error.exit_code)
            except (KeyboardInterrupt, Terminated) as stop:
                code = 130 if isinstance(stop, KeyboardInterrupt) else 143
                again = "To continue" if ctx.invoked_subcommand in CONTINUED else "To start over"
                fail(f"interrupted; what is finished is safe. {again}: {this_command()}", code)
            except MemoryError:
                fail("out of memory; what is finished is safe", 1)
            except OSError as error:
                # A disk, a name or rights of the user's that no command expects there.
                if os.environ.get("TOYMODELS_TRACEBACK"):
                    raise
                fail(f"{error.filename or 'the output'}: {error.strerror or error}; what is finished is safe", 1)
            except Exception as error:
                # Typer carries its own click, so usage errors are known by what they can do.
                known = isinstance(error, typer.Exit | typer.Abort) or hasattr(error, "format_message")
                if known or os.environ.get("TOYMODELS_TRACEBACK"):
                    raise
                fail(
                    f"unexpected {type(error).__name__}: {error}. This is a bug; set TOYMODELS_TRACEBACK=1 to see "
                    "where",
                    1,
                )


def mend_streams() -> None:
    """Give stdout and stderr somewhere to write where they were closed, and a sign for letters that they lack."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by whoever began us: nobody reads
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115, PTH123
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that knows no ± still gets its table


@contextmanager
def stopping() -> Iterator[None]:
    """While the block runs, SIGINT and SIGTERM raise ``KeyboardInterrupt`` and `Terminated` in it.

    Asked a second time, the process leaves at once without cleaning up: every file is whole or absent all the same.
    Afterwards both signals are handled as they were before.
    """

    def clean_up(number: int, _frame: FrameType | None) -> None:
        for each in handled:
            signal.signal(each, leave)
        raise KeyboardInterrupt if number == signal.SIGINT else Terminated

    def leave(number: int, _frame: FrameType | None) -> None:
        os._exit(128 + number)

    # What a shell has its background jobs ignore stays ignored.
    # Outside the main thread no signal arrives, and none may be handled.
    main = threading.current_thread() is threading.main_thread()
    handled = [each for each in STOPS if main and signal.getsignal(each) is not signal.SIG_IGN]
    before = {each: signal.signal(each, clean_up) for each in handled}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def fail(sentence: str, code: int) -> NoReturn:
    """Print a sentence on stderr and leave with this exit code."""
    print(f"toymodels: {sentence}", file=sys.stderr)
    raise typer.Exit(code)


def say(sentence: str) -> None:
    """Print a note on stderr."""
    print(sentence, file=sys.stderr)


def this_command() -> str:
    """The command line of this process, as it can be typed again."""
    return shlex.join(["toymodels", *sys.argv[1:]])
