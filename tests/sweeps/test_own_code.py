"""Code of one's own in a sweep file: imported only where that is allowed, told apart by its source, and by no other."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import pickle
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch

import toymodels as tm
from tests.conftest import door, finish, listing, process
from toymodels import metrics
from toymodels.sweeps.errors import FolderError, SpecError
from toymodels.sweeps.execution.job import Job
from toymodels.sweeps.execution.machines import made_with
from toymodels.sweeps.execution.workers import carry_out, order_of
from toymodels.sweeps.plan.plan import make_plan
from toymodels.sweeps.spec.code import own_code
from toymodels.sweeps.spec.importing import CodeError, digest_of
from toymodels.sweeps.spec.sweep import parse, read
from toymodels.sweeps.store.store import Store
from toymodels.sweeps.store.tensorfile import Mapped

MINE = """
from dataclasses import dataclass
from pathlib import Path
import torch
import toymodels as tm

Path("imported").write_text("yes")

@dataclass(frozen=True)
class Cube(tm.Elementwise):
    power: int = 3
    name = "cube"

    def __call__(self, z, dim=-1):
        return z.pow(self.power)

    def derivative(self, z):
        return self.power * z.pow(self.power - 1)

fifth = Cube(5)

@dataclass(frozen=True)
class Root(tm.Values):
    name = "root"

    def from_uniform(self, v):
        return v.sign() * v.abs().sqrt()

@dataclass(frozen=True)
class Xor(tm.Target):
    name = "xor"

    def of(self, n, seeds):
        return lambda x: (x[:, 0::2] - x[:, 1::2]).abs()

    def count(self, n):
        return n // 2

@dataclass(frozen=True)
class Half(tm.FeatureTarget):
    name = "half"

    def __call__(self, x):
        return x / 2

@tm.metrics.register("kurtosis", table="neurons")
def kurtosis(models):
    _, taps = models.forward(256)
    z = taps.pre - taps.pre.mean(2, keepdim=True)
    return z.pow(4).mean(2) / z.square().mean(2).square()
"""
SWEEP = """
metrics = ["mine:kurtosis"]
[features]
n = 6
density = 0.3
values = "mine:Root"
[model]
hidden = 3
tied = false
[task]
target = "mine:Xor"
[train]
steps = 20
batch = 16
[eval]
samples = 256
[grid]
"model.activation" = ["relu", "mine:Cube", "mine:fifth"]
seed = [0, 1]
"""
SMALL = '[features]\nn = 4\ndensity = 0.3\n[model]\nhidden = 2\nactivation = "relu"\n[train]\nsteps = 3\nbatch = 4\n'
ALLOW = "--allow-code"


@pytest.fixture(autouse=True)
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with a module and a sweep in it, which is the current one."""
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / "mine.py").write_text(MINE)
    (folder / "own.toml").write_text(SWEEP)
    monkeypatch.chdir(folder)
    before = {*sys.modules}
    yield folder
    for each in metrics.registered():
        metrics.unregister(each.name, each.table)
    for name in {*sys.modules} - before:
        if name.partition(".")[0] in ("mine", "package", "met", "other"):
            del sys.modules[name]


def built(text: str, allow: bool = True) -> tm.Experiment:
    """The one model of a sweep, in which code is imported from the current folder."""
    sweep = parse(text, "file", "file.toml")
    chosen = sweep if not allow else read_allowed(text)
    return chosen.settings(0).experiment("file.toml")


def read_allowed(text: str) -> Any:
    Path("file.toml").write_text(text)
    return dataclasses.replace(read(Path("file.toml")), code=own_code(Path("file.toml")))


def setting(name: str, word: str) -> str:
    return SMALL.replace('"relu"', f'"{word}"') if name == "activation" else f"{SMALL}[task]\n{name} = '{word}'\n"


# ------------------------------------------------------------------------------------------------------ from end to end


def test_a_sweep_of_ones_own_code_through_the_command_killed_and_resumed(own: Path) -> None:
    refused = door("sweep", "own.toml")
    assert refused.code == 2
    assert refused.err.startswith("toymodels: own.toml: metrics: 'mine:kurtosis' is code of your own")
    assert "--allow-code" in refused.err
    assert not (own / "imported").exists()
    assert not (own / "runs").exists()

    longer = "--set", "train.steps=60"
    whole = door("sweep", "own.toml", ALLOW, "--out", "whole", *longer)
    assert whole.code == 0
    digest = hashlib.sha256((own / "mine.py").read_bytes()).hexdigest()
    assert f"code of your own: mine, SHA-256 {digest}" in whole.err
    assert "the fused engine has no kernel" in whole.err
    manifest = json.loads((own / "whole" / "manifest.json").read_bytes())
    assert manifest["code"] == {"mine": digest}
    assert manifest["targets"] == {"mine:Xor": {"6": 3}}
    assert manifest["engine"] == "autograd"

    started = process("sweep", "own.toml", ALLOW, "--out", "killed", *longer)
    while not list((own / "killed" / "packs").glob("*.safetensors")) and started.poll() is None:
        time.sleep(0.01)
    started.send_signal(signal.SIGKILL)
    finish(started)
    assert not (own / "killed" / "models.parquet").exists()
    assert door("sweep", "own.toml", ALLOW, "--out", "killed", *longer).code == 0
    assert listing(own / "killed") == listing(own / "whole")

    on = door("status", "whole").out
    assert "3 of 3 packs" in on
    assert door("sweep", "whole/sweep.toml", "--out", "whole", ALLOW).code == 0
    neurons = pq.read_table(own / "whole" / "neurons.parquet")
    assert neurons["kurtosis"].null_count == 0
    assert pq.read_table(own / "whole" / "models.parquet")["model.activation"].to_pylist()[-1] == "mine:fifth"


def test_other_source_is_refused_and_that_of_a_metric_taken_over(own: Path) -> None:
    mine, metric = MINE[: MINE.index("@tm.metrics")], MINE[MINE.index("@tm.metrics") :]
    (own / "mine.py").write_text(mine)
    (own / "met.py").write_text(f"import toymodels as tm\n{metric}")
    text = SWEEP.replace("mine:kurtosis", "met:kurtosis")
    (own / "own.toml").write_text(text)
    assert door("sweep", "own.toml", ALLOW).code == 0
    packs, column = listing(own / "runs/own/packs"), pq.read_table("runs/own/neurons.parquet")["kurtosis"]

    (own / "mine.py").write_text(mine.replace("power: int = 3", "power: int = 4"))
    before = listing(own / "runs/own")
    for arguments in (("own.toml",), ("own.toml", "--extend", "--grid", "seed=0,1,2")):
        refused = door("sweep", *arguments, ALLOW)
        assert refused.code == 4
        was, now = (hashlib.sha256(each.encode()).hexdigest() for each in (mine, (own / "mine.py").read_text()))
        assert f"made with other source of mine: SHA-256 {was}, now {now}: put that source back" in refused.err
    with pytest.raises(FolderError, match="other source of mine"):
        tm.load("runs/own", allow_code=True).model(0)
    assert listing(own / "runs/own") == before
    (own / "mine.py").write_text(mine)

    (own / "met.py").write_text((own / "met.py").read_text().replace("pow(4)", "pow(4).mul(2)"))
    taken = door("sweep", "own.toml", ALLOW)
    assert taken.code == 0
    assert "takes over the source of met; its models are the same" in taken.err
    assert listing(own / "runs/own/packs") == packs
    twice = pq.read_table("runs/own/neurons.parquet")["kurtosis"]
    assert twice.to_pylist() == pytest.approx([2 * each for each in column.to_pylist()])
    digest = digest_of(own / "met.py")
    assert json.loads((own / "runs/own/manifest.json").read_bytes())["code"]["met"] == digest

    assert door("sweep", "own.toml", "--extend", "--grid", "seed=0,1,2", ALLOW).code == 0
    assert json.loads((own / "runs/own/manifest.json").read_bytes())["sweeps"] == 2


def test_read_elsewhere_tables_and_weights_are_there_and_running_is_one_sentence(own: Path) -> None:
    assert door("sweep", "own.toml", ALLOW).code == 0
    elsewhere = own.parent / "elsewhere"
    shutil.move(own / "runs/own", elsewhere)
    os.chdir(own.parent)
    run, x = tm.load("elsewhere"), torch.rand(6, 8)
    assert len(run.models) == 6
    models = [run.model(k) for k in range(6)]
    assert {tuple(each.parameters.W_in.shape) for each in models} == {(1, 3, 6)}
    assert models[0](x).out.shape == (1, 3, 8)  # ReLU is there
    with pytest.raises(FolderError, match="'mine:Cube' is code of your own that was not imported"):
        models[2](x)
    for use in (
        lambda e: e.target.of(6, [0]),
        lambda e: e.features.values.mean,
        lambda e: e.importance(),
        lambda e: e.best_constant_loss(),
    ):
        with pytest.raises(FolderError, match=r"'mine:(Xor|Root)' is code of your own"):
            use(models[0].experiment)
    assert door("tables", "elsewhere").code == 4
    assert ALLOW in door("tables", "elsewhere").err
    missing = door("tables", "elsewhere", ALLOW)
    assert missing.code == 4
    assert "mine: no such module" in missing.err
    assert door("show", "elsewhere").code == door("report", "elsewhere").code == 0
    os.chdir(own)
    allowed = tm.load(elsewhere, allow_code=True).model(2)
    assert torch.equal(allowed(x).mid, (allowed.parameters.W_in @ x) ** 3)
    tables = {name: of for name, of in listing(elsewhere).items() if "parquet" in name}
    assert door("tables", elsewhere, ALLOW).code == 0
    assert {name: of for name, of in listing(elsewhere).items() if "parquet" in name} == tables


def test_nothing_from_a_run_folder_or_a_sweep_is_imported_unasked(own: Path) -> None:
    """Fault 25: a folder that brings a module of the name that its sweep names."""
    assert door("sweep", "own.toml", ALLOW).code == 0
    run = own / "runs/own"
    shutil.copyfile(own / "mine.py", run / "mine.py")
    for path in (own / "mine.py", own / "imported"):
        path.unlink()
    sys.modules.pop("mine", None)
    commands = ("show", "status", "report", "tables", "verdict", "figure tms_intro", "answer inspection")
    for folder in (own, run):  # where Python would find it, too
        os.chdir(folder)
        for command in commands:
            assert door(*command.split(), run).code in (0, 1, 2, 4)
        tm.load(run).model(2)
        assert door("sweep", run / "sweep.toml", "--out", run).code == 2
        for with_leave in (("sweep", run / "sweep.toml", "--out", run), ("tables", run)):
            refused = door(*with_leave, ALLOW)
            assert refused.code in (2, 4)
            assert "mine: no such module" in refused.err
        assert not (folder / "imported").exists()
    assert "mine" not in sys.modules
    os.chdir(own)
    (own / "deep.toml").write_text(SWEEP)
    shutil.move(run / "mine.py", run / "packs" / "mine.py")
    shutil.copyfile(own / "deep.toml", run / "packs" / "deep.toml")
    deep = door("sweep", run / "packs" / "deep.toml", "--out", own / "new", ALLOW)
    assert deep.code == 2
    assert "mine: no such module" in deep.err


# ------------------------------------------------------------------------------------------------------------ one word


@pytest.mark.parametrize(
    ("name", "word", "kind"),
    [("activation", "mine:Cube", "Cube"), ("activation", "mine:fifth", "Cube"), ("target", "mine:Half", "Half")],
)
def test_a_word_is_a_class_or_an_instance(name: str, word: str, kind: str) -> None:
    experiment = built(setting(name, word))
    found = experiment.bottleneck.activation if name == "activation" else experiment.target
    assert type(found).__name__ == kind
    with pytest.raises(SpecError, match=rf"{name}: '{word}' is code of your own.*--allow-code"):
        built(setting(name, word), allow=False)


@pytest.mark.parametrize(
    ("source", "word", "says"),
    [
        ("", "other:Cube", "other.py has no Cube"),
        ("class Cub: pass", "other:Cube", r"has no Cube \(did you mean 'Cub'\?\)"),
        ("Cube = 3", "other:Cube", "expected an activation, a subclass of toymodels.Activation, got 3"),
        ("import toymodels as tm\nCube = tm.Identity", "other:Cube", "expected an activation"),
        ("1 / 0", "other:Cube", r"cannot be imported from .* \(ZeroDivisionError: division by zero\)"),
        ("raise SystemExit(0)", "other:Cube", r"\(SystemExit: 0\)"),
        ("def", "other:Cube", "SyntaxError"),
        ("import no_such_thing", "other:Cube", "ModuleNotFoundError"),
        ("", "nowhere:Cube", "nowhere: no such module: neither installed nor in"),
        ("", "json:Cube", "is a module of Python itself"),
        ("", "toymodels.activations:ReLU", "is a module of this package"),
        ("", "__main__:Cube", "is a module of the running script or notebook"),
        ("", "other.inner:Cube", "cannot be imported"),
        ("from mine import Cube\nclass Need(Cube):\n  def __init__(self, a): pass", "other:Need", "name an instance"),
        ("from mine import Cube\nclass Un(Cube):\n  name = None", "other:Un", "has a name, a string"),
        ("from mine import Cube\nclass Un(Cube):\n  __hash__ = None", "other:Un", "has no hash"),
        ("from mine import Cube\nclass Un(Cube):\n  def __call__(self, z, dim=-1): 1/0", "other:Un", "raised ZeroDiv"),
        (
            "from mine import Cube\nclass Un(Cube):\n  def __call__(self, z, dim=-1): return z[0]",
            "other:Un",
            "shape of z",
        ),
    ],
)
def test_what_cannot_be_used_is_one_sentence(own: Path, source: str, word: str, says: str) -> None:
    (own / "other.py").write_text(source)
    with pytest.raises(CodeError, match=says) as caught:
        built(setting("activation", word))
    assert str(caught.value).startswith(f"file.toml: model.activation: '{word}': ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "word", ["mine", ":Cube", "mine:", "mine:Cube()", "../mine:Cube", "mine:Cube.x", "a b:c", "é:x"]
)
def test_what_is_no_name_is_an_unknown_word(word: str) -> None:
    with pytest.raises(SpecError, match="unknown activation"):
        built(setting("activation", word))


def test_roles_that_are_not_offered_know_no_code() -> None:
    with pytest.raises(SpecError, match="loss: expected"):
        built(setting("loss", "mine:Cube"))


@pytest.mark.parametrize("given", ['"mine:kurtosis"', "[3]", '["kurtosis"]', '["a:b", "a:b"]', '[["a:b"]]'])
def test_metrics_that_cannot_be_are_one_sentence(given: str) -> None:
    with pytest.raises(SpecError, match=r"metrics: (expected a list of names|a name stands twice)"):
        parse(f"metrics = {given}\n{SMALL}", "file", "file.toml")


def test_a_metric_is_what_register_gives() -> None:
    with pytest.raises(CodeError, match=r"expected what toymodels\.metrics\.register returns"):
        make_plan(read_allowed(f'metrics = ["mine:fifth"]\n{SMALL}'))


def test_edited_source_is_imported_afresh_in_one_process(own: Path) -> None:
    z = torch.tensor([2.0])
    for power in (3, 4, 3):
        (own / "mine.py").write_text(MINE.replace("power: int = 3", f"power: int = {power}"))
        activation = built(setting("activation", "mine:Cube")).bottleneck.activation
        assert activation(z).item() == 2.0**power


def test_a_package_is_told_apart_by_all_its_source(own: Path) -> None:
    package = own / "package"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "inner.py").write_text("from package.power import POWER\nfrom mine import Cube\ncube = Cube(POWER)\n")
    found = []
    for power in (3, 4):
        (package / "power.py").write_text(f"POWER = {power}\n")
        sweep = read_allowed(setting("activation", "package.inner:cube"))
        assert sweep.settings(0).experiment("x").bottleneck.activation.power == power
        found.append(sweep.code.sources["package.inner"])
    names = ("__init__.py", "inner.py", "power.py")
    lines = [f"{hashlib.sha256((package / name).read_bytes()).hexdigest()}  {name}\n" for name in names]
    assert found[1] == hashlib.sha256("".join(lines).encode()).hexdigest() != found[0]


def test_an_imported_module_of_that_name_is_not_replaced(own: Path) -> None:
    (own / "pytest.py").write_text("Cube = 1")
    with pytest.raises(CodeError):
        built(setting("activation", "pytest:Cube"))
    assert sys.modules["pytest"] is pytest


def test_a_worker_imports_the_same_or_refuses(own: Path) -> None:
    plan = make_plan(read_allowed(SWEEP))
    store = Store.create_or_open(own / "run", plan, "autograd", "cpu")
    store.release()
    of = ("autograd", "cpu", made_with("autograd", "cpu"))
    orders = [pickle.loads(pickle.dumps(order_of(Job.of(store, plan, pack), *of))) for pack in plan.packs]
    assert carry_out(orders[1]).ended.models == 2  # type: ignore[union-attr]
    assert "neurons.kurtosis" in Mapped(store.measures_path(plan.packs[1])).names
    (own / "mine.py").write_text(MINE + "\n")
    with pytest.raises(CodeError, match="mine: a worker has other source of it"):
        carry_out(orders[2])
    (own / "mine.py").unlink()
    with pytest.raises(CodeError, match="mine: no such module"):
        carry_out(orders[2])
