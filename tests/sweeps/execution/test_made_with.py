"""What packs are made with: recorded of who trains, said where it differs, and the same among the workers of a run."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch

from tests.conftest import TINIER, listing
from toymodels.engines import ENGINES
from toymodels.sweeps.execution import dask
from toymodels.sweeps.execution.checkpoints import Checkpoints
from toymodels.sweeps.execution.dask import Cluster
from toymodels.sweeps.execution.job import Job
from toymodels.sweeps.execution.local import InProcess
from toymodels.sweeps.execution.machines import Machine, made_with
from toymodels.sweeps.execution.reporter import SILENT, Reporter
from toymodels.sweeps.execution.run import run
from toymodels.sweeps.execution.workers import VersionsDiffer, WorkerLacks, carry_out, order_of, public
from toymodels.sweeps.plan.plan import make_plan
from toymodels.sweeps.spec.sweep import parse
from toymodels.sweeps.store.manifest import Manifest, of_bytes, versions
from toymodels.sweeps.store.store import Store

PLAN = make_plan(parse(TINIER, "tiny", "tiny.toml"))
H100, A100 = "NVIDIA H100 80GB HBM3", "NVIDIA A100-SXM4-40GB"
TORCH = public(versions()["torch"])


@pytest.fixture
def has(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Gives this machine a GPU, which trains nothing."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)

    def gpu(name: str) -> None:
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda *_: name)

    gpu(H100)
    return gpu


def test_on_a_cpu_it_is_what_it_was(tmp_path: Path) -> None:
    for engine in ENGINES:
        assert made_with(engine, "cpu") == of_bytes()
    assert Checkpoints("fused", "cpu", SILENT).made_by.keys() == {"engine", "numerics", "versions"}
    run(PLAN, tmp_path, "autograd", "cpu")
    assert json.loads((tmp_path / "manifest.json").read_text())["versions"] == of_bytes()


def test_on_a_gpu_it_names_the_gpu_and_the_kernels_of_the_engine_with_their_compiler(
    has: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    assert made_with("autograd", "cuda:1") == of_bytes() | {"gpu": H100}
    said = ENGINES["gpu"].fingerprint()
    theirs = {name: said[name] for name in ("gpu kernels", "triton")}
    for engine in ("gpu", "gpu_split", "gpu_tf32"):
        assert made_with(engine, "cuda") == of_bytes() | theirs | {"gpu": H100}


def test_the_gpu_is_that_which_trains(has: Callable[[str], None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda of="cuda:0": {"cuda:0": A100, "cuda:1": H100}[of])
    assert InProcess("autograd", "cuda:1").made_with(SILENT, begun=False)["gpu"] == H100


def test_a_folder_goes_on_on_another_gpu_and_says_so(has: Callable[[str], None], tmp_path: Path) -> None:
    """Nothing of it is trained here: there is no GPU."""
    run(PLAN, tmp_path, "autograd", "cpu")
    as_on_a_gpu = Manifest.begun(PLAN, "autograd", "cuda", made_with("autograd", "cuda"))
    (tmp_path / "manifest.json").write_bytes(as_on_a_gpu.to_bytes())

    def again() -> list[str]:
        notes: list[str] = []
        assert run(PLAN, tmp_path, "autograd", "cuda", Reporter(notes.append)).models == len(PLAN)
        return notes

    assert again() == []
    has(A100)
    assert again() == [f"{tmp_path}: begun with gpu {H100}, now {A100}: packs may differ in rounding"]
    before = as_on_a_gpu.to_bytes().replace(f'"gpu": "{H100}",'.encode(), b"")  # of a version that did not say
    (tmp_path / "manifest.json").write_bytes(before)
    assert again() == [f"{tmp_path}: begun with gpu unknown, now {A100}: packs may differ in rounding"]


def test_a_checkpoint_of_another_gpu_is_moved_aside(has: Callable[[str], None], tmp_path: Path) -> None:
    store = Store.create_or_open(tmp_path, PLAN, "gpu", "cuda")
    store.release()
    job, notes = Job.of(store, PLAN, PLAN.packs[0]), list[str]()
    Checkpoints("gpu", "cuda", SILENT).of(job).save({"step": torch.full((2,), 7)})
    assert Checkpoints("gpu", "cuda", SILENT).begun(job) == 7
    has(A100)
    found = Checkpoints("gpu", "cuda", Reporter(notes.append))
    assert found.begun(job) is None
    assert found.of(job).load() is None
    (note,) = notes
    assert "it has other gpu; kept as" in note


@pytest.fixture
def of_workers(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Gives a scheduler workers that make packs with what is told of each; the list says who has connected."""
    connected: list[str] = []

    def workers(*said: Mapping[str, str]) -> list[str]:
        at = {f"tcp://w:{number}": dict(each) for number, each in enumerate(said)}

        def asked(what: Any, *_: object) -> dict[str, Any]:
            return at if what is made_with else {address: Machine(1, {}) for address in at}

        packages = {
            address: {"packages": {**each, "python": f"{each['python']}.final.0"}} for address, each in at.items()
        }
        client = mock.Mock(nthreads=lambda: at, get_versions=lambda **_: {"workers": packages}, run=asked)

        def client_of(scheduler: str) -> Any:
            connected.append(scheduler)
            return nullcontext(client)

        monkeypatch.setattr(dask, "_client_of", client_of)
        return connected

    return workers


def a_worker(**of: str) -> dict[str, str]:
    return of_bytes() | {"gpu": H100, "triton": "3.9.0", "gpu kernels": "ab12"} | of


ON_WORKERS = Cluster("gpu", "cuda", "tcp://x:1")


def test_workers_have_the_versions_of_the_client_and_their_own_builds_of_them(
    of_workers: Callable[..., list[str]],
) -> None:
    """So that a login node may have PyTorch for CPUs."""
    built = a_worker(torch=f"{TORCH}+cu130")
    connected = of_workers(built, built)
    assert ON_WORKERS.made_with(SILENT, begun=True) == {}
    assert connected == []  # a finished folder needs no scheduler
    assert ON_WORKERS.made_with(SILENT, begun=False) == built
    of_workers(built, a_worker(torch="1.0.0+cu130"))
    sentence = rf"a worker at tcp://w:1 has torch 1\.0\.0 there and {TORCH} here: its packs would be other bytes"
    with pytest.raises(VersionsDiffer, match=sentence):
        ON_WORKERS.made_with(SILENT, begun=False)


@pytest.mark.parametrize(
    "name, one, other",
    [("torch", f"{TORCH}+cu130", f"{TORCH}+cu126"), ("triton", "3.9.0", "3.6.0"), ("gpu kernels", "ab12", "cd34")],
)
def test_workers_of_one_run_have_the_same_to_the_letter(
    of_workers: Callable[..., list[str]], name: str, one: str, other: str, tmp_path: Path
) -> None:
    of_workers(a_worker(**{name: one}), a_worker(**{name: other}))
    with pytest.raises(VersionsDiffer) as refused:
        run(PLAN, tmp_path / "run", "gpu", "cuda", executor=ON_WORKERS)
    assert str(refused.value).startswith(f"a worker at tcp://w:1 has {name} {other} there and {one} at tcp://w:0: its")
    assert refused.value.exit_code == 2
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("able", [False, True])
def test_workers_are_asked_before_a_folder_is_extended(
    able: bool, of_workers: Callable[..., list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(PLAN, tmp_path, "autograd", "cpu")
    (tmp_path / "manifest.json").write_bytes(Manifest.begun(PLAN, "gpu", "cuda", a_worker()).to_bytes())
    before = listing(tmp_path)
    longer = Store(tmp_path).plan_for(parse(TINIER.replace("[0, 1]", "[0, 1, 2]"), "tiny", "tiny.toml"), extend=True)
    assert len(longer) > len(PLAN)
    of_workers(a_worker(), a_worker(triton="3.6.0"))
    if not able:
        monkeypatch.setattr(dask, "_machines", lambda *_: [Machine(0, {}, "tcp://w:0")])
    with pytest.raises(VersionsDiffer if able else WorkerLacks) as refused:
        run(longer, tmp_path, "gpu", "cuda", executor=ON_WORKERS)
    assert refused.value.exit_code == 2
    assert listing(tmp_path) == before


def test_workers_with_other_gpus_train_and_that_is_said_once(
    of_workers: Callable[..., list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of another processor; the folder is that of the first."""
    of_workers(a_worker(), a_worker(gpu=A100), a_worker(gpu=A100))
    monkeypatch.setattr(dask, "_finish_on", lambda *_: iter(()))  # nobody trains
    notes: list[str] = []
    run(PLAN, tmp_path, "gpu", "cuda", Reporter(notes.append), executor=ON_WORKERS)
    assert notes == [f"{tmp_path}: begun with gpu {H100}, now {A100}: packs may differ in rounding"]
    assert Store(tmp_path).manifest.versions == a_worker()


def test_a_worker_that_comes_later_is_held_to_what_the_others_have(tmp_path: Path) -> None:
    store = Store.create_or_open(tmp_path, PLAN, "autograd", "cpu", made_with=of_bytes() | {"processor": "abacus"})
    store.release()
    job = Job.of(store, PLAN, PLAN.packs[0])
    others = {**of_bytes(), "torch": f"{TORCH}+cu000"}
    with pytest.raises(VersionsDiffer, match=rf"that came later has torch .* there and {TORCH}\+cu000 on the others"):
        carry_out(order_of(job, "autograd", "cpu", others))
    told = carry_out(order_of(job, "autograd", "cpu", {**of_bytes(), "processor": "abacus"}))
    assert [note.partition(", now")[0] for note in told.notes] == [f"{tmp_path}: begun with processor abacus"]
