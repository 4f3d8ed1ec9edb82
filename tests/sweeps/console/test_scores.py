"""`toymodels score`, as a terminal and as --json have it."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tests.conftest import BODY, door
from toymodels.metrics.dictionaries import Dictionary
from toymodels.sweeps.console.scores import ENDS, over_seeds
from toymodels.sweeps.execution.run import run as execute
from toymodels.sweeps.plan.plan import make_plan
from toymodels.sweeps.results.dictionaries import save_dictionary
from toymodels.sweeps.results.reading import Run, load
from toymodels.sweeps.results.scoring import OF_FEATURES, OF_MODELS, score_run
from toymodels.sweeps.spec.sweep import parse

GRID = '[grid]\n"model.activation" = ["relu", "gelu"]\nseed = [0, 1, 2]\n'
SAMPLES = 256


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("scored") / "run"
    execute(make_plan(parse(BODY + GRID, "tiny", "tiny.toml")), folder, "autograd", "cpu")
    return load(folder)


@pytest.fixture(scope="module")
def saes(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random dictionary for every model."""
    folder = tmp_path_factory.mktemp("saes")
    g = torch.Generator().manual_seed(0)
    for m in range(len(run.plan)):
        d = Dictionary(torch.randn(1, 2, 8, generator=g), torch.randn(1, 8, 2, generator=g))
        save_dictionary(d, folder / str(m))
    return folder


def test_one_model_is_shown_measure_by_measure(run: Run, saes: Path) -> None:
    answer = door("score", run.path, 4, "--dictionary", saes, "--samples", SAMPLES)
    assert answer.code == 0
    assert answer.err.startswith("model 4: less than 20% of the variance")
    assert "model 4, seed 1" in answer.out
    assert "read as 'standard', at post, on 256 samples" in answer.out
    assert all(f"\n{name} " in answer.out for name in ("features", *OF_FEATURES, *OF_MODELS))
    document = door("score", run.path, 4, "--dictionary", saes, "--samples", SAMPLES, "--json").json()
    (of_model,) = document["models"]
    shown = [line.split() for line in answer.out.splitlines() if line.startswith("mcc ")]
    assert shown[0][1] == f"{of_model['mcc']:.3g}"
    assert document["means"] == []


def test_all_models_are_shown_with_means_over_the_seeds_of_each_arm(run: Run, saes: Path) -> None:
    answer = door("score", run.path, "--dictionary", saes, "--samples", SAMPLES)
    assert answer.code == 0
    assert answer.err.startswith("models 0, 1, 2, 3, 4, 5: less than 20% of the variance")
    assert "activation gelu" in answer.out
    document = door("score", run.path, "--dictionary", saes, "--samples", SAMPLES, "--json").json()
    assert document.keys() == {"folder", "tap", "samples", "models", "tiers", "features", "means", "notes"}
    assert (document["folder"], document["tap"], document["samples"]) == (str(run.path), "post", SAMPLES)
    assert [row["model"] for row in document["models"]] == list(range(6))
    assert len(document["features"]) == 36
    assert document["features"][0].keys() >= {"model", "feature", "tier", "latent", "cosine", "f1", "precision"}
    whole = {(row["arm"], row["measure"]): row for row in document["means"] if row["tier"] == "all"}
    for place, arm in enumerate(("activation relu", "activation gelu")):
        for name in (*OF_FEATURES, *OF_MODELS):
            each = [row[name] for row in document["models"][3 * place : 3 * place + 3]]
            row = whole[arm, name]
            assert row["seeds"] == 3
            assert row["mean"] == pytest.approx(sum(each) / 3)
            assert row["low"] <= row["mean"] <= row["high"]
            least, most = ENDS.get(name, (-math.inf, math.inf))
            assert least <= row["low"] <= row["high"] <= most
    measures = {row["measure"] for row in document["means"] if row["tier"] != "all"}
    assert measures == set(OF_FEATURES)


def test_arms_stand_together_in_plan_order(run: Run, saes: Path) -> None:
    means = over_seeds(run, score_run(run, saes, None, "post", SAMPLES))
    assert means["arm"].drop_duplicates().tolist() == ["activation relu", "activation gelu"]
    assert (means["arm"] != means["arm"].shift()).sum() == 2
    one = over_seeds(run, score_run(run, saes, 0, "post", SAMPLES))
    assert one.empty


def test_directions_alone_have_no_scores_of_latents(run: Run, tmp_path: Path) -> None:
    save_file({"W_dec": torch.randn(4, 2)}, tmp_path / "directions.safetensors")
    command = ("score", run.path, 0, "--dictionary", tmp_path / "directions.safetensors", "--samples", SAMPLES)
    answer = door(*command)
    assert answer.code == 0
    assert answer.err.startswith("model 0: directions alone are scored, as there is no encoder: ")
    assert answer.err.count("\n") == 1
    assert "read as 'directions', at post" in answer.out
    document = door(*command, "--json").json()
    assert document["notes"] == [answer.err.strip()]
    (row,) = document["models"]
    known = {name for name in (*OF_FEATURES, *OF_MODELS) if row[name] is not None}
    assert known == {"mcc", "mmcs", "mcc_by_chance", "mmcs_by_chance", "uniqueness"}


def test_what_was_taken_for_granted_is_said_on_stderr(run: Run, tmp_path: Path) -> None:
    save_file({"W_dec": torch.eye(2), "W_enc": torch.eye(2)}, tmp_path / "bare.safetensors")
    answer = door("score", run.path, 0, "--dictionary", tmp_path / "bare.safetensors", "--samples", SAMPLES)
    assert (answer.code, "no cfg.json beside it: read as 'standard'" in answer.err) == (0, True)
