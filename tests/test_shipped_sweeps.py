"""Every shipped sweep, run small: it asks a question, its laws hold, its figure draws; and what tms_intro finds."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from pandas import notna

import toymodels as tm
from tests.figures.legible import assert_legible
from toymodels import figures
from toymodels.sweeps import studies
from toymodels.sweeps.execution.run import run
from toymodels.sweeps.plan.plan import make_plan
from toymodels.sweeps.results.reading import Run
from toymodels.sweeps.results.tables import TABLES
from toymodels.sweeps.spec.shipped import listed
from toymodels.sweeps.spec.sweep import Sweep, find, read, shipped
from toymodels.sweeps.studies import document

SMALL = {
    "activation_l1": {"seed": 0, "train.steps": 20, "train.batch": 64, "features.n": 24, "model.hidden": 16},
    "and_pairs": {"seed": 0, "train.steps": 20, "train.batch": 64},
    "decoder_width": {"seed": 0, "train.steps": 20, "train.batch": 64, "features.n": 64, "model.hidden": 64},
    "effective_width": {
        "seed": 0,
        "train.steps": 20,
        "train.batch": 64,
        "features.density": 0.04,
        "features.values": "binary",
    },
    "first_look": {"seed": 0, "train.steps": 40},
    "free_lunch": {"seed": 0, "train.steps": 20, "train.batch": 64},
    "frozen_mask": {
        "seed": 0,
        "train.steps": 20,
        "train.batch": 64,
        "model.hidden": 32,
        "features.density": 0.02,
        "features.values": "binary",
    },
    "hosts": {
        "train.steps": 20,
        "train.batch": 64,
        "features.n": 16,
        "features.density": 0.1,
        "model.hidden": 8,
        "model.embedding": 6,
        "eval.samples": 256,
    },
    "inspection": {"seed": 0, "train.steps": 20, "train.batch": 64, "model.layer_norm_eps": 1e-5},
    "more_neurons": {"seed": 0, "train.steps": 10, "train.batch": 32, "features.n": 32, "eval.samples": 256},
    "solu_neurons": {"seed": 0, "train.steps": 20, "train.batch": 64, "features.n": 64, "model.embedding": 16},
    "tms_absolute": {"train.steps": 20, "train.batch": 64},
    "tms_collapse": {"seed": 0, "train.steps": 40, "train.batch": 64},
    "tms_dynamics": {"seed": 0, "train.steps": 60, "train.batch": 32},
    "tms_geometry": {"seed": 0, "train.steps": 20, "train.batch": 64},
    "tms_adversary": {"seed": 0, "train.steps": 60, "train.batch": 64, "features.n": 24, "model.hidden": 16},
    "tms_intro": {"train.steps": 100, "train.batch": 64},
    "tms_neurons": {"features.density": 0.1, "train.steps": 50},
    "tms_phase": {"seed": 0, "train.steps": 50},
    "tms_recovery": {"seed": 0, "train.steps": 50, "train.batch": 64},
    "tms_sets": {"seed": 0, "train.steps": 40, "train.batch": 64, "features.density": 0.1},
    "tms_scaling": {"seed": 0, "train.steps": 40, "train.batch": 64, "features.n": 96, "features.density": 0.02},
    "two_tiers": {"seed": 0, "train.steps": 20, "train.batch": 64, "model.layer_norm_eps": 1e-5},
    "two_tiers_full": {
        "seed": 0,
        "train.steps": 10,
        "train.batch": 64,
        "features.n": 32,
        "features.density": 0.05,
        "model.init_scale": 2.0,
        "features.frequency": {"law": "uniform"},
        "features.values": "binary",
        "train.optimizer": "adam",
    },
}
ASKED_OF = {"how_linear": "solu_neurons", "missed": "inspection"}
"""The studies that are asked of a sweep of another stem."""
QUESTIONS = {path.stem: path.read_text().splitlines()[0] for path in shipped().values()}


def small(name: str) -> Sweep:
    sweep = read(find(name)).with_setting("eval.samples", 2048)
    for key, value in SMALL[name].items():
        sweep = sweep.with_setting(key, value)
    return sweep


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """Runs of shipped sweeps, each made once."""
    folders = {}

    def get(name: str) -> Run:
        if name not in folders:
            folders[name] = tmp_path_factory.mktemp(name)
            run(make_plan(small(name)), folders[name], "autograd", "cpu")
        return tm.load(folders[name])

    return get


def test_every_shipped_sweep_is_tried_here():
    assert set(SMALL) == set(shipped())


@pytest.mark.parametrize("name", SMALL)
def test_the_first_line_is_the_question(name):
    assert QUESTIONS[name].startswith('question = "')
    assert QUESTIONS[name].endswith('?"')


@pytest.mark.parametrize("name", SMALL)
def test_laws_hold_in_every_table(name, ran):
    run_ = ran(name)
    for table in TABLES:
        columns = pq.read_table(run_.path / f"{table}.parquet").columns
        floats = [column.drop_null().to_numpy() for column in columns if pa.types.is_floating(column.type)]
        assert all(np.isfinite(values).all() for values in floats)
    models, features, neurons = run_.models, run_.features, run_.neurons
    assert (models["status"] == "ok").all()
    bound = np.minimum(models["features.n"], models["model.hidden"])
    assert (models["dimensionality_sum"] <= bound + 1e-5).all()
    assert (models["welch_gap"].dropna() >= -1e-5).all()
    assert models["loss"].notna().all()
    assert (features["r2"].dropna() <= 1).all()
    assert features["response_alignment"].dropna().between(0, 1 + 1e-6).all()
    assert features["response_alignment_percentile"].dropna().between(0, 100).all()
    assert neurons["monosemanticity"].dropna().between(0, 1 + 1e-6).all()
    tiers = models["features_neuron"] + models["features_hidden"] + models["features_lost"]
    seen = features[notna(features["tier"])].groupby("model").size().reindex(models["model"], fill_value=0)
    assert (tiers.fillna(0).to_numpy() == seen.to_numpy()).all()
    assert (tiers.isna() == (models["task.target"] == "and")).all()


@pytest.mark.parametrize("name", figures.OF_SWEEPS)
def test_figures_are_drawn_of_their_sweep_and_are_the_same_twice(name, ran, tmp_path):
    first = figures.draw(name, ran(name), tmp_path / "a")
    second = figures.draw(name, ran(name), tmp_path / "b")
    assert [path.name for path in first] == [f"{name}.svg", f"{name}.png"]
    assert ET.parse(first[0]).getroot().tag.endswith("svg")
    for a, b in zip(first, second, strict=True):
        assert a.stat().st_size > 5000
        assert a.read_bytes() == b.read_bytes()
    assert_legible(figures.figure_of(name, ran(name), dark=True))


@pytest.mark.parametrize("name", studies.NAMES)
def test_studies_answer_and_their_figures_draw_what_was_answered(name, ran, tmp_path):
    run_ = ran(ASKED_OF.get(name, name))
    reply = studies.answer(name, run_, lambda sentence: None)
    assert reply.question.endswith("?")
    assert reply.sentence.endswith(".")
    assert reply.tables
    assert all(len(table) for table in reply.tables.values())
    document.write(run_, name, reply)
    assert name in figures.OF_STUDIES
    first, second = (figures.draw(name, run_, tmp_path / each) for each in "ab")
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
    assert_legible(figures.figure_of(name, run_, dark=True))


# --------------------------------------------------------------------------------------------------- what they find


def test_first_look_finds_solu_costly_and_layer_norm_winning_it_back():
    """U(0,1), tied, eps 1e-5, two seeds: the margins are several times the seeds' spread."""
    sweep = read(find("first_look")).with_setting("features.values", "uniform").with_setting("model.tied", True)
    sweep = sweep.with_setting("train.steps", 3000).with_setting("model.layer_norm_eps", 1e-5)
    sweep = sweep.with_axis("seed", [0, 1])
    fraction = {}
    plan = make_plan(sweep)
    for pack in plan.packs:
        es = plan.experiments(plan.settings(pack.models))
        arm = (es[0].bottleneck.activation.name, es[0].bottleneck.layer_norm is not None)
        fraction[arm] = tm.measure(es, tm.train(es).parameters, 20_000).models["loss_fraction"].mean().item()
    assert fraction["solu", False] > 1.7 * fraction["gelu", False]
    assert fraction["solu", True] < 0.6 * fraction["solu", False]
    assert fraction["solu", True] < 0.9 * fraction["gelu", True]


def best_of_tms_intro(density: float) -> torch.Tensor:
    """W_in [2, 5] of the best of tms_intro's eight restarts at this density."""
    sweep = read(find("tms_intro")).with_setting("features.density", density)
    plan = make_plan(sweep)
    experiments = plan.experiments(plan.settings(range(len(plan))))
    trained = tm.train(experiments)
    loss = tm.measure(experiments, trained.parameters).models["loss"]
    return trained.parameters.W_in[loss.argmin()].double()


def test_tms_intro_finds_a_pentagon_at_high_sparsity():
    W = best_of_tms_intro(0.05)
    angles = torch.atan2(W[1], W[0]).sort().values
    gaps = torch.diff(torch.cat([angles, angles[:1] + 2 * math.pi])) * 180 / math.pi
    assert gaps.tolist() == pytest.approx([72.0] * 5, abs=4)
    assert W.norm(dim=0).tolist() == pytest.approx([W.norm(dim=0).mean().item()] * 5, rel=0.05)


def test_tms_intro_finds_two_orthogonal_features_when_dense():
    W = best_of_tms_intro(1.0)
    assert W.norm(dim=0)[:2].tolist() == pytest.approx([1, 1], abs=0.05)
    assert W.norm(dim=0)[2:].max() < 0.1
    assert abs(W[:, 0] @ W[:, 1]) < 0.05


def test_what_is_listed_of_a_sweep_is_what_it_is() -> None:
    for name, each in listed().items():
        sweep = read(shipped()[name])
        assert (each.question, each.models) == (sweep.question, len(sweep))
