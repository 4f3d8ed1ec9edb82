"""The door: results on stdout, one sentence on stderr, the right exit code, and never a traceback."""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.conftest import IN_FRONT, TINY, door, finish, listing, process
from toymodels import figures
from toymodels.engines import ENGINES
from toymodels.engines.autograd import AutogradEngine
from toymodels.hypotheses.answers import Answer
from toymodels.kernels.on_gpu.availability import triton_version
from toymodels.sweeps.execution import choosing, job, local, machines
from toymodels.sweeps.plan.plan import make_plan
from toymodels.sweeps.spec.sweep import parse, shipped
from toymodels.sweeps.store.locks import Lock
from toymodels.sweeps.store.store import Store

COMMANDS = ["sweep", "figure", "show", "tables", "report", "list", "status", "watch", "doctor"]
# Eight packs of about half a second each: time to be interrupted in.
LONG = TINY.replace("steps = 30", "steps = 1200").replace('["relu", "solu"]', '["relu", "solu", "gelu", "silu"]')


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test in a folder of its own, with the tiny and the long sweep in it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.toml").write_text(TINY)
    (tmp_path / "long.toml").write_text(LONG)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run, not to be changed."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "tiny.toml").write_text(TINY)
    assert door("sweep", folder / "tiny.toml", "--out", folder / "run").code == 0
    return folder / "run"


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "run"))


# ------------------------------------------------------------------------------------------------- help and import


@pytest.mark.parametrize("command", [[], *([name] for name in COMMANDS)], ids=lambda c: " ".join(c) or "toymodels")
def test_help_reads_well(command: list[str]) -> None:
    answer = door(*command, "--help")
    assert (answer.code, answer.err) == (0, "")
    assert "Usage:" in answer.out
    assert "--help" in answer.out
    if not command:
        assert all(name in answer.out for name in COMMANDS)


def test_sweep_help_names_every_option_of_the_contract() -> None:
    text = door("sweep", "--help").out
    assert all(f"--{name}" in text for name in ["out", "set", "grid", "device", "engine", "dry-run", "json"])


@pytest.mark.parametrize("command", [[], *([name] for name in COMMANDS)])
def test_help_has_a_short_name(command: list[str]) -> None:
    assert door(*command, "-h").out == door(*command, "--help").out


def test_completion_can_be_installed() -> None:
    assert "--install-completion" in door("--help").out


@pytest.mark.parametrize(
    "device, word",
    [
        ("cuda:1", "no CUDA device"),
        ("cuda:x", "such as cuda:1"),
        ("cpu:0", "such as cuda:1"),
        ("True", "such as cuda:1"),
    ],
)
def test_a_device_that_is_not_there_is_one_sentence(device: str, word: str) -> None:
    if device == "cuda:1" and torch.cuda.is_available():
        pytest.skip("there is one")
    answer = door("sweep", "tiny.toml", "--device", device)
    assert (answer.code, len(answer.err.splitlines())) == (2, 1)
    assert word in answer.err


def test_a_numbered_device_is_recorded_as_its_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert choosing.resolve_device("cuda:1", {}) == "cuda:1"
    assert machines.kind_of("cuda:1") == choosing.resolve_device("auto", {"device": "cuda"}) == "cuda"
    answer = door("sweep", "tiny.toml", "--device", "cuda:2")
    assert (answer.code, "cuda:0 to cuda:1" in answer.err) == (2, True)
    answer = door("sweep", "tiny.toml", "--device", "cuda:1", "--workers", "2")
    assert (answer.code, "choose cuda" in answer.err) == (2, True)


def test_import_takes_under_half_a_second() -> None:
    script = "import time; begin = time.perf_counter(); import toymodels.cli; print(time.perf_counter() - begin)"
    seconds = [float(subprocess.check_output([sys.executable, "-c", script])) for _ in range(4)]
    assert min(seconds) < 0.5


# ------------------------------------------------------------------------------------------------- success


def test_sweep_says_where_things_are_and_what_comes_next() -> None:
    answer = door("sweep", "tiny.toml")
    assert answer.code == 0
    lines = answer.out.splitlines()
    assert lines[0] == "tiny?"
    for table in ("models", "features", "neurons"):
        assert f"runs/tiny/{table}.parquet" in lines
        assert Path(f"runs/tiny/{table}.parquet").is_file()
    assert lines[-1] == "Next: toymodels verdict runs/tiny"
    assert "8 models" in answer.err


def test_what_comes_next_is_no_verdict_where_there_can_be_none() -> None:
    last = door("sweep", "tiny.toml", "--set", "model.layer_norm=false").out.splitlines()[-1]
    assert last == "Next: toymodels report runs/tiny"


def test_models_that_differ_in_nothing_they_have_are_said() -> None:
    answer = door("sweep", "tiny.toml", "--grid", "model.layer_norm_eps=1e-5,1e-12", "--dry-run")
    assert "4 models have no LayerNorm and differ from others only in its settings" in answer.err
    assert "have no LayerNorm" not in door("sweep", "tiny.toml", "--dry-run").err


def test_what_cannot_be_said_is_noted_once() -> None:
    answer = door("sweep", "tiny.toml", "--set", "features.signed=true", "--dry-run")
    assert answer.err.count("a ReLU output cannot say the negative half of signed values") == 1
    assert "cannot say" not in door("sweep", "tiny.toml", "--dry-run").err


def test_sets_that_fire_together_can_be_an_axis() -> None:
    text = TINY.replace("density = 0.3", 'density = 0.3\nfiring = { kind = "together", sets = [[0, 1]] }')
    Path("sets.toml").write_text(text + '"features.firing.sets" = [[[0, 1]], [[4, 2], [5, 0]]]\n')
    answer = door("sweep", "sets.toml", "--set", "train.steps=3", "--set", "model.layer_norm=false", "--json")
    assert answer.code == 0
    found = [arm["settings"]["features.firing.sets"] for arm in door("show", "runs/sets", "--json").json()["arms"]]
    assert found == [[[0, 1]]] * 2 + [[[0, 5], [2, 4]]] * 2
    assert door("show", "runs/sets").code == 0


def test_any_activation_can_be_the_output() -> None:
    few = ["--set", "train.steps=3", "--grid", "model.output=gelu,solu,xexp"]
    answer = door("sweep", "tiny.toml", *few, "--json")
    assert answer.code == 0
    assert "no kernel for output" in answer.err
    assert answer.json()["models"] == 24
    assert door("sweep", "tiny.toml", "--set", "model.output=solo").err.rstrip().endswith("(did you mean 'solu'?)")


def test_same_command_again_trains_nothing_and_changes_nothing(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = listing(run)
    monkeypatch.setattr(AutogradEngine, "train", None)
    answer = door("sweep", "tiny.toml", "--out", run, "--json")
    assert answer.code == 0
    assert answer.json()["trained"] == 0
    assert listing(run) == before


def test_set_and_grid_shape_the_sweep() -> None:
    options = ["--set", "model.layer_norm=true", "--set", "train.steps=5", "--grid", "model.activation=gelu,elu,silu"]
    answer = door("sweep", "tiny.toml", *options, "--grid", "seed={ range = [4, 6] }", "--json")
    assert answer.code == 0
    assert (answer.json()["models"], answer.json()["trained"]) == (6, 6)
    arms = [arm["settings"] for arm in door("show", "runs/tiny", "--json").json()["arms"]]
    assert [arm["model.activation"] for arm in arms] == ["gelu", "elu", "silu"]


def test_shipped_sweep_runs_small_and_draws_its_figure() -> None:
    small = ["train.steps=5", "train.batch=16", "eval.samples=64", "seed=0", "features.n=5"]
    own = {
        "two_tiers": ["--set=model.hidden=3", "--set=model.embedding=4", "--no-tune"],
        "two_tiers_full": ["--set=model.hidden=3", "--set=model.embedding=4", "--set=model.init_scale=1"],
        "solu_neurons": ["--set=model.hidden=3", "--set=model.embedding=4", "--no-tune"],
        "tms_phase": ["--set=features.n=2"],  # of two features over densities, and no other
        "decoder_width": ["--set=model.hidden=3", "--set=model.embedding=4"],
    }
    for name in figures.OF_SWEEPS:
        if name == "and_pairs":  # which has more pairs than five features make
            continue
        fixed = [f"--set={text}" for text in small] + own.get(name, [])
        density = [] if name == "tms_phase" else ["--set=features.density=0.3"]
        answer = door("sweep", name, "--json", *fixed, *density)
        assert answer.code == 0
        assert answer.json()["figures"] == [f"runs/{name}/{name}.svg", f"runs/{name}/{name}.png"]
        assert all(Path(path).stat().st_size > 1000 for path in answer.json()["figures"])


def test_listed_laws_can_be_swept_and_shown() -> None:
    listed = [f'{{ law = "list", values = {values} }}' for values in ([1] * 6, [6, 5, 4, 3, 2, 1])]
    laws = f"features.importance={','.join(listed)}"
    answer = door("sweep", "tiny.toml", "--grid", laws, "--set", "seed=0", "--json")
    assert answer.code == 0
    assert len(answer.json()["arms"]) == 8
    assert door("show", "runs/tiny").code == 0
    assert door("report", "runs/tiny").code == 0


# ------------------------------------------------------------------------------------------------- JSON

ARM = {"settings", "models", "diverged", "does_nothing", "measures"}
JSON: list[tuple[list[str], set[str]]] = [
    (["show", "run"], {"folder", "question", "arms", "notes"}),
    (["watch", "run"], {"folder", "packs_done", "share", "seconds_left", "losses", "failures", "unreadable", "ended"}),
    (["status", "run"], {"folder", "packs", "packs_done", "models", "plan", "engine", "device", "schema", "versions"}),
    (["list"], {"sweeps", "figures"}),
    (["doctor"], {"python", "torch", "toymodels", "device", "threads", "compiled kernels"}),
    (
        ["sweep", "tiny.toml", "--out", "run"],
        {"folder", "models", "trained", "diverged", "failed", "figures", "arms", "notes"},
    ),
    (
        ["sweep", "tiny.toml", "--dry-run"],
        {"sweep", "models", "groups", "packs", "memory_bytes", "disk_bytes", "seconds"},
    ),
]


@pytest.mark.parametrize("command, keys", JSON, ids=lambda value: " ".join(value) if isinstance(value, list) else "")
@pytest.mark.usefixtures("run")
def test_json_is_all_of_stdout_with_documented_keys(command: list[str], keys: set[str]) -> None:
    answer = door(*command, "--json")
    assert answer.code == 0
    document = answer.json()
    assert keys <= document.keys()
    for arm in document.get("arms", []):
        assert arm.keys() == ARM
        assert all(
            value is None or value.keys() == {"mean", "half_width_95", "n"} for value in arm["measures"].values()
        )


def test_json_counts_are_right(run: Path) -> None:
    status = door("status", run, "--json").json()
    assert (status["models"], status["packs"], status["packs_done"]) == (8, 4, 4)
    arms = door("show", run, "--json").json()["arms"]
    assert [arm["models"] for arm in arms] == [2] * 4
    rows = door("list", "--json").json()["sweeps"]
    assert [row["name"] for row in rows] == sorted(shipped())
    assert all(row["models"] > 0 and row["question"].endswith("?") for row in rows)


def test_plain_output_of_every_reading_command(run: Path) -> None:
    for command in (["show", run], ["status", run], ["list"], ["doctor"], ["report", run], ["tables", run]):
        answer = door(*command)
        assert (answer.code, answer.err) == (0, "")
        assert answer.out.strip()
        assert "\x1b" not in answer.out


# ------------------------------------------------------------------------------------------------- dry run


@pytest.mark.parametrize("options", [[], ["--json"], ["--out", "elsewhere"]])
def test_dry_run_makes_no_folder(tmp_path: Path, options: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("toymodels.sweeps.execution.estimate.SECONDS", 0.5)
    before = sorted(tmp_path.rglob("*"))
    answer = door("sweep", "tiny.toml", "--dry-run", *options)
    assert answer.code == 0
    assert "8" in answer.out
    assert sorted(tmp_path.rglob("*")) == before


# ------------------------------------------------------------------------------------------------- refusals


@pytest.mark.usefixtures("run")
def test_verdict_says_every_prediction_and_writes_what_it_prints() -> None:
    answer = door("verdict", "run")
    assert answer.code == 0
    assert all(key in answer.out for key in ("P1", "P2", "P3", "P4", "P6", "P7", "P9", "verdicts.json"))
    document = door("verdict", "run", "--json").json()
    assert document == json.loads(Path("run/verdicts.json").read_text())
    assert {regime["answer"] for regime in document["regimes"]} <= {answer.value for answer in Answer}


def test_untuned_arms_are_shown_beside_where_there_are_such() -> None:
    sweep = "tuned.toml"
    Path(sweep).write_text(
        """
        case = [{ "model.activation" = "solu" }, { "model.activation" = "gelu" }]
        [features]
        n = 6
        density = 0.2
        values = "binary"
        [model]
        hidden = 4
        tied = false
        layer_norm = true
        [train]
        steps = 20
        batch = 32
        [eval]
        samples = 512
        [grid]
        seed = { range = [0, 4] }
        [tune]
        seeds = [100]
        "train.learning_rate" = [1e-3, 1e-2]
        """
    )
    assert door("sweep", sweep, "--out", "tuned").code == 0
    assert door("sweep", sweep, "--no-tune", "--out", "untuned").code == 0
    early = door("verdict", "tuned", "--untuned", "untuned")
    assert early.code == 4
    assert "untuned/verdicts.json: not there yet" in early.err
    assert not Path("tuned/verdicts.json").exists()
    assert "Arms are not tuned" in door("verdict", "untuned").out
    both = door("verdict", "tuned", "--untuned", "untuned")
    assert both.code == 0
    assert "Tuned for each arm: train.learning_rate" in both.out
    assert "untuned, " in both.out
    swapped = door("verdict", "untuned", "--untuned", "tuned")
    assert swapped.code == 4
    assert "its arms are tuned" in swapped.err
    assert door("verdict", "tuned", "--untuned", "untuned", "--json").code == 2


BILLION = [f"--grid={name}={{ range = [1, 1001] }}" for name in ("seed", "train.steps", "train.batch")]
BAD: list[tuple[list[str], int, str]] = [
    (["sweep", "nothing.toml"], 2, "no such file"),
    (["sweep", "./nothing"], 2, "no such file"),
    (["sweep", "."], 2, "no shipped sweep"),
    (["sweep", "./"], 2, "is a folder"),
    (["sweep", "two_tier"], 2, "did you mean 'two_tiers'?"),
    (["sweep", "binary.toml"], 2, "UTF-8"),
    (["sweep", "tiny.toml", "--set", "model.activaton=relu"], 2, "did you mean 'model.activation'?"),
    (["sweep", "tiny.toml", "--set", "model.activation=solo"], 2, "did you mean 'solu'?"),
    (["sweep", "tiny.toml", "--set", "nonsense"], 2, "expected KEY=VALUE"),
    (["sweep", "tiny.toml", "--set", "=3"], 2, "expected KEY=VALUE"),
    (["sweep", "tiny.toml", "--set", "features.density=0"], 2, "density"),
    (["sweep", "tiny.toml", "--set", "features.density=1.5"], 2, "density"),
    (["sweep", "tiny.toml", "--set", "features.density=nan"], 2, "density"),
    (["sweep", "tiny.toml", "--set", "features.density=many"], 2, "density"),
    (["sweep", "tiny.toml", "--set", "features.n=-6"], 2, "features.n"),
    (["sweep", "tiny.toml", "--set", "model.hidden=0"], 2, "model.hidden"),
    (["sweep", "tiny.toml", "--set", "train.steps=1e3"], 2, "train.steps"),
    (["sweep", "tiny.toml", "--grid", "model.width=1,2"], 2, "unknown setting"),
    (["sweep", "tiny.toml", "--grid", "seed="], 2, "expected KEY=V1,V2"),
    (["sweep", "tiny.toml", "--grid", "seed=[]"], 2, "at least one value"),
    (["sweep", "tiny.toml", "--grid", "seed={ range = [0, 1000000000] }"], 2, "1,000,000,000"),
    (["sweep", "tiny.toml", *BILLION], 2, "models, more than"),
    (["sweep", "tiny.toml", "--device", "tpu"], 2, "--device"),
    (["sweep", "tiny.toml", "--device", "cuda"], 2, "no CUDA device"),
    (["sweep", "tiny.toml", "--engine", "jax"], 2, "--engine: 'jax'"),
    (["sweep", "tiny.toml", "--out", "tiny.toml"], 4, "a file stands"),
    (["sweep", "tiny.toml", "--out", "tiny.toml/below"], 4, "a file stands"),
    (["sweep", "tiny.toml", "--out", "/proc/nothing"], 4, "cannot be written"),
    (["sweep", "tiny.toml", "--out", "run", "--set", "train.steps=31"], 4, "changed: train.steps"),
    (["show", "nothing"], 4, "no such run folder"),
    (["show", "."], 4, "not a run folder"),
    (["show", "tiny.toml"], 4, "run folder"),
    (["status", "nothing"], 4, "no such run folder"),
    (["tables", "nothing"], 4, "no such run folder"),
    (["report", "nothing"], 4, "no such run folder"),
    (["figure", "two_tiers", "nothing"], 4, "no such run folder"),
    (["figure", "two_tier", "run"], 2, "did you mean 'two_tiers'?"),
    (["figure", "two_tiers", "run", "--out", "tiny.toml"], 4, "cannot be written"),
    (["verdict"], 2, "expected a run folder, or --controls"),
    (["verdict", "run", "--controls"], 2, "expected a run folder, or --controls"),
    (["verdict", "run", "--dictionaries", "some"], 2, "none or primary or all"),
    (["verdict", "nothing"], 4, "no such run folder"),
]


@pytest.mark.parametrize("command, code, words", BAD, ids=[" ".join(command)[:60] for command, _, _ in BAD])
def test_refusal_is_one_sentence_with_its_exit_code(
    run: Path, command: list[str], code: int, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    Path("binary.toml").write_bytes(b"\xff\xfe")
    before = listing(Path())
    answer = door(*command)
    said = answer.err.splitlines()
    assert answer.code == code
    assert words in answer.err
    assert said[-1].startswith("toymodels: ")
    assert len(said) <= 2  # a sweep says what it is before its folder is refused
    assert "bug" not in answer.err
    assert answer.out == ""
    assert listing(Path()) == before
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    "command", [["swep"], ["sweep"], ["sweep", "tiny.toml", "--nonsense"], ["figure"], ["show", "a", "b"]]
)
def test_wrong_usage_exits_2(command: list[str]) -> None:
    answer = door(*command)
    assert (answer.code, answer.out) == (2, "")
    assert "Usage:" in answer.err


def test_folder_in_use_is_refused_naming_the_holder(run: Path) -> None:
    held = Lock(run)
    held.take()
    for command in (["sweep", "tiny.toml", "--out", run], ["tables", run]):
        answer = door(*command)
        assert answer.code == 4
        assert f"in use by process {os.getpid()}" in answer.err
    held.release()
    assert door("tables", run).code == 0


@pytest.mark.parametrize("command", ["show", "tables", "report", "status"])
@pytest.mark.parametrize("manifest", [b"", b"[]", b'{"schema": 1}', b'{"schema": 99}'])
def test_damaged_manifest_exits_4(run: Path, command: str, manifest: bytes) -> None:
    (run / "manifest.json").write_bytes(manifest)
    answer = door(command, run)
    assert answer.code == 4
    assert str(run) in answer.err


@pytest.mark.parametrize("text", ["", "not toml ["])
@pytest.mark.parametrize("command", [["show", "run"], ["tables", "run"], ["figure", "tms_intro", "run"]])
@pytest.mark.usefixtures("run")
def test_damaged_sweep_file_exits_4(command: list[str], text: str) -> None:
    Path("run/sweep.toml").write_text(text)
    answer = door(*command)
    assert answer.code == 4
    assert "sweep.toml" in answer.err


def test_tables_rebuilds_what_was_damaged(run: Path) -> None:
    before = listing(run)
    for name in ("models", "features", "neurons"):
        (run / f"{name}.parquet").write_bytes(b"damaged")
    answer = door("show", run)
    assert answer.code == 4
    assert "toymodels tables" in answer.err
    assert door("tables", run).code == 0
    assert listing(run) == before


def test_damaged_pack_is_said_and_trained_again(run: Path) -> None:
    before = listing(run)
    path = run / "packs" / "00000002.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    answer = door("sweep", "tiny.toml", "--out", run, "--json")
    assert (answer.code, answer.json()["trained"]) == (0, 2)
    assert "00000002.safetensors.damaged-0" in answer.err
    path.with_name(f"{path.name}.damaged-0").unlink()
    assert listing(run) == before


# ------------------------------------------------------------------------------------------------- faults


@pytest.mark.parametrize("as_json", [[], ["--json"]])
def test_pack_that_does_not_fit_exits_3_and_is_trained_when_it_does(
    monkeypatch: pytest.MonkeyPatch, as_json: list[str]
) -> None:
    command = ["sweep", "tiny.toml", "--set", "model.layer_norm=true", *as_json]
    with monkeypatch.context() as patch:
        patch.setattr(local, "memory_budget", lambda _device: 1)
        answer = door(*command)
    assert answer.code == 3
    assert "2 of 2 packs failed" in answer.err
    assert "not fit in memory" in answer.err
    if as_json:
        assert answer.json()["failed"].keys() == {"0", "1"}
    assert door(*command).code == 0


def test_diverged_models_are_results_and_said() -> None:
    answer = door("sweep", "tiny.toml", "--set=train.learning_rate=1e30", "--set=model.output=linear", "--json")
    assert answer.code == 0
    document = answer.json()
    assert document["diverged"] > 0
    assert sum(arm["diverged"] for arm in document["arms"]) == document["diverged"]
    assert "diverged" in answer.err


def test_sweep_in_which_every_model_diverges_says_so_and_draws_nothing() -> None:
    Path("two_tiers.toml").write_text(TINY.replace("[features]\n", "[features]\nsigned = true\n"))
    wild = ["--set=train.learning_rate=1e30", "--set=model.output=linear", "--set=model.activation=linear"]
    command = ["sweep", "./two_tiers.toml", *wild, "--set=model.layer_norm=false"]
    answer = door(*command)
    assert answer.code == 0
    assert "every model diverged" in answer.err
    assert door(*command, "--json").json()["figures"] == []
    assert door("show", "runs/two_tiers").code == 0
    refused = door("figure", "two_tiers", "runs/two_tiers")
    assert (refused.code, "every model diverged" in refused.err) == (4, True)


def test_verdict_of_a_sweep_in_which_every_model_diverges_says_so() -> None:
    Path("wild.toml").write_text(TINY.replace("[features]\n", "[features]\nsigned = true\n"))
    wild = ["--set=train.learning_rate=1e30", "--set=model.output=linear", "--set=model.layer_norm=true"]
    answer = door("sweep", "wild.toml", *wild, "--grid=seed=0,1,2")
    assert (answer.code, "every model diverged" in answer.err) == (0, True)
    assert "Next: toymodels report" in answer.out
    refused = door("verdict", "runs/wild")
    assert (refused.code, "every model diverged" in refused.err) == (4, True)


def test_full_disk_is_one_sentence_and_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    real, calls = os.fsync, 0

    def full(descriptor: int) -> None:
        nonlocal calls
        calls += 1
        if calls > 9:
            raise OSError(28, "No space left on device")
        real(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        answer = door("sweep", "tiny.toml")
    assert answer.code == 1
    assert "No space left on device" in answer.err
    assert "bug" not in answer.err
    packs = listing(Path("runs/tiny/packs"))
    assert packs
    assert door("sweep", "tiny.toml").code == 0
    assert packs.items() <= listing(Path("runs/tiny/packs")).items()


def test_unexpected_failure_is_one_sentence_and_exit_1(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr(AutogradEngine, "train", broken)
    answer = door("sweep", "tiny.toml", "--engine", "autograd")
    assert answer.code == 1
    assert "unexpected ZeroDivisionError: division by zero" in answer.err.splitlines()[-1]


@pytest.mark.parametrize("stop, code", [(KeyboardInterrupt, 130), (MemoryError, 1)])
def test_stop_in_the_middle_has_its_exit_code(
    monkeypatch: pytest.MonkeyPatch, stop: type[BaseException], code: int
) -> None:
    def stopped(*_: Any, **__: Any) -> None:
        raise stop

    with monkeypatch.context() as patch:
        patch.setattr(job, "measure", stopped)
        answer = door("sweep", "tiny.toml")
    assert answer.code == code
    assert "safe" in answer.err
    assert door("sweep", "tiny.toml").code == 0


@pytest.fixture(scope="module")
def long_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The long sweep, uninterrupted."""
    folder = tmp_path_factory.mktemp("long")
    (folder / "long.toml").write_text(LONG)
    assert door("sweep", folder / "long.toml", "--out", folder / "run").code == 0
    return folder / "run"


@pytest.mark.parametrize("signalled, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_signalled_sweep_stops_cleanly_and_the_same_command_completes_it(
    long_run: Path, signalled: signal.Signals, code: int
) -> None:
    command = ["sweep", "long.toml", "--out", "out here"]
    started = process(*command)
    deadline = time.monotonic() + 30
    while not list(Path("out here").glob("packs/*.safetensors")) and started.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    started.send_signal(signalled)
    answer = finish(started)
    assert answer.code == code
    assert answer.out == ""
    if signalled != signal.SIGKILL:
        assert answer.err.splitlines()[-1].endswith("To continue: toymodels sweep long.toml --out 'out here'")
        assert not list(Path("out here").rglob(".writing-*"))
    kept = listing(Path("out here/packs"))
    assert 1 <= len(kept) < 8
    assert kept.items() <= listing(long_run / "packs").items() or signalled == signal.SIGKILL
    again = door(*command, "--json")
    assert again.code == 0
    assert again.json()["trained"] <= 16 - 2 * (len(kept) - 1)
    assert listing(Path("out here")) == listing(long_run)


SLOW_TO_LEAVE = """
import signal, time
from toymodels.sweeps.execution import run
def derive(*_):
    try:
        print("deriving", flush=True)
        time.sleep(60)
    finally:
        time.sleep(60)
run.derive = derive
"""


@pytest.mark.parametrize(
    "first, second, code",
    [(signal.SIGINT, signal.SIGINT, 130), (signal.SIGTERM, signal.SIGTERM, 143), (signal.SIGTERM, signal.SIGINT, 130)],
)
def test_asked_twice_it_leaves_at_once(first: signal.Signals, second: signal.Signals, code: int) -> None:
    """Asked once it cleans up, here for a minute; asked again it does not wait for that."""
    started = subprocess.Popen(
        [sys.executable, "-c", SLOW_TO_LEAVE + IN_FRONT, "sweep", "tiny.toml"], stdout=-1, stderr=-1, text=True
    )
    assert started.stdout is not None
    assert started.stdout.readline() == "deriving\n"
    started.send_signal(first)
    time.sleep(0.5)
    assert started.poll() is None
    started.send_signal(second)
    assert started.wait(timeout=5) == code
    started.communicate()
    assert door("sweep", "tiny.toml").code == 0


@pytest.mark.parametrize(
    "command, code", [(["list"], 0), (["sweep", "nothing.toml"], 2), (["show", "nothing"], 4), (["sweep"], 2)]
)
def test_exit_code_and_silence_of_a_real_process(command: list[str], code: int) -> None:
    environment = {"LANG": "C", "LC_ALL": "C", "TERM": "dumb", "NO_COLOR": "1", "COLUMNS": "40"}
    answer = finish(process(*command, **environment))
    assert answer.code == code
    assert "\x1b" not in answer.out + answer.err
    assert bool(answer.out) == (code == 0)
    assert bool(answer.err) == (code != 0)


MORE = ["--grid", "seed={ range = [0, 3] }"]


def test_extend_adds_models_and_keeps_the_rest(run: Path) -> None:
    before = {path.name: path.stat().st_mtime_ns for path in (run / "packs").iterdir()}
    refused = door("sweep", "tiny.toml", "--out", run, *MORE)
    assert refused.code == 4
    assert "(changed: seed): --extend adds the 4 models" in refused.err
    answer = door("sweep", "tiny.toml", "--out", run, *MORE, "--extend", "--json")
    assert answer.code == 0
    assert (answer.json()["models"], answer.json()["trained"]) == (12, 4)
    assert before.items() <= {path.name: path.stat().st_mtime_ns for path in (run / "packs").iterdir()}.items()
    status = door("status", run, "--json").json()
    assert (status["packs_done"], status["packs"], status["models"], status["sweeps"]) == (8, 8, 12, 2)
    for command in (["sweep", run / "sweep.toml", "--out", run], ["sweep", "tiny.toml", "--out", run, *MORE]):
        assert door(*command, "--json").json()["trained"] == 0
        assert door(*command, "--shard", "0/2", "--json").json()["trained"] == 0
    older = door("sweep", "tiny.toml", "--out", run)
    assert older.code == 4
    assert f"'toymodels sweep {run}/sweep-0001.toml --out {run}' continues it" in older.err


def test_extend_is_not_for_a_shard(run: Path) -> None:
    answer = door("sweep", "tiny.toml", "--out", run, *MORE, "--extend", "--shard", "0/2")
    assert answer.code == 2
    assert "--extend" in answer.err
    assert door("sweep", "tiny.toml", "--out", run).code == 0


def test_dry_run_extends_nothing(run: Path) -> None:
    before = listing(run)
    assert door("sweep", "tiny.toml", "--out", run, *MORE, "--extend", "--dry-run", "--json").json()["models"] == 12
    assert listing(run) == before


def test_a_folder_of_other_files_is_not_made_a_run_folder(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("precious")
    answer = door("sweep", "tiny.toml", "--out", tmp_path / "mine")
    assert answer.code == 4
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.tex"]


def test_a_reader_who_has_had_enough_is_no_failure(run: Path) -> None:
    started = process("show", run)
    assert started.stdout is not None
    started.stdout.close()
    assert started.stderr is not None
    assert "Traceback" not in started.stderr.read()
    assert started.wait(timeout=60) == 0


def test_an_ascii_terminal_gets_its_table(run: Path) -> None:
    answer = finish(process("show", run, PYTHONIOENCODING="ascii"))
    assert answer.code == 0
    assert "?" in answer.out


def test_a_partial_run_says_so_and_an_empty_one_has_no_tables(run: Path) -> None:
    packs = sorted((run / "packs").iterdir())
    packs[0].unlink()
    assert door("tables", run).code == 0
    assert "partial: 6 of 8 models" in door("show", run).err
    assert door("report", run).code == 0
    assert "partial: 6 of 8 models" in (run / "report.html").read_text()
    for pack in packs[1:]:
        pack.unlink()
    answer = door("tables", run)
    assert answer.code == 4
    assert "packs" in answer.err


@pytest.mark.parametrize("command", [["figure", "two_tiers"], ["report"], ["tables"], ["show"], ["status"]])
def test_every_command_on_a_run_speaks_json(run: Path, command: list[str]) -> None:
    assert isinstance(door(*command, run, "--json").json(), dict)


def test_version_is_the_packages() -> None:
    assert door("--version").out == f"toymodels {importlib.metadata.version('toymodels')}\n"


@pytest.mark.parametrize("as_json", [[], ["--json"]])
def test_doctor_clears_the_compiled_kernels(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, as_json: list[str]
) -> None:
    kept = tmp_path / "toymodels" / "kernels-0123"
    kept.mkdir(parents=True)
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    answer = door("doctor", "--clear-cache", *as_json)
    assert answer.code == 0
    assert not kept.exists()
    assert (answer.json()["cleared"] if as_json else answer.out.splitlines()) == [str(kept)]
    again = door("doctor", "--clear-cache", *as_json)
    assert again.code == 0
    assert (again.json()["cleared"] == []) if as_json else (again.out == "nothing was kept\n")


@pytest.mark.parametrize(
    "options, said",
    [
        (["--workers", "2", "--shard", "0/2"], "--shard and --workers: choose one of them"),
        (["--workers", "2", "--scheduler", "tcp://x:1"], "--workers and --scheduler: choose one of them"),
        (["--workers", "0"], "--workers: expected 1 or more, got 0"),
    ],
)
def test_executors_that_cannot_be_are_refused(options: list[str], said: str) -> None:
    answer = door("sweep", "tiny.toml", *options)
    assert (answer.code, answer.err) == (2, f"toymodels: {said}\n")
    assert not Path("runs").exists()


@pytest.mark.parametrize("option", ["--workers=2", "--scheduler=tcp://127.0.0.1:1"])
def test_without_dask_its_options_say_how_to_get_it(monkeypatch: pytest.MonkeyPatch, option: str) -> None:
    monkeypatch.setattr(choosing, "find_spec", lambda _name: None)
    answer = door("sweep", "tiny.toml", option)
    assert (answer.code, "pip install 'toymodels[cluster]'" in answer.err) == (2, True)


def test_doctor_says_how_to_get_an_optional_part(monkeypatch: pytest.MonkeyPatch) -> None:
    assert json.loads(door("doctor", "--json").out)["distributed"][0].isdecimal()
    monkeypatch.setattr("toymodels.sweeps.console.doctor._version", lambda _name: None)
    assert "not installed: pip install 'toymodels[cluster]'" in door("doctor").out


def test_help_and_doctor_name_every_engine_and_the_doctor_where_it_trains(monkeypatch: pytest.MonkeyPatch) -> None:
    said = door("sweep", "--help").out
    assert all(f"{name} (" in said for name in ENGINES)
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    facts = door("doctor", "--json").json()
    assert {name: facts[f"engine {name}"] for name in ("autograd", "fused")} == {"autograd": "cpu", "fused": "cpu"}
    assert all(facts[f"engine {name}"] == f"no: {ENGINES[name].lacks('cuda')}" for name in ("gpu", "gpu_split"))
    assert facts["triton"] == triton_version() or facts["triton"].startswith("not installed: ")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index=0: "NVIDIA H200")
    for engine in ("gpu", "gpu_tf32", "gpu_split"):
        monkeypatch.setattr(ENGINES[engine], "lacks", lambda device: None)
    lines = dict(line.split(maxsplit=2)[1:] for line in door("doctor").out.splitlines() if line.startswith("engine "))
    assert lines == {name: "cpu" if name == "fused" else "cuda" for name in ENGINES}


def test_status_of_a_run_that_this_machine_cannot_go_on_with_says_who_can(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    plan = make_plan(parse(TINY, "tiny", "tiny.toml"))
    Store.create_or_open(Path("run"), plan, "gpu", "cuda").release()
    advice = (
        "To continue, on a machine that can or with --scheduler ADDRESS (this machine has no CUDA device that torch "
    )
    command = "toymodels sweep run/sweep.toml --out run"
    assert door("status", "run").out.splitlines()[-1] == f"{advice}can use): {command}"
    assert f"nobody is at work. {advice}can use): {command}" in door("watch", "run", "--once").out
    assert door("status", "run", "--json").json()["next"] == command


def test_a_figure_that_cannot_be_drawn_costs_the_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_run: object) -> None:
        raise RuntimeError("no glyph")

    monkeypatch.setattr("toymodels.figures.tms_intro.draw", fail)
    Path("tms_intro.toml").write_text(TINY)
    answer = door("sweep", "./tms_intro.toml", "--json")
    assert (answer.code, answer.json()["figures"]) == (0, [])
    said = "figure 'tms_intro' cannot be drawn (RuntimeError: no glyph)\n"
    assert answer.err.endswith(f"no figure: {said}")
    alone = door("figure", "tms_intro", "runs/tms_intro")
    assert (alone.code, alone.err) == (1, f"toymodels: {said}")


def test_the_command_works_outside_the_main_thread() -> None:
    with ThreadPoolExecutor(1) as thread:
        answer = thread.submit(door, "sweep", "tiny.toml", "--json").result()
        assert (answer.code, answer.json()["models"]) == (0, 8), answer.err
        assert thread.submit(door, "show", "runs/tiny").result().code == 0
