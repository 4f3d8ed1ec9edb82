"""A run that is watched: from before it begins to its end, on a terminal and elsewhere, whatever happens to it."""

from __future__ import annotations

import os
import re
import select
import shutil
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from tests.conftest import BODY, GRID, IN_FRONT, TINIER, door, listing
from toymodels.sweeps.console.looking import Look, Watcher
from toymodels.sweeps.console.watching import _screen, lines
from toymodels.sweeps.errors import FolderError
from toymodels.sweeps.execution.run import run as execute
from toymodels.sweeps.plan.plan import Pack, make_plan
from toymodels.sweeps.spec.candidates import tuning_sweep
from toymodels.sweeps.spec.sweep import parse
from toymodels.sweeps.store.pulse import Pulse
from toymodels.sweeps.store.store import Store
from toymodels.sweeps.store.tuning import make_tuning_folder, tuning_folder

SLOW = BODY.replace("steps = 30", "steps = 2500") + GRID
"""four packs of a second or more on the autograd engine"""
OFTEN = f"from toymodels.sweeps.execution import heartbeat; heartbeat.SECONDS = 0.1; {IN_FRONT}"
TUNED = TINIER + '[tune]\nseeds = [1000]\n"train.learning_rate" = [1e-3, 1e-2]\n'
PATIENCE = 60
WIDE = 300
"""columns of a terminal in which no path is broken"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("watched") / "run"
    execute(make_plan(parse(TINIER, "tiny", "tiny.toml")), folder, "autograd", "cpu")
    return folder


@pytest.fixture
def store(finished: Path, tmp_path: Path) -> Store:
    return Store(Path(shutil.copytree(finished, tmp_path / "run")))


def seen(folder: Path) -> Look:
    """What is seen of a run folder, in which looking changes nothing."""
    before = listing(folder)
    look = Watcher(folder).look()
    assert look is not None
    assert listing(folder) == before
    return look


def lose(store: Store, pack: int) -> None:
    for folder in (store.packs, store.measures):
        (folder / f"{pack:08d}.safetensors").unlink()


# ----------------------------------------------------------------------------------------------------------- one look


def test_a_finished_run_has_ended_well(store: Store) -> None:
    look = seen(store.path)
    assert (look.share, look.exit_code, look.seconds_left, look.state) == (1.0, 0, None, [])
    assert [each.models for each in look.losses] == [2, 2]


def test_packs_in_training_count_as_far_as_they_are(store: Store) -> None:
    lose(store, 1)
    store.lock()
    store.say(Pulse(trained=3.0, seconds=6.0, unstored=1.0))
    look = seen(store.path)
    store.release()
    assert look.share == 0.75  # one of two packs, and half of the other's two models
    assert (look.models_a_second, look.seconds_left, look.exit_code) == (0.5, 2.0, None)
    assert look.headline == f"{store.path}: 1 of 2 packs, 75.0%, 0.50 models/s, about 2.0 seconds left"
    assert look.state == [f"at work: process {os.getpid()} on {os.uname().nodename}"]


def test_a_pack_that_is_being_measured_is_counted_once(store: Store) -> None:
    """It is stored, and its process counts it as on its way until it is measured."""
    (store.measures / "00000001.safetensors").unlink()
    store.lock()
    store.say(Pulse(trained=2.0, seconds=6.0, unstored=2.0))
    assert seen(store.path).share == 1.0
    store.release()


def test_where_nobody_is_at_work_and_packs_are_missing_it_has_not_ended(store: Store) -> None:
    lose(store, 0)
    look = seen(store.path)
    assert (look.exit_code, look.share) == (None, 0.5)
    assert look.state == [f"nobody is at work. To continue: toymodels sweep {store.path}/sweep.toml --out {store.path}"]


def test_failures_are_said_and_end_it_with_3_once_nobody_tries_again(store: Store) -> None:
    lose(store, 1)
    store.record_failure(Pack(1, ()), "out of \x1b[2J memory")
    store.record_failure(Pack(0, ()), "a pack that is there after all")
    store.record_failure(Pack(7, ()), "of no plan")
    store.lock()
    assert seen(store.path).exit_code is None
    store.release()
    look = seen(store.path)
    assert (look.exit_code, look.failures) == (3, {1: "out of \x1b[2J memory"})
    assert look.state == ["pack 1 failed: out of  [2J memory"]


def test_a_damaged_pack_is_named_and_nothing_is_moved(store: Store) -> None:
    (store.packs / "00000000.safetensors").write_bytes(b"nothing")
    look = seen(store.path)
    assert look.state == [f"cannot be read: 00000000.safetensors in {store.packs}"]
    assert [each.models for each in look.losses] == [2]


def test_nothing_that_a_pack_says_moves_the_cursor(store: Store) -> None:
    look = seen(store.path)
    look = replace(look, losses=[replace(look.losses[0], layer="re\x1b[2J\x1b]0;title\x07lu\n")])
    screen = StringIO()
    Console(file=screen, width=WIDE).print(_screen(look))
    assert "re [2J ]0;title lu" in screen.getvalue()
    for shown in (lines(look)[-1], *screen.getvalue().splitlines()):
        assert shown.isprintable()


def test_the_tuning_comes_first_and_ends_nothing(tmp_path: Path) -> None:
    folder, sweep = tmp_path / "run", parse(TUNED, "tuned", "tuned.toml")
    plan = make_plan(tuning_sweep(sweep))
    make_tuning_folder(folder, sweep, plan)
    assert Watcher(folder).look() is None
    execute(plan, tuning_folder(folder), "autograd", "cpu")
    look = seen(folder)
    assert (look.standing.part, look.share, look.exit_code) == ("tuning", 1.0, None)
    assert look.headline.startswith(f"{folder}: tuning {len(plan.packs)} of {len(plan.packs)} packs")
    inside = Store(tuning_folder(folder))
    lose(inside, 0)
    inside.record_failure(Pack(0, ()), "it would not learn")
    assert seen(folder).exit_code == 3


def test_what_is_not_there_yet_is_waited_for_and_what_never_will_be_is_refused(tmp_path: Path) -> None:
    assert Watcher(tmp_path / "later").look() is None
    (tmp_path / "begun" / "packs").mkdir(parents=True)
    assert Watcher(tmp_path / "begun").look() is None
    (tmp_path / "file").write_text("mine")
    for never in (tmp_path, tmp_path / "file"):
        with pytest.raises(FolderError):
            Watcher(never).look()


# -------------------------------------------------------------------------------------------------------- the command


def test_once_says_how_it_stands_and_json_says_the_same(store: Store) -> None:
    answer = door("watch", store.path, "--once")
    assert (answer.code, answer.err) == (0, "")
    first, *losses = answer.out.splitlines()
    assert first == f"{store.path}: 2 of 2 packs, 100.0%"
    assert all(re.fullmatch(r"loss fraction [\d.]+ \([\d.]+ to [\d.]+\) of (relu|solu)", line) for line in losses)
    document = door("watch", store.path, "--json").json()
    assert (document["share"], document["ended"], len(document["losses"])) == (1.0, True, len(losses))
    lose(store, 1)
    assert door("watch", store.path, "--once").code == 0
    store.record_failure(Pack(1, ()), "no")
    assert door("watch", store.path, "--json")[0] == 3


def test_once_there_must_be_something_to_see(tmp_path: Path) -> None:
    for option in ("--once", "--json"):
        assert door("watch", tmp_path / "later", option)[::2] == (
            4,
            f"toymodels: {tmp_path / 'later'}: no such run folder\n",
        )


def test_elsewhere_than_on_a_terminal_it_ends_with_the_run_in_plain_lines(store: Store) -> None:
    answer = door("watch", store.path, "--every", "0.1")
    assert answer.code == 0
    assert "\x1b" not in answer.out
    assert "2 of 2 packs, 100.0%" in answer.out


# ------------------------------------------------------------------------------------------- a run on its way, watched


class Onlooker:
    """Somebody at a terminal in which ``toymodels watch`` runs."""

    def __init__(self, folder: Path) -> None:
        self.terminal, inside = os.openpty()
        termios.tcsetwinsize(self.terminal, (24, WIDE))
        command = [sys.executable, "-c", IN_FRONT, "watch", str(folder), "--every", "0.2"]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "TERM": "xterm", "COLUMNS": str(WIDE)}
        self.process = subprocess.Popen(
            command, stdin=inside, stdout=inside, stderr=inside, env=environment, start_new_session=True
        )
        os.close(inside)
        self.seen = ""

    @property
    def screen(self) -> str:
        """What was shown since the last time, as words in a line."""
        return " ".join(re.sub(r"\x1b\[[^A-Za-z]*[A-Za-z]", " ", self.seen).split())

    def sees(self, *patterns: str) -> None:
        """Read until the screen has shown all of this since the last time."""
        end, self.seen = time.monotonic() + PATIENCE, ""  # every look draws all of it anew
        while not all(re.search(pattern, self.screen) for pattern in patterns):
            assert time.monotonic() < end, self.screen
            if select.select([self.terminal], [], [], 0.2)[0]:
                try:
                    self.seen += os.read(self.terminal, 65536).decode(errors="replace")
                except OSError:  # it has ended
                    assert all(re.search(pattern, self.screen) for pattern in patterns), self.screen


@pytest.fixture
def onlooker(tmp_path: Path) -> Iterator[Onlooker]:
    onlooker = Onlooker(tmp_path / "run")
    yield onlooker
    onlooker.process.kill()
    onlooker.process.wait()
    os.close(onlooker.terminal)


@pytest.mark.kill
def test_a_run_is_watched_from_before_it_begins_through_a_kill_to_its_end(onlooker: Onlooker, tmp_path: Path) -> None:
    (tmp_path / "slow.toml").write_text(SLOW)
    command = [sys.executable, "-c", OFTEN, "sweep", "slow.toml", "--out", "run", "--engine", "autograd"]

    null = subprocess.DEVNULL

    def begun() -> subprocess.Popen[bytes]:
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        return subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=null, stderr=null)

    onlooker.sees("no run folder yet: waiting for a sweep to begin there")
    sweep = begun()
    onlooker.sees(f"at work: process {sweep.pid} on ", r"0 of 4 packs, [1-9][\d.]*%, .* models/s, about .* left")
    onlooker.sees(r"1 of 4 packs", "hidden layer")
    sweep.send_signal(signal.SIGKILL)
    sweep.wait()
    onlooker.sees("nobody is at work. To continue: toymodels sweep")
    again = begun()
    onlooker.sees(f"at work: process {again.pid} on ")
    onlooker.sees(r"4 of 4 packs, 100\.0%")
    assert again.wait(PATIENCE) == 0
    assert onlooker.process.wait(PATIENCE) == 0
    undisturbed = tmp_path / "undisturbed"
    execute(make_plan(parse(SLOW, "slow", "slow.toml")), undisturbed, "autograd", "cpu")
    packs = {name: data for name, data in listing(tmp_path / "run").items() if name.startswith("packs")}
    assert packs == {name: data for name, data in listing(undisturbed).items() if name.startswith("packs")}


@pytest.mark.kill
@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_it_is_stopped_quietly(onlooker: Onlooker, number: signal.Signals, code: int) -> None:
    onlooker.sees("waiting for a sweep")
    onlooker.process.send_signal(number)
    assert onlooker.process.wait(PATIENCE) == code
    try:
        rest = os.read(onlooker.terminal, 65536).decode()
    except OSError:
        rest = ""
    assert "interrupted" not in rest
    assert "Traceback" not in rest
    assert "\x1b[?25h" in onlooker.seen + rest  # the cursor is back
