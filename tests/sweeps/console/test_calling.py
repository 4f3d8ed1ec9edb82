"""``toymodels.sweep``: the command as a function. The same folder, the same bytes, the same sentences."""

from __future__ import annotations

import signal
import sys
import threading
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import toymodels as tm
from tests.conftest import TINIER, door, listing
from toymodels.sweeps.console import calling
from toymodels.sweeps.console.audience import Audience, Bar
from toymodels.sweeps.errors import FolderError, PacksFailed, SpecError

TUNED = TINIER + '[tune]\nseeds = [1000]\n"train.learning_rate" = [1e-4, 1e-2]\n'


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test in a folder of its own, with the sweeps in it."""
    monkeypatch.chdir(tmp_path)
    Path("tiny.toml").write_text(TINIER)
    Path("tuned.toml").write_text(TUNED)


@pytest.fixture(scope="module")
def of_command(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the command makes of the tiny sweep and of the tuned one; not to be changed."""
    folder = tmp_path_factory.mktemp("command")
    for name, text in (("tiny", TINIER), ("tuned", TUNED)):
        (folder / f"{name}.toml").write_text(text)
        assert door("sweep", folder / f"{name}.toml", "--out", folder / name).code == 0
    return folder


def test_the_folder_is_the_commands_byte_for_byte(of_command: Path) -> None:
    found = tm.sweep("tiny.toml")
    assert (type(found), found.path, len(found.models)) == (tm.Run, Path("runs/tiny"), 4)
    expected = listing(of_command / "tiny")
    assert listing(Path("runs/tiny")) == expected
    for of in (Path("tiny.toml"), "./tiny.toml", tomllib.loads(TINIER)):
        tm.sweep(of, out="again", progress=False)
        assert listing(Path("again")) == expected


def test_a_tuned_sweep_is_the_commands_too(of_command: Path) -> None:
    tm.sweep("tuned.toml", progress=False)
    assert listing(Path("runs/tuned")) == listing(of_command / "tuned")
    untuned = tm.sweep("tuned.toml", out="untuned", tune=False, progress=False)
    assert untuned.models["train.learning_rate"].nunique() == 1
    assert not Path("untuned/tuning").exists()


def test_arguments_are_the_options_of_their_names(of_command: Path) -> None:
    options = ("--set", "train.steps=20", "--grid", "model.hidden=2,3", "--grid", "seed=0,1", "--engine", "autograd")
    assert door("sweep", of_command / "tiny.toml", "--out", "by-command", *options).code == 0
    hidden = np.array([2, 3])
    tm.sweep("tiny.toml", seeds=2, set={"train.steps": np.int64(20)}, grid={"model.hidden": hidden}, engine="autograd")
    assert listing(Path("runs/tiny")) == listing(Path("by-command"))
    more = tm.sweep(
        "tiny.toml", seeds=range(3), set={"train.steps": 20}, grid={"model.hidden": (2, 3)}, extend=True, progress=False
    )
    assert (len(more.models), more.manifest.engine) == (12, "autograd")


def test_a_finished_sweep_is_only_read(capfd: pytest.CaptureFixture[str]) -> None:
    first = tm.sweep("tiny.toml", progress=False)
    assert capfd.readouterr() == ("", "")
    times = {path: path.stat().st_mtime_ns for path in first.path.rglob("*.safetensors")}
    again = tm.sweep("tiny.toml")
    assert {path: path.stat().st_mtime_ns for path in first.path.rglob("*.safetensors")} == times
    assert again.models.equals(first.models)
    assert capfd.readouterr() == ("", "tiny: 4 models, engine fused, cpu\n")


class Impatient(Audience, Bar):
    """Presses Ctrl-C when the first models are done."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, sentence: str) -> None:
        self.said.append(sentence)

    def bar(self, total: int, part: str) -> Bar:
        return self

    def show(self, done: float, rate: float) -> None:
        if done:
            raise KeyboardInterrupt

    def stop(self) -> None:
        self.said.append("stopped")


@pytest.mark.parametrize("name", ["tiny", "tuned"])
def test_an_interrupted_call_goes_on_to_the_same_bytes(
    monkeypatch: pytest.MonkeyPatch, of_command: Path, name: str
) -> None:
    impatient = Impatient()
    monkeypatch.setattr(calling, "here", lambda: impatient)
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            tm.sweep(f"{name}.toml")
        last = f"interrupted; what is finished is safe in runs/{name}: the same call continues it"
        assert impatient.said[-2:] == ["stopped", last]
        assert listing(Path("runs", name)) != listing(of_command / name)
    tm.sweep(f"{name}.toml", progress=False)
    assert listing(Path("runs", name)) == listing(of_command / name)


def test_it_works_outside_the_main_thread_and_leaves_signals_alone(of_command: Path) -> None:
    handlers = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]
    thread = threading.Thread(target=tm.sweep, args=("tiny.toml",))
    thread.start()
    thread.join()
    assert listing(Path("runs/tiny")) == listing(of_command / "tiny")
    tm.sweep("tiny.toml", out="here")
    assert [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)] == handlers


@pytest.mark.parametrize(
    "options, arguments",
    [
        (("tiny.toml", "--engine", "fuse"), {"of": "tiny.toml", "engine": "fuse"}),
        (("tiny.toml", "--device", "tpu"), {"of": "tiny.toml", "device": "tpu"}),
        (("tms_intr",), {"of": "tms_intr"}),
        (("none.toml",), {"of": Path("none.toml")}),
        (("tiny.toml", "--set", "model.hiden=3"), {"of": "tiny.toml", "set": {"model.hiden": 3}}),
        (("tiny.toml", "--set", "model.hidden=0"), {"of": "tiny.toml", "set": {"model.hidden": 0}}),
        (("tiny.toml", "--out", "taken"), {"of": "tiny.toml", "out": "taken"}),
    ],
)
def test_what_is_refused_is_refused_with_the_commands_sentence(
    options: tuple[str, ...], arguments: dict[str, Any]
) -> None:
    Path("taken").mkdir()
    Path("taken/notes.txt").write_text("mine")
    refused = door("sweep", *options)
    with pytest.raises(tm.SweepError) as error:
        tm.sweep(**arguments)
    assert refused.err.splitlines()[-1] == f"toymodels: {error.value}"
    assert refused.code == error.value.exit_code


@pytest.mark.parametrize(
    "of, arguments, sentence",
    [
        ({"features": {"n": 3}}, {}, "sweep: a sweep given as a dict has no name: say where it goes, such as out="),
        (3, {}, "sweep: expected the name of a shipped sweep, a file or a dict, got 3"),
        ({1: 2}, {"out": "x"}, "sweep: expected names of settings as keys, got 1"),
        ({"features": {"n": 3, "density": 0.5, "m": 3}}, {"out": "x"}, "sweep: unknown key 'features.m'"),
        ({"grid": {"seed": range(10**8)}}, {"out": "x"}, "sweep: 100,000,000 models, more than the 10,000,000"),
        ("tiny.toml", {"seeds": 0}, "seeds: expected at least 1, got 0"),
        ("tiny.toml", {"seeds": 2.5}, "grid 'seed': expected a list"),
        ("tiny.toml", {"seeds": 2, "grid": {"seed": [1]}}, "seeds: the grid says them too: keep one"),
        ("tiny.toml", {"grid": {"model.hidden": []}}, "grid 'model.hidden': expected at least one value"),
        ("tiny.toml", {"set": {"model.activation": tm.SoLU()}}, "model.activation: expected valid string"),
    ],
)
def test_what_only_python_can_say_is_refused_in_a_sentence(of: Any, arguments: dict[str, Any], sentence: str) -> None:
    with pytest.raises(SpecError) as error:
        tm.sweep(of, **arguments)
    assert sentence in str(error.value)
    assert not Path("runs").exists()


def test_a_dict_without_an_end_is_refused() -> None:
    of: dict[str, Any] = {}
    of["features"] = of
    with pytest.raises(SpecError, match="holds tables in tables without end"):
        tm.sweep(of, out="x")


def test_packs_that_fail_are_an_error_and_the_rest_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    from toymodels.sweeps.execution import local

    for of, sentence in (("tiny.toml", "2 of 2 packs failed"), ("tuned.toml", "2 of 2 packs of the tuning failed")):
        with monkeypatch.context() as without_memory:
            without_memory.setattr(local, "memory_budget", lambda _: 1)
            with pytest.raises(PacksFailed, match=sentence) as error:
                tm.sweep(of, engine="autograd", progress=False)
        assert error.value.exit_code == 3
    assert len(tm.sweep(Path("runs/tiny/sweep.toml"), out="runs/tiny", retry_failed=True, progress=False).models) == 4


def test_a_folder_in_use_is_refused() -> None:
    from toymodels.sweeps.store.store import Store

    with Store(tm.sweep("tiny.toml", progress=False).path).locked(), pytest.raises(FolderError, match="in use by"):
        tm.sweep("tiny.toml", progress=False)


OWN = """
import dataclasses
import toymodels as tm

@dataclasses.dataclass(frozen=True)
class Twice(tm.Elementwise):
    name = "twice"

    def __call__(self, z, dim=-1):
        return 2 * z

    def derivative(self, z):
        return 2 + 0 * z

@tm.metrics.register("largest", table="models", description="the largest norm")
def largest(models):
    return models.column("features.norm").amax(1)

unnamed = tm.metrics.register("smallest", lambda models: models.column("features.norm").amin(1), table="models")
"""


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Path]:
    """A sweep that names code beside its file, in another folder than the current one."""
    folder = tmp_path / "else"
    folder.mkdir()
    (folder / "beside.py").write_text(OWN)
    (folder / "s.toml").write_text('metrics = ["beside:largest"]\n' + TINIER.replace('"solu"', '"beside:Twice"'))
    yield folder / "s.toml"
    sys.modules.pop("beside", None)


def test_code_beside_the_sweep_file_runs_in_what_comes_back(own: Path) -> None:
    run = tm.sweep(own, allow_code=True, progress=False)
    x = torch.rand(6, 4)
    model = run.model(2)
    assert torch.equal(model(x).mid, 2 * (model.parameters.W_in @ x))


def test_metrics_of_a_sweep_file_are_measured_in_its_sweep_alone(own: Path, of_command: Path) -> None:
    tm.sweep("tiny.toml", out="before", progress=False)
    named = tm.sweep(own, allow_code=True, progress=False)
    assert named.models["largest"].notna().all()
    assert "smallest" not in named.models
    assert tm.metrics.registered() == ()
    for out in ("before", "after"):
        tm.sweep("tiny.toml", out=out, progress=False)
        assert listing(Path(out)) == listing(of_command / "tiny")
    again = listing(Path("runs/s"))
    tm.sweep(own, allow_code=True, progress=False)
    assert listing(Path("runs/s")) == again


def test_two_metrics_of_one_column_are_refused(own: Path) -> None:
    (own.parent / "other.py").write_text(OWN)
    own.write_text(own.read_text().replace('["beside:largest"]', '["beside:largest", "other:largest"]'))
    with pytest.raises(SpecError, match=r"'other:largest': is the column models\.largest, as another one is"):
        tm.sweep(own, allow_code=True, progress=False)
