"""A run folder written to in any order, interrupted, damaged, continued, extended: whole packs are always the same."""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from toymodels.sweeps.errors import FolderError
from toymodels.sweeps.execution.deriving import rebuild
from toymodels.sweeps.execution.run import run
from toymodels.sweeps.plan.plan import Plan
from toymodels.sweeps.spec.sweep import parse
from toymodels.sweeps.store.locks import Shard
from toymodels.sweeps.store.store import Store
from toymodels.sweeps.store.tensorfile import Damaged, deserialise

TEXT = """
question = "Is it whole?"
[features]
n = 5
density = 0.3
[model]
hidden = 2
[train]
steps = 3
batch = 8
[eval]
samples = 64
[grid]
"model.activation" = ["relu", "solu", "gelu"]
"model.layer_norm" = [false, true]
seed = { range = [0, 2] }
"""
LARGER = TEXT.replace("[0, 2]", "[0, 3]").replace('["relu"', '["elu", "relu"')
SWEEPS = [parse(text, "tiny", "tiny.toml") for text in (TEXT, LARGER)]
"""That of the folder as it begins, and as it is extended."""
DAMAGE = {
    "truncated": lambda data: data[: len(data) // 2],
    "empty": lambda _: b"",
    "zeroed": lambda data: bytes(len(data)),
    "one bit": lambda data: data[:-1] + bytes([data[-1] ^ 1 if data else 1]),
    "foreign": lambda _: b"\x80\x04N.",  # a pickle
}


class Killed(BaseException):
    """The end of a process, as far as what it leaves behind goes: nothing is cleaned up."""


def is_extended(folder: Path) -> bool:
    return (folder / "manifest.json").exists() and Store(folder).manifest.sweeps > 0


def go(folder: Path, shard: Shard | None = None, extend: bool = False) -> Plan:
    plan = Store(folder).plan_for(SWEEPS[extend or is_extended(folder)], extend)
    run(plan, folder, "autograd", "cpu", shard=shard)
    return plan


def files(folder: Path) -> dict[str, bytes]:
    """All but locks, what was set aside, and the sweep files of an extension that did not come about."""
    found = (path for path in sorted(folder.rglob("*")) if path.is_file())
    kept = (path for path in found if not path.name.startswith(".lock") and ".damaged-" not in path.name)
    kept = (path for path in kept if is_extended(folder) or not path.name.startswith("sweep-"))
    return {str(path.relative_to(folder)): path.read_bytes() for path in kept}


@pytest.fixture(scope="module", autouse=True)
def _reference(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("reference") / "run"
    go(folder)
    begun = files(folder)
    go(folder, extend=True)
    Folder.either = (begun, files(folder))


class Folder(RuleBasedStateMachine):
    """A run folder and what was done to it."""

    either: tuple[dict[str, bytes], dict[str, bytes]] = ({}, {})

    @initialize()
    def begin(self) -> None:
        self.above = Path(tempfile.mkdtemp(prefix="store machine "))
        self.folder = self.above / "run"
        self.damaged: set[str] = set()

    def teardown(self) -> None:
        if hasattr(self, "above"):
            go(self.folder)
            assert files(self.folder) == self.expected
            shutil.rmtree(self.above)

    @property
    def expected(self) -> dict[str, bytes]:
        """What an undisturbed folder has, as begun or as extended."""
        return self.either[is_extended(self.folder)]

    @property
    def begun(self) -> bool:
        return (self.folder / "manifest.json").exists()

    @property
    def names(self) -> list[str]:
        return sorted(path.name for path in (self.folder / "packs").glob("*.safetensors"))

    def made(self, plan: Plan, shard: Shard | None = None) -> None:
        """These packs were looked at, and what was damaged of them is whole again."""
        own = (pack.index for pack in plan.packs if shard is None or shard.has(pack.index))
        self.damaged -= {f"{pack:08d}.safetensors" for pack in own}

    @rule()
    def finish(self) -> None:
        self.made(go(self.folder))
        assert files(self.folder) == self.expected

    @precondition(lambda self: self.begun)
    @rule()
    def extend(self) -> None:
        self.made(go(self.folder, extend=True))
        assert is_extended(self.folder)
        assert files(self.folder) == self.expected

    @rule(of=st.integers(1, 4), data=st.data())
    def shard(self, of: int, data: st.DataObject) -> None:
        own = Shard(data.draw(st.integers(0, of - 1)), of)
        plan = go(self.folder, own)
        self.made(plan, own)
        for pack in plan.packs:
            assert not own.has(pack.index) or Store(self.folder).pack_path(pack).exists()

    @rule(after=st.integers(0, 40), where=st.sampled_from(["fsync", "replace", "token_hex"]), extend=st.booleans())
    def killed(self, after: int, where: str, extend: bool) -> None:
        """In a system call of some write, leaving everything as it is then."""
        module = secrets if where == "token_hex" else os  # a temporary's name, before it is made
        real, left = getattr(module, where), after

        def counted(*arguments: Any, **named: Any) -> Any:
            nonlocal left
            left -= 1
            if left < 0:
                raise Killed
            return real(*arguments, **named)

        with mock.patch.object(module, where, counted), mock.patch.object(Path, "unlink"):
            try:
                self.made(go(self.folder, extend=extend and self.begun))
            except Killed:
                # What was damaged may have been set aside and trained anew before that.
                self.damaged &= {name for name in self.names if not self.is_whole(name)}

    @precondition(lambda self: self.begun and self.names)
    @rule(data=st.data(), how=st.sampled_from(sorted(DAMAGE)))
    def damage(self, data: st.DataObject, how: str) -> None:
        name = data.draw(st.sampled_from(self.names))
        path = self.folder / "packs" / name
        path.write_bytes(DAMAGE[how](path.read_bytes()))
        self.damaged.add(name)

    @precondition(lambda self: self.begun)
    @rule(data=st.data())
    def lose_what_is_derived(self, data: st.DataObject) -> None:
        derived = [path for path in self.folder.rglob("*") if path.suffix in (".parquet", ".digest")]
        derived += list((self.folder / "measures").glob("*.safetensors"))
        for path in data.draw(st.lists(st.sampled_from(sorted(derived)), unique=True)) if derived else []:
            path.unlink()

    @precondition(lambda self: self.begun)
    @rule()
    def rebuild(self) -> None:
        whole = [name for name in self.names if self.is_whole(name)]
        store = Store.open_existing(self.folder)
        store.lock()
        try:
            assert rebuild(store) == len(whole)
        except FolderError:
            assert not whole
        finally:
            store.release()
        self.damaged.clear()  # what was damaged is set aside

    def is_whole(self, name: str) -> bool:
        try:
            deserialise(self.folder / "packs" / name)
        except Damaged:
            return False
        return True

    @invariant()
    def what_is_not_damaged_is_what_an_undisturbed_run_has(self) -> None:
        for name in self.names if hasattr(self, "folder") and self.begun else []:
            if name not in self.damaged:
                assert (self.folder / "packs" / name).read_bytes() == self.expected[f"packs/{name}"]


Folder.TestCase.settings = settings(
    max_examples=15, stateful_step_count=12, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
TestFolder = Folder.TestCase
