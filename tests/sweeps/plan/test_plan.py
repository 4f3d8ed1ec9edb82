"""The plan: every cell validated, every model in exactly one pack, decided by the spec alone."""

from __future__ import annotations

import cProfile
import hashlib
import json
import os
import subprocess
import sys
import tracemalloc
from itertools import pairwise, permutations

import pytest

from toymodels import And, Bottleneck, Embedding, Experiment, Features, Identity, Training
from toymodels.sweeps.errors import SpecError
from toymodels.sweeps.plan.plan import PACK_MODELS, Plan, make_plan, pack_size
from toymodels.sweeps.spec.resolved import resolved_toml
from toymodels.sweeps.spec.sweep import parse, read, shipped

BODY = "[features]\nn = 6\ndensity = 0.3\n[model]\nhidden = 2\n[train]\nsteps = 30\nbatch = 16\n"
LINES = (
    '"model.activation" = ["relu", "solu"]',
    '"features.density" = [0.1, 0.2]',
    '"train.learning_rate" = { log = [0.001, 0.01, 3] }',
    "seed = { range = [0, 2] }",
)


def plan(rest: str = "", top: str = "") -> Plan:
    return make_plan(parse(f"{top}\n{BODY}{rest}", "file", "file.toml"))


def packs(made: Plan) -> list[tuple[int, ...]]:
    return [pack.models for pack in made.packs]


SHIPPED = {name: make_plan(read(path)) for name, path in shipped().items()}


@pytest.mark.parametrize("name", sorted(SHIPPED))
def test_packs_hold_one_structure_and_every_model_once(name: str) -> None:
    made = SHIPPED[name]
    assert sorted(model for pack in made.packs for model in pack.models) == list(range(len(made)))
    for pack in made.packs:
        settings = made.settings(pack.models)
        experiments = made.experiments(settings)
        assert len({e.structure() for e in experiments}) == 1
        assert len({s["eval.samples"] for s in settings}) == 1
        assert len(pack.models) <= pack_size(experiments[0]) <= PACK_MODELS
        assert list(pack.models) == sorted(pack.models)
    assert [pack.index for pack in made.packs] == list(range(len(made.packs)))


@pytest.mark.parametrize("name", sorted(SHIPPED))
def test_resolved_shipped_sweep_is_the_same_plan(name: str) -> None:
    made = SHIPPED[name]
    again = make_plan(parse(resolved_toml(made.sweep), name, "sweep.toml"))
    assert (again.hash, packs(again)) == (made.hash, packs(made))


@pytest.mark.parametrize("name", sorted(SHIPPED))
def test_shipped_sweeps_train_nothing_twice(name: str) -> None:
    assert SHIPPED[name].repeated == 0


RECORDED = {
    "two_tiers": (
        "8a8edf4a7fa03fa0249004310016e0b4d47fc70139673cb3381102dc002c7f43",
        "dd0d0c67b0fe97e26d4a710d1bcae9fdef431b91cf8164a5a1ab4ceb7bda569d",
    ),
    "tms_phase": (
        "e16af2f0afb8ceabc4415d5390e9fe6eccdf8d604a6d0c84ead30143ea2da52b",
        "54602b6df4762122031bca49d4c076228f1d744d3b520a6f36693279f2402201",
    ),
}
"""The hash of the plan, and of its packs: where one changes, every run folder of that sweep is orphaned. That of
two_tiers is of the sweep as it is since 27 November 2026."""


@pytest.mark.parametrize("name", RECORDED)
def test_shipped_plans_are_those_of_version_0_1(name: str) -> None:
    cut = hashlib.sha256(json.dumps(packs(SHIPPED[name])).encode()).hexdigest()
    assert (SHIPPED[name].hash, cut) == RECORDED[name]


def test_hash_is_of_the_keys_a_line_each() -> None:
    made = SHIPPED["tms_recovery"]
    assert made.hash == hashlib.sha256("\n".join(made.keys).encode()).hexdigest()
    assert list(made.keys) == [settings.key() for settings in made.settings(range(len(made)))]


def test_grid_keys_permuted_are_the_same_plan() -> None:
    plans = [plan("[grid]\n" + "\n".join(lines)) for lines in permutations(LINES)]
    assert len({made.hash for made in plans}) == 1
    assert all(made.keys == plans[0].keys and packs(made) == packs(plans[0]) for made in plans)


@pytest.mark.parametrize(
    "line, groups",
    [
        ("seed = [0, 1]", 1),
        ('"features.density" = [0.1, 0.2]', 1),
        ('"features.frequency.cap" = [0.5, 1.0]', 1),
        ('"features.importance.shuffle" = [false, true]', 1),
        ('"train.learning_rate" = [0.1, 0.2]', 1),
        ('"train.weight_decay" = [0.0, 0.2]', 1),
        ('"model.init_scale" = [0.5, 1.0]', 1),
        ('"features.n" = [6, 7]', 2),
        ('"features.values" = ["uniform", "binary"]', 2),
        ('"model.hidden" = [2, 3]', 2),
        ('"model.activation" = ["relu", "gelu"]', 2),
        ('"model.layer_norm" = [false, true]', 2),
        ('"model.tied" = [false, true]', 2),
        ('"features.firing" = ["independent", { kind = "correlated", groups = 2 }]', 2),
        ('"train.steps" = [30, 31]', 2),
        ('"train.batch" = [16, 17]', 2),
        ('"train.snapshots" = [0, 1]', 2),
        ('"eval.samples" = [256, 257]', 2),
    ],
)
def test_models_share_a_group_when_they_train_and_are_measured_alike(line: str, groups: int) -> None:
    made = plan(f"[grid]\n{line}\n")
    assert (made.n_groups, len(made.packs), len(made)) == (groups, groups, 2)


def test_group_larger_than_a_pack_is_cut_in_plan_order() -> None:
    made = plan(f"[grid]\nseed = {{ range = [0, {PACK_MODELS + 6}] }}\n")
    assert packs(made) == [tuple(range(PACK_MODELS)), tuple(range(PACK_MODELS, PACK_MODELS + 6))]
    assert made.n_groups == 1


def test_pack_shrinks_with_the_batch_but_never_below_one() -> None:
    one = plan('[grid]\n"train.batch" = [16, 1024, 1000000]\n')
    experiments = one.experiments(one.settings(range(3)))
    assert [pack_size(e) for e in experiments] == [1024, 128, 1]


@pytest.mark.parametrize(
    "embedding, pairs, models",
    [
        (None, 16, 1024 // 20),
        (None, 100, 1024 // 104),
        (12, None, 1024 // 32),
        (16, 100, 1024 // 120),
    ],
)
def test_pack_shrinks_with_the_embedding_and_with_more_targets_than_features(embedding, pairs, models) -> None:
    size = None if embedding is None else Embedding(embedding)
    bottleneck = Bottleneck(4, tied=False, embedding=size)
    target = Identity() if pairs is None else And(pairs)
    e = Experiment(Features(16, 0.1), bottleneck, Training(batch=1024), target)
    assert pack_size(e) == models


def test_plan_does_not_depend_on_the_process(tmp_path_factory: pytest.TempPathFactory) -> None:
    script = (
        "import json; from toymodels.sweeps.plan.plan import make_plan\n"
        "from toymodels.sweeps.spec.sweep import read, shipped\n"
        "p = make_plan(read(shipped()['tms_recovery']))\n"
        "print(json.dumps([p.hash, list(p.keys), [pack.models for pack in p.packs]]))"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "7", "OMP_NUM_THREADS": "1"}
    elsewhere = tmp_path_factory.mktemp("else where é")
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=elsewhere, env=environment, capture_output=True, text=True, check=True
    )
    made = SHIPPED["tms_recovery"]
    assert json.loads(done.stdout) == [made.hash, list(made.keys), [list(models) for models in packs(made)]]


@pytest.mark.parametrize("axis", ['"features.density" = [1, 1.0]', '"train.learning_rate" = [1.0, 1]'])
def test_two_spellings_of_one_cell_are_refused(axis: str) -> None:
    with pytest.raises(SpecError, match="same settings"):
        plan(f"[grid]\n{axis}\n")


@pytest.mark.parametrize(
    "line",
    [
        '"features.density" = [0.1, 0.2, 1.5]',
        '"features.density" = [0.1, nan]',
        '"model.hidden" = [2, 3, -1]',
        '"model.activation" = ["relu", "solo"]',
        '"features.frequency" = ["uniform", "zipf"]',
        '"features.firing" = ["independent", { kind = "correlated", groups = 4 }]',
    ],
)
def test_one_bad_cell_refuses_the_plan(line: str) -> None:
    with pytest.raises(SpecError, match=r"file\.toml: "):
        plan(f"[grid]\n{line}\n")


def test_hash_is_of_the_models_and_their_order() -> None:
    hashes = [
        plan("[grid]\nseed = [0, 1]\n").hash,
        plan("[grid]\nseed = [1, 0]\n").hash,
        plan("[grid]\nseed = [0, 1, 2]\n").hash,
        plan("[grid]\nseed = [0, 1]\n[eval]\nsamples = 256\n").hash,
    ]
    assert len(set(hashes)) == len(hashes)
    spelled = plan('[grid]\nseed = [0, 1]\n"model.tied" = [true]\n', "question = 'why?'")
    assert spelled.hash == hashes[0]


def test_the_work_of_planning_grows_with_the_models_not_faster() -> None:
    """Counted in calls of functions, as time is the machine's."""

    def calls_a_model(models: int) -> float:
        counted = cProfile.Profile()
        counted.enable()
        plan(f"[grid]\nseed = {{ range = [0, {models}] }}\n")
        counted.disable()
        return sum(entry.callcount for entry in counted.getstats()) / models

    few, many = calls_a_model(300), calls_a_model(3000)
    assert few > 1
    assert many < 1.1 * few


def test_plan_takes_some_tens_of_bytes_a_model() -> None:
    models = 4000
    plan("[grid]\nseed = [0, 1]\n")
    tracemalloc.start()
    kept = plan(f"[grid]\nseed = {{ range = [0, {models}] }}\n")
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(kept.packs) == 4
    assert held < 60 * models
    assert peak < 120 * models


def test_packs_are_a_sequence() -> None:
    made = SHIPPED["tms_neurons"].packs
    assert made[-1] == made[len(made) - 1] == list(made)[-1]
    assert made[2:4] == [made[2], made[3]]
    with pytest.raises(IndexError):
        made[len(made)]


def test_numbers_of_models_rise_within_and_over_the_packs_of_a_group() -> None:
    made = SHIPPED["tms_phase"]
    assert all(a[-1] < b[0] for a, b in pairwise(packs(made)))
