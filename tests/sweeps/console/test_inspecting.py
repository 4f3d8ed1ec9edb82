"""A person at a terminal: asked key by key in a pseudo-terminal, killed, interrupted, and resumed to the end."""

from __future__ import annotations

import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest

from tests.conftest import IN_FRONT, door
from toymodels.sweeps.console import inspecting, keys
from toymodels.sweeps.execution.run import run as execute
from toymodels.sweeps.plan.plan import make_plan
from toymodels.sweeps.results.reading import Run, load
from toymodels.sweeps.spec.sweep import parse
from toymodels.sweeps.studies import blinded, judgements
from toymodels.sweeps.studies.judgements import Judged

SWEEP = """
[features]
n = 12
density = 0.2
values = "binary"
[model]
hidden = 6
tied = false
output = "linear"
[train]
steps = 20
batch = 32
[eval]
samples = 512
[grid]
"model.activation" = ["gelu", "solu"]
"model.layer_norm" = [false, true]
seed = [0]
"""
ARMS = ("gelu", "solu + LN")
PATIENCE = 60


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("inspected")
    execute(make_plan(parse(SWEEP, "tiny", "tiny.toml")), folder, "autograd", "cpu")
    return load(folder)


class Person:
    """Somebody at a terminal of 40 columns in which ``toymodels inspect`` runs."""

    def __init__(self, run: Run, *options: str) -> None:
        self.terminal, self._inside = os.openpty()
        termios.tcsetwinsize(self.terminal, (24, 40))
        self.before = termios.tcgetattr(self._inside)
        command = [sys.executable, "-c", IN_FRONT, "inspect", str(run.path), *options]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "TERM": "dumb", "NO_COLOR": "1", "LANG": "C"}
        environment |= {"COLUMNS": "40"}
        self.process = subprocess.Popen(
            command,
            stdin=self._inside,
            stdout=self._inside,
            stderr=self._inside,
            env=environment,
            start_new_session=True,
            preexec_fn=lambda: __import__("fcntl").ioctl(0, termios.TIOCSCTTY, 0),
        )
        self.seen = ""

    def sees(self, pattern: str) -> str:
        """Read until the screen ends with this; returns what came since the last time."""
        told, deadline = "", time.monotonic() + PATIENCE
        while not re.search(pattern, told):
            assert time.monotonic() < deadline, f"not seen: {pattern}; but {told[-800:]!r}"
            if select.select([self.terminal], [], [], 0.1)[0]:
                try:
                    told += os.read(self.terminal, 4096).decode()
                except OSError:  # nobody at the other end
                    break
            elif self.process.poll() is not None:
                break
        assert re.search(pattern, told), told
        self.seen += told
        return told

    def presses(self, key: str) -> None:
        os.write(self.terminal, key.encode())

    def ends(self) -> int:
        """The exit code, when it is over; the terminal is as it was."""
        code = self.process.wait(PATIENCE)
        if code >= 0:
            assert termios.tcgetattr(self._inside)[:4] == self.before[:4]
        os.close(self._inside)
        os.close(self.terminal)
        return code


ASKED = r"leave:\s+$"


def test_a_person_judges_is_killed_goes_on_and_is_told_the_arms_at_the_end(run: Run) -> None:
    options = ("--arms", ",".join(ARMS), "--neurons", "2", "--judge", "ada", "--seed", "7")
    path = judgements.path_of(run, "ada")

    first = Person(run, *options)
    assert "Neuron 1 of 4" in first.sees(ASKED)
    first.presses("x")  # means nothing
    first.presses("y")
    assert "Neuron 2 of 4" in first.sees(ASKED)
    first.presses("n")
    assert "Neuron 3 of 4" in first.sees(ASKED)
    first.process.send_signal(signal.SIGKILL)
    assert first.ends() == -signal.SIGKILL
    kept = json.loads(path.read_text())
    assert kept["verdicts"] == ["interpretable", "not interpretable", None, None]

    second = Person(run, "--judge", "ada")
    assert "Neuron 3 of 4" in second.sees(ASKED)
    second.presses("b")
    assert "Neuron 2 of 4" in second.sees(ASKED)
    second.presses("u")
    assert "Neuron 3 of 4" in second.sees(ASKED)
    second.presses("\x03")
    assert "To continue: toymodels inspect" in re.sub(r"\s+", " ", second.sees("interrupted.*--judge ada"))
    assert second.ends() == 130
    assert json.loads(path.read_text()) == kept | {"verdicts": ["interpretable", "unsure", None, None]}

    third = Person(run, *options)
    third.sees(ASKED)
    before_the_end = first.seen + second.seen + third.seen
    third.presses("n")
    assert "Neuron 4 of 4" in third.sees(ASKED)
    third.presses("y")
    told = third.sees("Next: ")
    assert third.ends() == 0
    assert all(arm in told for arm in ARMS)
    said = before_the_end.replace(str(run.path), "").replace(",".join(ARMS), "")
    assert not re.search(r"gelu|solu|LN", said)
    assert "\x1b" not in before_the_end + told
    assert "Traceback" not in before_the_end + told
    held = judgements.read(run, "ada")
    assert held is not None
    assert held.verdicts == (Judged.INTERPRETABLE, Judged.UNSURE, Judged.NOT, Judged.INTERPRETABLE)
    # What was shown is what the seed draws, and a judge who has finished needs no terminal to be told again.
    shown = blinded.draw(run, ARMS, 2, 7)
    for place in shown.places[:2]:
        assert "\r\n".join(inspecting.lines(place, 40)) in first.seen
    again = door("inspect", run.path, "--judge", "ada", "--json")
    assert again.code == 0
    document = again.json()
    assert (document["judged"], document["neurons"]) == (4, 4)
    assert {row["arm"] for row in document["arms"]} == set(ARMS)
    assert document["agreement"][0]["neurons"] == 3


def test_without_a_terminal_nobody_is_asked(run: Run) -> None:
    said = door("inspect", run.path)
    assert said.code == 2
    assert said.err == "toymodels: inspect: a person judges, key by key: stdin and stderr must be a terminal\n"
    assert said.out == ""


@pytest.fixture
def pressing(monkeypatch: pytest.MonkeyPatch):
    """A person who presses these keys, in this process."""

    def press(keys_: str) -> None:
        class Keys:
            def __enter__(self):
                return lambda: pressed.pop(0) if pressed else ""

            def __exit__(self, *_: object) -> None:
                return None

        pressed = list(keys_)
        monkeypatch.setattr(inspecting, "can_be_asked", lambda: True)
        monkeypatch.setattr(inspecting, "single_keys", Keys)

    return press


def test_leaving_and_the_end_of_the_input_keep_what_was_judged(run: Run, pressing) -> None:
    pressing("bYq")
    said = door("inspect", run.path, "--judge", "bob", "--neurons", "1", "--json")
    assert said.code == 0
    assert said.json() == {"folder": str(run.path), "judge": "bob", "judged": 1, "neurons": 3}
    assert f"To go on: toymodels inspect {run.path} --judge bob" in said.err
    pressing("n")
    said = door("inspect", run.path, "--judge", "bob")
    assert said.code == 0
    assert "2 of 3 neurons are judged" in said.err
    assert "gelu" not in said.out + said.err
    pressing("")
    assert "2 of 3" in door("inspect", run.path, "--judge", "bob").err


def test_another_test_under_a_name_that_has_begun_one_is_refused(run: Run, pressing) -> None:
    pressing("y")
    assert door("inspect", run.path, "--judge", "cleo", "--neurons", "1", "--seed", "3").code == 0
    for options in (["--neurons", 2], ["--seed", 4], ["--arms", "gelu,solu"]):
        said = door("inspect", run.path, "--judge", "cleo", *options)
        assert said.code == 2
        assert f"{options[0]}: {judgements.path_of(run, 'cleo')} was begun with another" in said.err
    assert door("inspect", run.path, "--judge", "../x").code == 2
    assert door("inspect", run.path, "--arms", "tanh", "--judge", "dora").code == 2
    assert not judgements.path_of(run, "dora").exists()


def test_an_arrow_is_one_key_and_what_was_typed_before_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, inside = os.openpty()
    monkeypatch.setattr(sys, "stdin", open(inside, closefd=False))  # noqa: SIM115
    os.write(ours, b"yyy\n")
    assert select.select([inside], [], [], 60)[0]  # a terminal hands on what is typed in its own time
    before = termios.tcgetattr(inside)

    def interrupted() -> None:
        with keys.single_keys() as key:
            os.write(ours, b"\x1b[A")
            assert key() == "?"
            os.write(ours, b"n")
            assert key() == "n"
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert termios.tcgetattr(inside) == before
    os.close(ours)
    os.close(inside)


def test_a_link_in_the_place_of_what_was_judged_is_refused(run: Run, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(run.path, copy, ignore=shutil.ignore_patterns("inspected"))
    (copy / "inspected").symlink_to(run.path / "packs")
    said = door("inspect", copy, "--judge", "ada")
    assert said.code == 4
    assert "is a link" in said.err
