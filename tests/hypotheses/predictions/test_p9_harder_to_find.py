"""P9 by hand, and its dictionaries on a model in which every feature but one has a neuron."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from toymodels import Binary, Bottleneck, Experiment, Features, LayerNorm, Linear, Parameters, ReLU, forward
from toymodels.hosts import Models
from toymodels.hypotheses.arms import MAIN, PLAIN
from toymodels.hypotheses.evidence import Evidence
from toymodels.hypotheses.predictions.p9_harder_to_find import (
    BEST_NEURON,
    DICTIONARIES,
    KINDS,
    L1,
    SCORES,
    TOP_K,
    HarderToFind,
    dictionaries,
)
from toymodels.training.experiment import sampler

TWO = torch.tensor([[True, True, False, False], [True, True, True, False], [False] * 4])


def evidence(kind, main, plain=None):
    of = {MAIN: {"P9": {kind: torch.tensor(main)}}}
    if plain is not None:
        of[PLAIN] = {"P9": {kind: torch.tensor(plain)}}
    return Evidence("made up", "1e-05", of, np.zeros((len(main), 4, 2)))


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_gelu_minus_solu_with_norm_over_its_tier_two(kind, make_tiers):
    nan = math.nan
    of = evidence(
        kind,
        [[0.2, 0.4, 0.9, 0.9], [0.5, nan, 0.1, 0.9], [0.1] * 4, [0.9, 0.7, 0.0, 0.0]],
        [[0.5, 0.6, 0.0, 0.0], [0.5, nan, 0.5, 0.0], [0.9] * 4, [0.3, 0.5, 0.9, 0.9]],
    )
    two = torch.cat([TWO, TWO[:1]])
    found = HarderToFind().numbers(of, [make_tiers(~two, two)])[0][kind]
    assert isinstance(found, torch.Tensor)
    assert found.shape == (4, 1)
    assert found[0].item() == pytest.approx(0.55 - 0.3)
    assert found[1].item() == pytest.approx(0.5 - 0.3)  # a feature never seen is seen in neither
    assert found[2].isnan()
    assert found[3].item() == pytest.approx(0.4 - 0.8)  # easier to find


def test_what_one_arm_lacks_is_not_measured(make_tiers):
    tiers = make_tiers(~TWO, TWO)
    (both,) = HarderToFind().numbers(evidence(KINDS[0], [[0.1] * 4] * 3, [[0.2] * 4] * 3), [tiers])
    assert both[KINDS[1]] == both[KINDS[2]] == "not measured"
    (alone,) = HarderToFind().numbers(evidence(KINDS[0], [[0.1] * 4] * 3), [tiers])
    assert set(alone.values()) == {"no gelu"}


@pytest.mark.parametrize("layer_norm", [None, LayerNorm()])
def test_the_best_neuron_is_that_of_post(make_arm, split, layer_norm):
    """By NumPy's correlations; without LayerNorm post is mid."""
    bottleneck = Bottleneck(5, ReLU(), layer_norm, Linear(), tied=False)
    arm = make_arm(bottleneck, Binary())
    samples = split(arm)
    found = HarderToFind().measure(arm, samples)
    assert set(found) == {BEST_NEURON}
    x = sampler(arm.experiments).evaluation(samples.middle, samples.last - samples.middle)
    post = forward(bottleneck, arm.parameters, x).post
    for model in range(2):
        r = np.corrcoef(x[model].double().numpy(), post[model].double().numpy())[:9, 9:]
        assert found[BEST_NEURON][model].numpy() == pytest.approx(np.nanmax(r**2, axis=1), abs=1e-5)


def test_dictionaries_are_those_of_post(make_arm):
    """Where a LayerNorm follows, the F1 of the features are those whose mean stands in the row of post."""
    arm = make_arm(Bottleneck(8, ReLU(), LayerNorm(), Linear(), tied=False), Binary(), models=1, n=8)
    found = dictionaries(arm, 1024, 2048)
    scores = found["scores"][0, :, SCORES.index("f1")]
    for place, (tap, kind) in enumerate(DICTIONARIES):
        if tap == "post":
            assert found[kind].nanmean().item() == pytest.approx(scores[place].item(), abs=1e-5)
    assert scores.isfinite().all()


def test_dictionaries_find_the_features_that_are_there():
    W = torch.eye(8)[None]
    W[:, 7, 7] = 0
    e = Experiment(Features(8, 0.15, values=Binary()), Bottleneck(8, ReLU(), None, Linear(), tied=False))
    found = dictionaries(Models([e], Parameters(W_in=W, W_out=W)), 2048, 4096)
    scores = found.pop("scores")[0]
    assert set(found) == {TOP_K, L1}
    assert scores[2:].isnan().all()  # without LayerNorm post is mid
    at = {name: scores[1, k].item() for k, name in enumerate(SCORES)}
    assert at["mcc_matched"] > 0.95
    assert at["mcc"] == pytest.approx(7 / 8 * at["mcc_matched"])
    assert 0.2 < at["mcc_by_chance"] < 0.8
    assert (found[L1][0, :7] > 0.95).all()
    assert found[TOP_K][0, :7].mean() > 0.6  # as many at once as there are on average: too few, or too many
    assert all(f1[0, 7] == 0 for f1 in found.values())


def test_signed_features_have_a_latent_a_side_and_the_mean_of_both():
    """Feature 2 has a neuron for its positive sign only, so half of it can be found."""
    eye = torch.eye(4)
    W_in = torch.cat([eye, -eye])[None]
    W_in[:, 6] = 0
    e = Experiment(Features(4, 0.2, values=Binary(), signed=True), Bottleneck(8, ReLU(), None, Linear(), tied=False))
    found = dictionaries(Models([e], Parameters(W_in=W_in, W_out=W_in.transpose(1, 2))), 2048, 4096)
    assert found[L1].shape == (1, 4)
    assert found[L1][0].tolist() == pytest.approx([1, 1, 0.5, 1], abs=0.05)
    scores = found["scores"][0]
    assert scores[1, SCORES.index("mcc_matched")] > 0.95
    assert scores[1, SCORES.index("mcc")].item() == pytest.approx(7 / 8, abs=0.03)
