"""A run folder written to in any order, interrupted, damaged, continued: whole packs are always the same."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from sweeps.errors import FolderError
from sweeps.locks import Shard
from sweeps.plan import make_plan
from sweeps.run import rebuild, run
from sweeps.store import Store
from sweeps.sweep import parse
from sweeps.tensorfile import Damaged, deserialise

PLAN = make_plan(
    parse(
        """
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
""",
        "tiny",
        "tiny.toml",
    )
)
PACKS = len(PLAN.packs)
DAMAGE = {
    "truncated": lambda data: data[: len(data) // 2],
    "empty": lambda _: b"",
    "zeroed": lambda data: bytes(len(data)),
    "one bit": lambda data: data[:-1] + bytes([data[-1] ^ 1 if data else 1]),
    "foreign": lambda _: b"\x80\x04N.",  # a pickle
}


class Killed(BaseException):
    """The end of a process, as far as what it leaves behind goes: nothing is cleaned up."""


def nothing(_: Any) -> None:
    return None


def go(folder: Path, shard: Shard | None = None) -> None:
    run(PLAN, folder, "autograd", "cpu", nothing, nothing, nothing, shard)


def files(folder: Path) -> dict[str, bytes]:
    """All but locks, and what was set aside."""
    found = (path for path in sorted(folder.rglob("*")) if path.is_file())
    kept = (path for path in found if not path.name.startswith(".lock") and ".damaged-" not in path.name)
    return {str(path.relative_to(folder)): path.read_bytes() for path in kept}


@pytest.fixture(scope="module", autouse=True)
def _reference(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("reference") / "run"
    go(folder)
    Folder.expected = files(folder)


class Folder(RuleBasedStateMachine):
    """A run folder and what was done to it."""

    expected: dict[str, bytes] = {}  # noqa: RUF012

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
    def begun(self) -> bool:
        return (self.folder / "manifest.json").exists()

    @property
    def names(self) -> list[str]:
        return sorted(path.name for path in (self.folder / "packs").glob("*.safetensors"))

    def made(self, packs: set[int]) -> None:
        """These packs were looked at, and what was damaged of them is whole again."""
        self.damaged -= {f"{pack:08d}.safetensors" for pack in packs}

    @rule()
    def finish(self) -> None:
        go(self.folder)
        self.made(set(range(PACKS)))
        assert files(self.folder) == self.expected

    @rule(of=st.integers(1, 4), data=st.data())
    def shard(self, of: int, data: st.DataObject) -> None:
        own = Shard(data.draw(st.integers(0, of - 1)), of)
        go(self.folder, own)
        self.made({pack for pack in range(PACKS) if own.has(pack)})
        for pack in PLAN.packs:
            assert not own.has(pack.index) or Store(self.folder).pack_path(pack).exists()

    @rule(after=st.integers(0, 40), where=st.sampled_from(["fsync", "replace", "mkstemp"]))
    def killed(self, after: int, where: str) -> None:
        """In a system call of some write, leaving everything as it is then."""
        module = tempfile if where == "mkstemp" else os
        real, left = getattr(module, where), after

        def counted(*arguments: Any, **named: Any) -> Any:
            nonlocal left
            left -= 1
            if left < 0:
                raise Killed
            return real(*arguments, **named)

        with mock.patch.object(module, where, counted), mock.patch.object(Path, "unlink"):
            try:
                go(self.folder)
                self.made(set(range(PACKS)))
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
            assert rebuild(store, nothing) == len(whole)
        except FolderError:
            assert not whole
        finally:
            store.release()
        self.made(set(range(PACKS)))  # what was damaged is set aside

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
