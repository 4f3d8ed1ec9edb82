"""P9 by hand, and its dictionaries on a model in which every feature but one has a neuron."""

from __future__ import annotations

import math

import pytest
import torch

from toymodels import Binary, Bottleneck, Experiment, Features, Linear, Parameters, ReLU
from toymodels.hypotheses.arms import MAIN, PLAIN, Arm
from toymodels.hypotheses.predictions.p9_harder_to_find import KINDS, L1, SCORES, TOP_K, dictionaries, statistic

TWO = torch.tensor([[True, True, False, False], [True, True, True, False], [False] * 4])


def measured(kind, main, plain):
    return {MAIN: {kind: torch.tensor(main)}, PLAIN: {kind: torch.tensor(plain)}}


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_gelu_minus_solu_with_norm_over_its_tier_two(kind):
    nan = math.nan
    of = measured(
        kind,
        [[0.2, 0.4, 0.9, 0.9], [0.5, nan, 0.1, 0.9], [0.1] * 4],
        [[0.5, 0.6, 0.0, 0.0], [0.5, nan, 0.5, 0.0], [0.9] * 4],
    )
    found = statistic(of, kind, TWO)
    assert found is not None
    assert found[0].item() == pytest.approx(0.55 - 0.3)
    assert found[1].item() == pytest.approx(0.5 - 0.3)  # a feature never seen is seen in neither
    assert found[2].isnan()


def test_what_one_arm_lacks_is_not_measured():
    of = measured(KINDS[0], [[0.1] * 4] * 3, [[0.2] * 4] * 3)
    assert statistic(of, KINDS[1], TWO) is None
    assert statistic({MAIN: of[MAIN]}, KINDS[0], TWO) is None


def test_dictionaries_find_the_features_that_are_there():
    W = torch.eye(8)[None]
    W[:, 7, 7] = 0
    e = Experiment(Features(8, 0.15, values=Binary()), Bottleneck(8, ReLU(), None, Linear(), tied=False))
    found = dictionaries(Arm([e], Parameters(W_in=W, W_out=W)), 2048, 4096)
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
    found = dictionaries(Arm([e], Parameters(W_in=W_in, W_out=W_in.transpose(1, 2))), 2048, 4096)
    assert found[L1].shape == (1, 4)
    assert found[L1][0].tolist() == pytest.approx([1, 1, 0.5, 1], abs=0.05)
    scores = found["scores"][0]
    assert scores[1, SCORES.index("mcc_matched")] > 0.95
    assert scores[1, SCORES.index("mcc")].item() == pytest.approx(7 / 8, abs=0.03)
