"""Machines: what those that train have decides, whatever the machine has that a run is begun on."""

from __future__ import annotations

import pickle
from contextlib import nullcontext
from pathlib import Path
from unittest import mock

import pytest
import torch

from tests.conftest import BODY, TINIER, door
from toymodels.engines import ENGINES
from toymodels.kernels.on_gpu import availability
from toymodels.sweeps.console import request
from toymodels.sweeps.errors import SpecError
from toymodels.sweeps.execution import choosing, dask
from toymodels.sweeps.execution.choosing import resolve_device, resolve_engine
from toymodels.sweeps.execution.dask import Cluster
from toymodels.sweeps.execution.devices import automatic
from toymodels.sweeps.execution.job import Job
from toymodels.sweeps.execution.machines import Machine
from toymodels.sweeps.execution.processes import visible_gpus
from toymodels.sweeps.execution.reporter import SILENT, Reporter
from toymodels.sweeps.execution.workers import WorkerLacks, carry_out, check_able, order_of
from toymodels.sweeps.plan.plan import Plan, make_plan
from toymodels.sweeps.spec.sweep import parse
from toymodels.sweeps.store.store import Store

NO_TRITON = "the gpu engine needs Triton"
GPU = Machine(1, {}, "tcp://gpu:1")
BARE = Machine(1, {(name, "cuda"): NO_TRITON for name in ENGINES if name.startswith("gpu")}, "tcp://bare:2")
CPU = Machine(0, {("gpu", "cuda"): "no GPU", ("gpu", "cpu"): "not on cpu"}, "tcp://cpu:3")


def plan(text: str = TINIER) -> Plan:
    return make_plan(parse(text, "tiny", "tiny.toml"))


@pytest.fixture
def notes() -> list[str]:
    return []


@pytest.fixture
def tell(notes: list[str]) -> Reporter:
    return Reporter(notes.append)


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is asked of other machines is not asked of this one, whatever it has."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)


def test_this_machine_says_what_each_of_its_engines_lacks_on_each_kind_of_device(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(availability.SWITCH, raising=False)
    here = Machine.here()
    assert here.cannot("autograd", "cpu") is here.cannot("fused", "cpu") is None
    assert here.cannot("autograd", "cuda:1") == "this machine has no CUDA device that torch can use"
    assert here.cannot("gpu", "cpu") == here.without_engine("gpu", "cpu") == ENGINES["gpu"].lacks("cpu")
    assert pickle.loads(pickle.dumps(here)) == here
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    worker = Machine.here("tcp://x:1")
    assert (worker.gpus, worker.cannot("autograd", "cuda")) == (2, None)
    assert str(worker) == "the worker at tcp://x:1"


def test_auto_is_cuda_where_every_worker_has_it_and_else_the_cpu_that_all_have() -> None:
    assert str(automatic({}, [GPU, BARE])) == "device cuda: workers with a CUDA device: 2 of 2"
    assert str(automatic({}, [GPU, CPU])) == (
        "device cpu: workers with a CUDA device: 1 of 2, not tcp://cpu:3; a run is on one kind of device: to have it "
        "on GPUs, stop such workers and choose --device cuda"
    )
    assert not automatic({}, [GPU, CPU]).expected
    assert (automatic({}, [CPU]).device, automatic({}, [CPU]).expected) == ("cpu", True)
    assert automatic({"device": "cuda"}, []).expected
    assert automatic({"device": "cuda"}, []).device == "cuda"


def test_a_device_that_one_worker_lacks_is_refused_and_that_worker_named(notes: list[str], tell: Reporter) -> None:
    assert resolve_device("cuda", {}, tell, [GPU, BARE]) == resolve_device("auto", {}, tell, [GPU]) == "cuda"
    assert notes.pop() == "device cuda: workers with a CUDA device: 1 of 1"
    with pytest.raises(
        SpecError,
        match=r"--device: the worker at tcp://cpu:3 has no CUDA device that torch can use \(choose auto or cpu",
    ):
        resolve_device("cuda", {}, tell, [GPU, CPU])
    assert notes == []


def test_the_engine_is_one_by_which_every_worker_can_train(notes: list[str], tell: Reporter) -> None:
    assert resolve_engine("auto", "cuda", plan(), {}, tell, [GPU]) == "gpu"
    assert resolve_engine("gpu", "cuda", plan(), {}, tell, [GPU, GPU]) == "gpu"
    assert notes == []
    assert resolve_engine("auto", "cuda", plan(), {}, tell, [GPU, BARE]) == "autograd"
    assert notes.pop() == f"engine autograd: the worker at tcp://bare:2: {NO_TRITON}"
    with pytest.raises(SpecError, match=f"--engine: the worker at tcp://bare:2: {NO_TRITON}"):
        resolve_engine("gpu", "cuda", plan(), {}, tell, [GPU, BARE])
    with pytest.raises(SpecError, match="--engine: the worker at tcp://cpu:3: not on cpu"):
        resolve_engine("gpu", "cpu", plan(), {}, tell, [CPU])
    assert resolve_engine("auto", "cpu", plan(), {}, tell, [GPU, CPU]) == "fused"


def test_what_an_engine_has_no_code_for_is_refused_wherever_it_would_be_trained(notes: list[str]) -> None:
    large = plan(BODY.replace("n = 6", "n = 512").replace("hidden = 2", "hidden = 256\ntied = false"))
    with pytest.raises(SpecError, match="--engine: the gpu engine holds a model in one multiprocessor"):
        resolve_engine("gpu", "cuda", large, {}, SILENT, [GPU])
    assert resolve_engine("auto", "cuda", large, {}, Reporter(notes.append), [GPU]) == "autograd"
    assert notes.pop().startswith("engine autograd: the gpu engine holds a model in one multiprocessor")


def asked(folder: Path, scheduler: str | None = "tcp://x:1", device: str = "auto") -> request.Request:
    return request.resolve(
        parse(TINIER, "tiny", "tiny.toml"),
        out=folder,
        device=device,
        engine="auto",
        shard=None,
        workers=None,
        scheduler=scheduler,
        extend=False,
        reporter=SILENT,
    )


def test_workers_are_asked_where_a_run_is_begun_and_one_that_was_is_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So a finished run returns at once, without a scheduler."""
    asking: list[str] = []

    def workers_of(scheduler: str, _: Reporter) -> list[Machine]:
        asking.append(scheduler)
        return [GPU, GPU]

    monkeypatch.setattr(dask, "workers_of", workers_of)
    begun = asked(tmp_path)
    assert (begun.engine, begun.device) == ("gpu", "cuda")
    assert (asked(tmp_path, None).engine, asked(tmp_path, None).device) == ("fused", "cpu")
    assert asking == ["tcp://x:1"]
    Store.create_or_open(tmp_path, begun.plan, "gpu", "cuda").release()
    followed = asked(tmp_path)
    assert (followed.engine, followed.device) == ("gpu", "cuda")
    assert asking == ["tcp://x:1"]
    with pytest.raises(SpecError, match="this machine has no CUDA device"):
        asked(tmp_path, None)


def test_by_the_command_it_is_a_sentence_and_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(dask, "workers_of", lambda *_: [GPU, CPU])
    Path("tiny.toml").write_text(TINIER)
    on_workers = ("sweep", "tiny.toml", "--scheduler", "tcp://x:1")
    answer = door(*on_workers, "--device", "cuda")
    assert (answer.code, len(answer.err.splitlines())) == (2, 1)
    assert "--device: the worker at tcp://cpu:3 has no CUDA device" in answer.err
    monkeypatch.setattr(dask, "workers_of", lambda *_: [GPU])
    answer = door(*on_workers, "--dry-run")
    assert (answer.code, answer.err.splitlines()[-1]) == (
        0,
        "--dry-run: how long it takes cannot be told here, where models would be timed: this machine has no CUDA "
        "device that torch can use",
    )
    assert [line.partition(": ")[0] for line in answer.out.splitlines()] == ["tiny", "memory", "disk", "time"]
    assert answer.out.endswith("\ntime: cannot be told on this machine\n")
    told = door(*on_workers, "--dry-run", "--json").json()
    assert (told["models"], told["packs"], told["groups_measured"]) == (4, 2, 0)
    assert min(told["memory_bytes"], told["disk_bytes"]) > 0
    assert told["seconds"] is told["seconds_low"] is told["seconds_high"] is None
    monkeypatch.setattr(dask, "workers_of", mock.Mock(side_effect=AssertionError("nobody is to be asked")))
    for option, said in (("--device=cuda:1", "choose cuda"), ("--device=tpu", "got 'tpu'"), ("--engine=x", "choose ")):
        answer = door(*on_workers, option)
        assert (answer.code, said in answer.err) == (2, True)
    assert not Path("runs").exists()


@pytest.mark.parametrize("answer", [{}, OSError("Timed out")])
def test_workers_that_are_gone_before_they_answer_decide_nothing(
    answer: dict[str, Machine] | OSError, tell: Reporter
) -> None:
    client = mock.Mock(nthreads=lambda: {"tcp://x:1": 1}, get_versions=lambda **_: {"workers": {}})
    client.run = mock.Mock(side_effect=[answer])
    with pytest.raises(dask.ClusterLost, match="run the same command again"):
        dask._machines(client, tell)


def test_a_worker_that_came_later_and_lacks_something_is_refused_when_it_gets_a_pack(tmp_path: Path) -> None:
    sentence = (
        "every worker of this run must train by engine gpu on cuda: have none that cannot, or name another --engine or "
        "--device"
    )
    with pytest.raises(WorkerLacks, match=f"the worker at tcp://bare:2: {NO_TRITON}; {sentence}") as refused:
        check_able(BARE, "gpu", "cuda")
    assert refused.value.exit_code == 2
    check_able(GPU, "gpu", "cuda")
    store = Store.create_or_open(tmp_path, plan(), "gpu", "cuda")
    job = Job.of(store, plan(), plan().packs[0])
    with pytest.raises(WorkerLacks, match="has no CUDA device that torch can use; every worker"):
        carry_out(order_of(job, "gpu", "cuda", {}))
    store.release()


def test_gpus_are_those_that_cuda_can_see(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert visible_gpus() == ["0", "1"]
    for given in ("3,GPU-5", "3,GPU-5,-1,0"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", given)
        assert visible_gpus() == ["3", "GPU-5"]
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert visible_gpus() == []


def test_more_workers_than_gpus_share_them_and_that_is_said(
    monkeypatch: pytest.MonkeyPatch, notes: list[str], tell: Reporter
) -> None:
    monkeypatch.setattr(dask, "local_cluster", lambda *_: nullcontext())
    monkeypatch.setattr(dask, "Client", lambda _: nullcontext())
    monkeypatch.setattr(dask, "visible_gpus", lambda: ["0", "1"])
    for workers, device in ((2, "cuda"), (3, "cpu"), (3, "cuda")):
        assert notes == []
        with Cluster("gpu", device, workers=workers)._client(tell):
            pass
    assert notes == ["--workers 3 on 2 CUDA devices: workers share them, and their memory"]


def test_the_options_are_looked_at_before_anybody_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choosing, "find_spec", lambda _: None)
    with pytest.raises(SpecError, match="--scheduler: needs Dask"):
        choosing.check_options("auto", "auto", None, "tcp://x:1", None)
    with pytest.raises(SpecError, match="cuda:1 is one device, and --workers is for several"):
        choosing.check_options("gpu", "cuda:1", 2, None, None)
    choosing.check_options("gpu", "cuda:1", None, None, None)
    for engine, device in (("auto", "tpu"), ("auto", "cuda:x"), ("auto", "cpu:0"), ("abacus", "auto")):
        with pytest.raises(
            SpecError, match="--engine: 'abacus' is not in" if engine == "abacus" else f"got '{device}'"
        ):
            choosing.check_options(engine, device, None, "tcp://x:1", None)
    assert isinstance(choosing.choose_executor("gpu", "cuda", None, "tcp://x:1"), Cluster)
