"""Hosts: what the study says is what the scores are, seed by seed; its rule of sparsity; what it refuses."""

from __future__ import annotations

import pytest
import torch

import toymodels as tm
from tests.sweeps.studies.conftest import Ran
from toymodels.hosts import Models
from toymodels.hosts.streaming import BEGINS
from toymodels.metrics.dictionaries import TopK, absorption, activations, beside_parents, fit, score
from toymodels.sweeps.errors import FolderError
from toymodels.sweeps.results.scoring import FIRST
from toymodels.sweeps.studies import hosts
from toymodels.sweeps.studies.reply import Reply

BODY = """
[features]
n = 8
density = 0.2
values = "binary"
firing = { kind = "tree", children = 3, depth = 1, any_child = 0.8 }
[model]
hidden = 6
embedding = 4
activation = "solu"
layer_norm = true
tied = false
output = "linear"
[train]
steps = 30
batch = 32
[eval]
samples = 256
"""
SAMPLES = 256


@pytest.fixture(scope="module")
def asked(ran: Ran) -> tuple[Models, Reply]:
    """A tiny host of trees, and what is said of it."""
    run = ran(BODY)
    loaded = run.model(0)
    return Models([loaded.experiment], loaded.parameters), hosts.answer(run, lambda _: None)


def test_scores_are_those_of_dictionaries_trained_on_the_stream_and_scored_on_other_samples(
    asked: tuple[Models, Reply],
) -> None:
    host, reply = asked
    n = len(hosts.SEEDS)
    features = host.first.features
    assert isinstance(features, tm.Features)
    k = max(1, round(features.probabilities().sum()))
    steps = hosts.PASSES * SAMPLES // hosts.BATCH
    for tap in ("post", "mid"):
        a = activations(host, tap, BEGINS, SAMPLES)[0].expand(n, -1, -1)
        ours = fit(a, TopK(k), 8, hosts.SEEDS, steps=steps, batch=hosts.BATCH)
        b, active = (each.expand(n, -1, -1) for each in activations(host, tap, FIRST, SAMPLES // 2))
        found = score(ours, b, active, host.directions(tap).expand(n, -1, -1))
        table = reply.tables[hosts.SCORES]
        rows = table[(table["tap"] == tap) & (table["kind"] == "TopK") & (table["latents"] == 8)]
        said = rows.set_index("measure")
        for name in ("mcc", "uniqueness", "r2", "shrinkage", "dead_latents", "l0"):
            expected = hosts._estimate(getattr(found, name), name)
            assert expected["mean"] == pytest.approx(getattr(found, name).mean().item())
            assert said.loc[name, ["mean", "low", "high", "seeds"]].to_dict() == pytest.approx(expected, nan_ok=True)
        assert said.loc["f1", "mean"] == pytest.approx(found.f1.nanmean(1).mean().item())
        assert isinstance(features.firing, tm.Tree)
        parents = features.firing.parents(8)
        beside = beside_parents(host, tap, parents).expand(n, -1, -1)
        absorbed = absorption(ours, b, active, beside, parents)
        assert said.loc["absorption", "mean"] == pytest.approx(absorbed.mean.nanmean().item(), nan_ok=True)
        counted = (~absorbed.fraction[:, torch.from_numpy(parents >= 0)].isnan()).double().mean().item()
        assert said.loc["children_counted", "mean"] == pytest.approx(counted)


def test_every_kind_is_there_and_kinds_are_compared_seed_by_seed(asked: tuple[Models, Reply]) -> None:
    scores, kinds = asked[1].tables[hosts.SCORES], asked[1].tables[hosts.KINDS]
    there = scores.drop_duplicates(["tap", "latents", "kind"])[["tap", "latents", "kind"]].to_numpy().tolist()
    names = [*hosts.kinds_of(8)]
    assert there == [[tap, latents, kind] for tap, latents in (("post", 8), ("post", 16), ("mid", 8)) for kind in names]
    assert set(scores["seeds"]) <= set(range(len(hosts.SEEDS) + 1))
    at = kinds[(kinds["tap"] == "post") & (kinds["latents"] == hosts.AS_MANY) & (kinds["measure"] == "mcc")]
    means = at[at["minus"] == ""].set_index("kind")["mean"]
    apart = at[at["minus"] == hosts.REFERENCE].set_index("kind")["mean"]
    assert apart["L1"] == pytest.approx(means["L1"] - means["TopK"])
    assert asked[1].notes[0] == hosts.UNIT


def test_the_told_sparsity_is_the_truths() -> None:
    told = {name: kind.tried(torch.tensor([2.56]))[0] for name, kind in hosts.kinds_of(64).items()}
    assert (told["TopK"].k, told["BatchTopK"].k, told["Matryoshka"].prefixes) == (  # pyright: ignore[reportAttributeAccessIssue]
        (3,),
        pytest.approx((2.56,)),
        (16, 32),
    )


def test_hosts_of_one_name_are_told_apart_and_what_has_no_features_is_refused(ran: Ran) -> None:
    two = BODY.replace("samples = 256", "samples = 64") + "[grid]\nseed = [0, 1]\n"
    of_hosts = hosts.answer(ran(two), lambda _: None).tables[hosts.HOSTS]
    assert of_hosts[["host", "model"]].to_numpy().tolist() == [["solu_ln_tree", 0], ["solu_ln_tree", 1]]
    pairs = BODY.replace('firing = { kind = "tree", children = 3, depth = 1, any_child = 0.8 }\n', "")
    with pytest.raises(FolderError, match="hosts needs trained models whose targets are features"):
        hosts.answer(ran(pairs + '[task]\ntarget = { kind = "and", pairs = 4 }\n'), lambda _: None)


def test_an_interval_ends_where_its_measure_does() -> None:
    values = torch.tensor([0.0, 0, 0, 0, 0, 0, 0, 1.0], dtype=torch.float64)
    assert hosts._estimate(values, "dead_latents")["low"] == 0
    assert hosts._estimate(1 - values, "f1")["high"] <= 1
    assert -1 <= hosts._estimate(values, "f1", apart=True)["low"] < 0
    assert hosts._estimate(-values, "r2")["low"] < -0.1
