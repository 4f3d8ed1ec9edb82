"""Reading: what was written comes back as tables and as models that say what they said."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

import toymodels
from toymodels.sweeps.errors import FolderError
from toymodels.sweeps.execution.run import run
from toymodels.sweeps.plan.plan import make_plan
from toymodels.sweeps.spec.sweep import parse
from toymodels.sweeps.store.tensorfile import deserialise
from toymodels.training.experiment import sampler, target_of

SAMPLES = 1500
TEXT = f"""
question = "read?"
[features]
n = 6
density = 0.3
importance = {{ law = "geometric", ratio = 0.7, shuffle = true }}
[model]
hidden = 2
hidden_bias = true
[train]
steps = 30
batch = 16
[eval]
samples = {SAMPLES}
[grid]
seed = [3, 1]
[[case]]
"model.activation" = "solu"
"model.layer_norm" = true
"model.layer_norm_eps" = "matched"
"model.tied" = false
[[case]]
"model.activation" = "gelu"
"model.layer_norm" = true
"model.layer_norm_affine" = false
[[case]]
"model.output" = "linear"
"model.output_bias" = false
"features.values" = "binary"
"features.signed" = true
[[case]]
"task.target" = "absolute"
"features.signed" = true
"features.firing" = {{ kind = "anticorrelated", groups = 2 }}
"train.snapshots" = 2
"""
PLAN = make_plan(parse(TEXT, "read", "read.toml"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("read")
    run(PLAN, path, "autograd", "cpu")
    return path


@pytest.fixture
def copied(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "run"))


def test_tables_are_data_frames(folder: Path) -> None:
    loaded = toymodels.load(folder)
    n = len(PLAN)
    for table, length in ((loaded.models, n), (loaded.features, 6 * n), (loaded.neurons, 2 * n)):
        assert isinstance(table, pd.DataFrame)
        assert len(table) == length
        assert table["model"].is_monotonic_increasing
    assert loaded.question == "read?"
    assert loaded.plan.hash == PLAN.hash
    assert toymodels.load(str(folder)).models.equals(loaded.models)


@pytest.mark.parametrize("model", range(len(PLAN)))
def test_model_read_back_reproduces_its_loss(folder: Path, model: int) -> None:
    loaded = toymodels.load(folder)
    one = loaded.model(model)
    experiment = one.experiment
    assert experiment == PLAN.experiments(PLAN.settings([model]))[0]
    x = sampler([experiment]).evaluation(0, SAMPLES)
    error = (target_of([experiment])(x) - one(x).out).double().square().mean(2)[0]
    loss = float((torch.from_numpy(experiment.importance()) * error).sum())
    pack = next(p for p in PLAN.packs if model in p.models)
    stored = deserialise(folder / "packs" / f"{pack.index:08d}.safetensors").tensors["loss"]
    assert loss == pytest.approx(float(stored[pack.models.index(model)]), rel=1e-5)
    assert loss == pytest.approx(loaded.models["loss"][model], rel=1e-5)
    assert not one.diverged


def test_model_runs_on_one_batch_as_on_a_batch_of_one_model(folder: Path) -> None:
    one = toymodels.load(folder).model(0)
    x = sampler([one.experiment]).evaluation(0, 8)
    for whole, single in zip(one(x).__dict__.values(), one(x[0]).__dict__.values(), strict=True):
        assert torch.equal(whole, single)


def test_models_are_those_of_their_settings(folder: Path) -> None:
    loaded = toymodels.load(folder)
    settings = PLAN.settings(range(len(PLAN)))
    for model, s in enumerate(settings):
        one = loaded.model(model)
        p = one.parameters
        assert one.experiment.seed == s["seed"]
        assert p.W_in.shape == (1, 2, 6)
        assert (p.W_out is None) == s["model.tied"]
        assert (p.b_out is None) == (not s["model.output_bias"])
        assert (p.ln_gain is None) == (not (s["model.layer_norm"] and s["model.layer_norm_affine"]))
        assert (p.ln_eps is None) == (not s["model.layer_norm"])
        assert one.curve.shape == one.curve_step.shape
        assert one.curve_step[-1] == 30


def test_snapshots_are_the_weights_after_their_steps_and_end_with_those_that_were_trained(folder: Path) -> None:
    loaded = toymodels.load(folder)
    kept = 0
    for model, s in enumerate(PLAN.settings(range(len(PLAN)))):
        one = loaded.model(model)
        if not s["train.snapshots"]:
            assert one.snapshots is None
            assert len(one.snapshot_step) == 0
            continue
        kept += 1
        assert one.snapshots is not None
        assert one.snapshot_step.tolist() == [1, 30]
        last = one.snapshots[1:]
        assert last.present().keys() == one.parameters.present().keys()
        assert all(torch.equal(last.present()[name], t) for name, t in one.parameters.present().items())
        (first,) = PLAN.experiments(PLAN.settings([model]))
        after_one = toymodels.train([replace(first, training=replace(first.training, steps=1))], engine="autograd")
        assert torch.allclose(one.snapshots.W_in[:1], after_one.parameters.W_in, atol=1e-6)
    assert kept == 2


def test_snapshots_run_as_so_many_models(tmp_path: Path) -> None:
    """Of a decoder with LayerNorm, whose fixed embedding and eps are the same in every snapshot."""
    text = """
[features]
n = 6
density = 0.3
[model]
hidden = 4
tied = false
embedding = 3
layer_norm = true
[train]
steps = 20
batch = 16
snapshots = 3
[eval]
samples = 64
[grid]
seed = [0, 1]
"""
    run(make_plan(parse(text, "kept", "kept.toml")), tmp_path, "autograd", "cpu")
    loaded = toymodels.load(tmp_path)
    for model in (0, 1):
        one = loaded.model(model)
        assert one.snapshots is not None
        x = sampler([one.experiment]).evaluation(0, 8)
        out = toymodels.forward(one.experiment.bottleneck, one.snapshots, x.expand(3, -1, -1)).out
        assert torch.allclose(out[-1], one(x).out[0], atol=1e-6)
        assert not torch.allclose(out[0], out[-1], atol=1e-3)


@pytest.mark.parametrize("model", [-1, len(PLAN), 10**9])
def test_model_that_is_not_there_is_refused(folder: Path, model: int) -> None:
    with pytest.raises(FolderError, match=f"expected a model from 0 to {len(PLAN) - 1}, got {model}"):
        toymodels.load(folder).model(model)


@pytest.mark.parametrize("make", [lambda path: None, lambda path: path.mkdir(), lambda path: path.write_text("x")])
def test_missing_folder_is_refused(tmp_path: Path, make: Callable[[Path], Any]) -> None:
    make(tmp_path / "run")
    with pytest.raises(FolderError):
        toymodels.load(tmp_path / "run")


def test_missing_pack_says_how_to_continue(copied: Path) -> None:
    (copied / "packs" / "00000000.safetensors").unlink()
    with pytest.raises(FolderError, match="run the sweep again"):
        toymodels.load(copied).model(0)
    assert toymodels.load(copied).model(len(PLAN) - 1)


def test_damaged_pack_says_how_to_continue_and_is_left_there(copied: Path) -> None:
    path = copied / "packs" / "00000000.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(FolderError, match="run the sweep again"):
        toymodels.load(copied).model(0)
    assert path.exists()


@pytest.mark.parametrize("table", ["models", "features", "neurons"])
@pytest.mark.parametrize("damage", [None, b"", b"PAR1 no PAR1", b"\0" * 100])
def test_missing_or_damaged_table_says_how_to_build_it(copied: Path, table: str, damage: bytes | None) -> None:
    path = copied / f"{table}.parquet"
    path.unlink() if damage is None else path.write_bytes(damage)
    with pytest.raises(FolderError, match="toymodels tables"):
        getattr(toymodels.load(copied), table)


@pytest.mark.parametrize("text", ["", "not toml [", "[features]\nn = 6\ndensity = 0.3\n[model]\nhidden = 2\n"])
def test_sweep_file_that_is_not_the_manifests_is_refused(copied: Path, text: str) -> None:
    (copied / "sweep.toml").write_text(text)
    with pytest.raises(FolderError, match=r"sweep\.toml"):
        toymodels.load(copied).model(0)


def test_a_model_shows_itself_in_a_line(folder: Path) -> None:
    said = repr(toymodels.load(folder).model(0))
    assert said.startswith("LoadedModel: ")
    assert "\n" not in said
    assert len(said) < 100
