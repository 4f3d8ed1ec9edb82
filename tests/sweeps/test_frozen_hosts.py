"""The frozen hosts: the bytes that were frozen, what they answer, what dictionaries score on them, and the sweep that
makes them again."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import toymodels as tm
from tests.conftest import door
from toymodels.engines import ENGINES
from toymodels.hosts import Models
from toymodels.hosts.hosted import HostedModel
from toymodels.metrics.dictionaries import Dictionary, by_chance, score
from toymodels.metrics.manipulation import ENGAGED, affine_substitution
from toymodels.metrics.moments import collect
from toymodels.sweeps.errors import SpecError
from toymodels.sweeps.plan.plan import Plan, make_plan
from toymodels.sweeps.results.hosting import freeze, name_of
from toymodels.sweeps.spec.frozen import frozen
from toymodels.sweeps.spec.sweep import find, read
from toymodels.sweeps.store.hostfile import write_host
from toymodels.sweeps.store.manifest import of_bytes

KEPT = {
    "gelu_binary": (
        "d2d35546bd27ace0ebb047ec9a2f0aa5aed68ebf0d346752febf8a6afbe23a39",
        (0.3585516, 0.7481529, 0.2246651, -0.0401511),
    ),
    "gelu_tree": (
        "36be63cfbf36f5faefe8144130549a6e1604c3cbc4f1daa2eca746d83acff5cb",
        (0.9968812, 0.4154592, 0.6296332, -0.0107515),
    ),
    "gelu_uniform": (
        "258f4e1f99c64a491a0cc89a48fc9afdb10f500a89e3a19853613109fa61684d",
        (0.5155872, 0.8988727, 0.2132609, -0.0644356),
    ),
    "relu_binary": (
        "3c3d886587a669b69e154c424c9c51145b5490509af146674c747a6a12c7b771",
        (0.362368, 0.7257156, 0.139067, -0.0224853),
    ),
    "relu_uniform": (
        "705dba64a523660a9d214630adb889fac963d17f1136ad1fc5337f1cc531b335",
        (0.5103223, 0.8067378, 0.2292948, -0.0239907),
    ),
    "solu_binary": (
        "1dc9e4eed169d4470f2ac3b7d67b7be6bbc23ae6ccebc9f6cfd1bb2afdc68b4f",
        (0.2998355, 0.5771707, 0.1571397, 0.0105829),
    ),
    "solu_ln_binary": (
        "2dcd3ccb667c950c1d87e404c37d84691463f45662db65561e0221f94a1ec198",
        (0.4310208, 1.0295461, 0.2197063, -0.0277801),
    ),
    "solu_ln_tree": (
        "bf1a92c454e056c013e3ee41f5c45b858bbfc9219f20eabfe1396489fd5c8ea4",
        (1.1100996, 0.4299349, 0.7988379, -0.0234088),
    ),
    "solu_ln_uniform": (
        "d7e552e64815ba5d1b8509716140e684b3f63233b577c4b7ef208242a9ccc11a",
        (0.3284697, 0.8877031, 0.1391949, -0.0280382),
    ),
    "solu_uniform": (
        "747451b130e17eff6b89fb26c2f82e607a742ab4d96f383ca176ddd2f1c5acf6",
        (0.3940521, 0.7170793, 0.1634169, -0.009405),
    ),
}
"""by name the SHA-256 of the file, and the first four outputs where features 0, 1 and 2 are 1 and no other is"""
FROZEN_WITH = {
    "python": "3.11.7",
    "torch": "2.13.0+cpu",
    "numpy": "2.4.6",
    "numba": "0.68.1",
    "safetensors": "0.8.0",
    "processor": "znver5, rows of 64",
}
"""what the bytes of a trained model depend on, as it was then"""


@pytest.fixture(scope="module")
def plan() -> Plan:
    return make_plan(read(find("hosts")))


def test_the_set_is_what_was_frozen() -> None:
    assert frozen().keys() == KEPT.keys()
    for name, path in frozen().items():
        assert hashlib.sha256(path.read_bytes()).hexdigest() == KEPT[name][0], name
    assert sum(path.stat().st_size for path in frozen().values()) < 700_000


@pytest.mark.parametrize("name", KEPT)
def test_a_name_opens_a_host_that_answers_as_it_did(name: str) -> None:
    of = tm.host(name)
    assert (of.tap, of.hidden, of.models.first.features.n) == ("post", 64, 64)
    assert name_of(of.models.first) == name
    x = torch.zeros(1, 64, 1)
    x[:, :3] = 1
    assert of.models.taps(x).out[0, :4, 0].tolist() == pytest.approx(KEPT[name][1], abs=1e-6)
    torch.testing.assert_close(of.directions.delta.T[None], of.models.directions("post"), atol=1e-5, rtol=1e-5)
    assert tm.host(name, tap="mid").tap == "mid"


def test_a_name_comes_before_a_folder_and_after_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("gelu_tree").mkdir()
    assert name_of(tm.host("gelu_tree").models.first) == "gelu_tree"
    with pytest.raises(tm.SweepError, match="run folder"):
        tm.host("./gelu_tree")


def test_an_unknown_name_lists_the_names() -> None:
    with pytest.raises(SpecError, match=r"no frozen host is called 'gelu_trees'.*did you mean 'gelu_tree'"):
        tm.host("gelu_trees")
    with pytest.raises(SpecError, match=f"expected one of: {', '.join(sorted(KEPT))}"):
        tm.host("zzzz")
    with pytest.raises(ValueError, match="model: expected a whole number from 0 to 0, got 1"):
        tm.host("gelu_tree", 1)
    assert door("list", "--json").json()["hosts"] == sorted(KEPT)


def test_every_host_uses_its_activation() -> None:
    """Trap 17: where it does nothing a dictionary faces a linear map."""
    for name in KEPT:
        host = tm.host(name).models
        assert affine_substitution(host, collect(host, 8192)).item() > ENGAGED, name


@pytest.mark.parametrize("name, tap", [(name, tap) for name in KEPT for tap in ("post", "mid")[: 1 + ("_ln_" in name)]])
def test_the_truth_scores_1_and_random_directions_chance(name: str, tap: str) -> None:
    of = tm.host(name, tap=tap)
    held_out = of.sample(512)
    a, active = held_out.activations.T[None].contiguous(), held_out.active.T[None]
    directions = of.models.directions(tap)
    perfect = score(Dictionary(directions), a, active, directions, draws=1)
    assert perfect.mcc.item() == pytest.approx(1, abs=1e-6)
    assert perfect.mmcs.item() == pytest.approx(1, abs=1e-6)
    random = torch.randn(20, 64, 64, generator=torch.Generator().manual_seed(0))
    several = directions.expand(20, -1, -1)
    mcc = score(Dictionary(random), a.expand(20, -1, -1), active.expand(20, -1, -1), several, draws=1).mcc
    chance = by_chance(directions, 64).mcc.item()
    assert mcc.mean().item() == pytest.approx(chance, abs=4 * mcc.std().item() * (1 / 20 + 1 / 32) ** 0.5)
    assert chance < 0.5


@pytest.mark.parametrize("name", ["solu_ln_tree"])
def test_the_sweep_makes_it_again(name: str, plan: Plan, tmp_path: Path) -> None:
    """The same bytes where the processor and versions are those it was frozen with, and otherwise near."""
    (e,) = (each for each in plan.experiments(plan.settings(range(len(plan)))) if name_of(each) == name)
    again = Models([e], ENGINES["fused"].train([e]).parameters)
    kept = tm.host(name)
    assert kept.models.first == e
    for one, other in zip(again.parameters.present().values(), kept.models.parameters.present().values(), strict=True):
        torch.testing.assert_close(one, other, atol=1e-2, rtol=1e-2)
    write_host(HostedModel(again, "post"), tmp_path / "again.safetensors")
    here = {each: what for each, what in of_bytes().items() if each in FROZEN_WITH}
    assert here != FROZEN_WITH or (tmp_path / "again.safetensors").read_bytes() == frozen()[name].read_bytes()


def test_freezing_names_every_model_once(tmp_path: Path) -> None:
    small = {"train.steps": 1, "eval.samples": 256, "features.values": "uniform", "features.n": 16}
    run = tm.sweep("hosts", set=small, engine="autograd", out=tmp_path / "run")
    with pytest.raises(SpecError, match="models 2 and 4 are both called 'solu_uniform'"):
        freeze(run, tmp_path)


def test_the_command_scores_a_dictionary_of_a_frozen_host(tmp_path: Path) -> None:
    truth = tmp_path / "truth.safetensors"
    save_file({"W_dec": tm.host("solu_ln_binary").directions.delta}, truth)
    said = door("score", "solu_ln_binary", "--dictionary", truth, "--samples", 256, "--json").json()
    assert said["folder"] == "solu_ln_binary"
    assert said["models"][0]["mcc"] == pytest.approx(1)
    assert {each["tier"]: each["features"] for each in said["tiers"]} == {
        "all": 64,
        "neuron": 53,
        "hidden": 9,
        "lost": 2,
    }
    file = door("score", frozen()["solu_ln_binary"], 0, "--dictionary", truth, "--samples", 256)
    assert "mcc_by_chance" in file.out
    refused = door("score", "solu_ln_binary", 1, "--dictionary", truth)
    assert (refused.code, refused.out) == (2, "")
    assert "is a host, which is one model: expected none, got 1" in refused.err
    unknown = door("score", "solu_ln", "--dictionary", truth)
    assert unknown.code == 2
    assert "did you mean 'solu_ln_" in unknown.err
