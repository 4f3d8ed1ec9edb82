"""The battery on layers: where layers have the data of constructed models, it must say what is true of those."""

from __future__ import annotations

import pytest
import torch

from toymodels import Binary
from toymodels.hosts import Models
from toymodels.hosts.layer import Layer
from toymodels.hosts.taking import Projection
from toymodels.hypotheses import in_transformers, measuring
from toymodels.hypotheses.arms import MAIN, Regime
from toymodels.hypotheses.constructed import CONSTRUCTIONS, regime
from toymodels.hypotheses.evidence import OF_ENGAGEMENT, OF_TIERS
from toymodels.hypotheses.statistics.intervals import Status
from toymodels.hypotheses.tiers import AnalysisSetting
from toymodels.metrics.manipulation import ENGAGED

SAMPLES = 16384
DEFAULT = AnalysisSetting(in_transformers.EPS)
BY_NAME = {c.name: c for c in CONSTRUCTIONS}


def layer_of(models: Models) -> Layer:
    n = models.first.features.n
    taking = Projection(torch.eye(n).expand(len(models), n, n), torch.zeros(len(models), n))
    return Layer(models.bottleneck, models.parameters, models.examples(0, SAMPLES), taking)


@pytest.fixture(scope="module")
def two_tiers() -> Regime:
    return regime(BY_NAME["two tiers"], 12, Binary(), range(1000, 1006), "1e-05")


@pytest.fixture(scope="module")
def arms(two_tiers: Regime):
    each = {name: layer_of(two_tiers.arms[name]) for name in (MAIN, "gelu + LN")}
    return {name: in_transformers.measure(name, layer, SAMPLES) for name, layer in each.items()}


def test_a_constructed_two_tier_layer_is_one(arms):
    assert (arms[MAIN][OF_ENGAGEMENT]["affine substitution"] > ENGAGED).all()
    found = in_transformers.own(arms, DEFAULT)
    for key, kind in (("P2", "suppressed"), ("P2", "rescaled"), ("P4", "geometric"), ("P4", "optimal"), ("P7", "mid")):
        assert found[MAIN, key, kind].status is Status.SUPPORTED, (key, kind)
    sizes = in_transformers.tiers_of(arms, DEFAULT)[MAIN]
    assert (sizes.neuron[:, :6].all(1)).all()
    assert not sizes.hidden[:, :6].any()
    assert sizes.hidden.sum(1).double().mean() >= 3


def test_beside_it_stands_what_random_neurons_that_are_as_long_would_cost(two_tiers, arms):
    parameters = two_tiers.arms[MAIN].parameters
    random = in_transformers.random_neurons(parameters, 0)
    torch.testing.assert_close(random.W_in.norm(dim=2), parameters.W_in.norm(dim=2))
    cosine = (random.W_in * parameters.W_in).sum(2) / (random.W_in.norm(dim=2) * parameters.W_in.norm(dim=2))
    assert cosine.abs().mean() < 0.3
    assert not torch.equal(random.W_in[0], random.W_in[1])
    assert torch.equal(in_transformers.random_neurons(parameters, 0).W_in, random.W_in)
    assert not torch.equal(in_transformers.random_neurons(parameters, 1).W_in, random.W_in)
    assert torch.equal(random.decoder, parameters.decoder)
    engagement = arms[MAIN][OF_ENGAGEMENT]
    assert (engagement[in_transformers.BY_CHANCE] < engagement["affine substitution"]).all()


def test_an_arm_that_is_not_engaged_has_no_status(arms):
    idle = {**arms[MAIN], OF_ENGAGEMENT: {"affine substitution": torch.linspace(0.02, 0.03, 6).double()}}
    of = {MAIN: idle, "gelu + LN": arms["gelu + LN"]}
    own = {key: finding for key, finding in in_transformers.own(of, DEFAULT).items() if key[0] == MAIN}
    for found in (own, in_transformers.beyond(of, DEFAULT), in_transformers.questions(of, DEFAULT)):
        assert found
        for finding in found.values():
            assert finding.status is Status.UNDETERMINED
            assert finding.reason == "solu + LN is not shown to be engaged"


def test_silu_before_a_layer_norm_is_a_control_too(arms):
    beyond = in_transformers.beyond({MAIN: arms[MAIN], "silu + LN": arms["gelu + LN"]}, DEFAULT)
    expected = in_transformers.beyond({MAIN: arms[MAIN], "gelu + LN": arms["gelu + LN"]}, DEFAULT)
    assert {("silu + LN", *key[1:]): finding for key, finding in expected.items()} == beyond


def test_and_it_has_more_in_neurons_than_the_same_in_another_basis(arms):
    beyond = in_transformers.beyond(arms, DEFAULT)
    assert beyond["gelu + LN", "P2", "suppressed"].status is Status.SUPPORTED
    asked = in_transformers.questions(arms, DEFAULT).items()
    (q1,) = (finding for (arm, key, _), finding in asked if key == "Q1" and arm == "gelu + LN")
    assert q1.mean >= 5
    assert q1.status is Status.SUPPORTED


def test_features_all_in_superposition_have_no_first_tier():
    of = regime(BY_NAME["all superposed"], 12, Binary(), range(1000, 1004), "1e-05").arms[MAIN]
    measured = {MAIN: in_transformers.measure(MAIN, layer_of(of), SAMPLES)}
    assert in_transformers.tiers_of(measured, DEFAULT)[MAIN].neuron.sum() <= 1
    assert in_transformers.own(measured, DEFAULT)[MAIN, "P2", "suppressed"].n == 0


def test_what_is_measured_of_a_layer_is_what_is_measured_of_the_models_whose_data_it_has(two_tiers, arms):
    expected = measuring.measure(MAIN, two_tiers.arms[MAIN], SAMPLES, dictionaries=False)
    for key, names in ((OF_TIERS, ("r2", "alignment", "r2_ungated")), ("P2", ("mid", "post")), ("P4", ("geometric",))):
        for name in names:
            torch.testing.assert_close(arms[MAIN][key][name], expected[key][name], rtol=1e-3, atol=2e-4, equal_nan=True)


def test_without_layer_norm_nothing_is_said_of_what_it_does(arms):
    found = in_transformers.own({"gelu": arms["gelu + LN"]}, DEFAULT)
    assert [key for _, *key in found] == [["P2", "suppressed"], ["P7", "mid"]]


def test_without_solu_and_layer_norm_nothing_is_compared(arms):
    alone = {"gelu": arms["gelu + LN"]}
    assert in_transformers.beyond(alone, DEFAULT) == {}
    assert in_transformers.questions(alone, DEFAULT) == {}
    assert in_transformers.questions({MAIN: arms[MAIN]}, DEFAULT) == {}
