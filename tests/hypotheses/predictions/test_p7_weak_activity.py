"""P7: shares by sorting with NumPy, and models in which the answer is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from toymodels import Binary, Bottleneck, GeLU, LayerNorm, Linear, Parameters, ReLU, SoLU, forward
from toymodels.hosts import Models
from toymodels.hypotheses.predictions import p7_weak_activity
from toymodels.hypotheses.predictions.p7_weak_activity import WeakActivity, weak_minus_strong
from toymodels.training.experiment import sampler

SHAPES = {
    "solu+LN, hidden bias": Bottleneck(5, SoLU(), LayerNorm(), Linear(), tied=False, hidden_bias=True),
    "relu+LN": Bottleneck(5, ReLU(), LayerNorm(1e-3), ReLU()),
    "gelu": Bottleneck(4, GeLU(), None, Linear()),
}


@pytest.mark.parametrize("tap", ["mid", "post"])
@pytest.mark.parametrize("bottleneck", SHAPES.values(), ids=SHAPES.keys())
def test_shares_by_sorting(make_arm, bottleneck, tap):
    arm = make_arm(bottleneck, n=8)
    found = p7_weak_activity.shares(arm, 512, 2048)[tap]
    x = sampler(arm.experiments).evaluation(512, 1536)
    lone = torch.cat([0.5 * torch.eye(8), torch.zeros(8, 1)], 1)[None].expand(2, -1, -1)
    alone = forward(bottleneck, arm.parameters, lone)
    delta = (getattr(forward(bottleneck, arm.parameters, x), tap) - getattr(alone, tap)[:, :, -1:]).numpy()
    main = (alone.mid[:, :, :8] - alone.mid[:, :, 8:]).numpy()
    if bottleneck.layer_norm is not None:
        main = main - np.median(main, 1, keepdims=True)
        delta = delta - np.median(delta, 1, keepdims=True) if tap == "mid" else delta
    u, main = np.abs(delta), np.abs(main).argmax(2)
    for model in range(2):
        for neuron in range(bottleneck.hidden):
            of = u[model, neuron]
            off = x[model, main[model, neuron]].numpy() == 0
            moved = np.flatnonzero(of > 1e-6 * of.max())
            moved = moved[np.argsort(of[moved], kind="stable")]
            cuts = [len(moved) * c // 10 for c in range(11)]
            for c in range(10):
                chosen = moved[cuts[c] : cuts[c + 1]]
                expected = of[chosen][off[chosen]].astype(float).sum() / of[chosen].astype(float).sum()
                assert found[model, neuron, c].item() == pytest.approx(expected, abs=1e-5)


def lone(make_arm, activation):
    arm = make_arm(Bottleneck(6, activation, None, Linear(), tied=False), n=6, models=1)
    return Models(arm.experiments, Parameters(W_in=2 * torch.eye(6)[None], W_out=torch.eye(6)[None]))


@pytest.mark.parametrize("activation", [ReLU(), GeLU(), SoLU()])
def test_a_neuron_of_one_feature_has_no_activity_of_others(make_arm, activation):
    for share in p7_weak_activity.shares(lone(make_arm, activation), 0, 2048).values():
        assert (share == 0).all()


def test_a_neuron_whose_main_feature_is_never_there_has_nothing_else(make_arm):
    """A neuron answers to features 0 (strongly) and 1: examples with 1 alone are weak and wholly another's."""
    arm = make_arm(Bottleneck(1, ReLU(), None, Linear(), tied=False), Binary(), n=2, models=1, density=0.3)
    arm = Models(arm.experiments, Parameters(W_in=torch.tensor([[[5.0, 1.0]]]), W_out=torch.ones(1, 2, 1)))
    share = p7_weak_activity.shares(arm, 0, 8192)["mid"][0, 0]
    # 1 alone has .21 / .51 = .41 of the examples: all of the weakest four classes, some of the fifth, none above.
    assert share[:4].tolist() == [1.0] * 4
    assert 0 <= share[4] < 1
    assert share[5:].tolist() == [0.0] * 5


def test_a_neuron_of_the_negative_side_has_a_main_feature_too(make_arm):
    """Each of two signed features has a neuron a sign; none of their activity is another's, and none is dead."""
    arm = make_arm(Bottleneck(4, ReLU(), None, Linear(), tied=False), n=2, models=1, density=0.3, signed=True)
    eye = torch.eye(2)
    pairs = Parameters(W_in=torch.cat([eye, -eye])[None], W_out=torch.cat([eye, -eye], 1)[None])
    for share in p7_weak_activity.shares(Models(arm.experiments, pairs), 0, 2048).values():
        assert (share == 0).all()


@pytest.mark.parametrize("activation", [ReLU(), SoLU()])
def test_a_dead_neuron_is_undefined_and_spoils_no_mean(make_arm, activation):
    arm = make_arm(Bottleneck(4, activation, None, Linear()), n=8)
    whole = p7_weak_activity.shares(arm, 0, 2048)["mid"]
    arm.parameters.W_in[0, 2] = 0
    share = p7_weak_activity.shares(arm, 0, 2048)["mid"]
    assert share[0, 2].isnan().all()
    assert share[0, [0, 1, 3]].isfinite().all()
    assert torch.equal(share[1], whole[1])
    of = share[0, [0, 1, 3]].double().numpy()
    expected = (of[:, :5].mean(1) - of[:, 9]).mean()
    assert weak_minus_strong(share)[0].item() == pytest.approx(expected, abs=1e-6)


def test_a_neuron_that_does_what_all_do_is_dead_where_a_norm_follows(make_arm):
    """Five linear neurons, of which one reads a feature: the others move alike, as far as LayerNorm can see not."""
    arm = make_arm(Bottleneck(5, Linear(), LayerNorm(), Linear(), tied=False), n=3, models=1)
    W_in = torch.ones(1, 5, 3)
    W_in[0, 0] = torch.tensor([3.0, 2.0, 1.5])
    share = p7_weak_activity.shares(Models(arm.experiments, replace(arm.parameters, W_in=W_in)), 0, 2048)["mid"]
    assert share[0, 0].isfinite().all()
    assert share[0, 1:].isnan().all()


def test_a_model_that_never_moves_has_no_statistic(make_arm):
    arm = make_arm(Bottleneck(4, ReLU(), LayerNorm(), Linear()), n=8, density=1e-9)
    assert all(weak_minus_strong(share).isnan().all() for share in p7_weak_activity.shares(arm, 0, 256).values())


def test_the_statistic_is_weak_half_minus_strongest(make_tiers):
    classes = torch.tensor([[[0.9, 0.8, 0.7, 0.6, 0.5, 0.0, 0.0, 0.0, 0.0, 0.2], [0.1] * 10]])
    none = torch.zeros(2, 4, dtype=torch.bool)  # no tier is needed
    measured = {"mid": torch.cat([classes, classes.flip(2)]), "post": torch.cat([classes, 0 * classes])}
    found = WeakActivity().of_arm(measured, make_tiers(none, none))
    assert found["mid"].tolist() == pytest.approx([(0.7 - 0.2 + 0.0) / 2, (0.04 - 0.9) / 2])
    assert found["post"].tolist() == pytest.approx([(0.7 - 0.2 + 0.0) / 2, 0.0])


@pytest.mark.parametrize(
    "activation, reads, expected",
    [
        (ReLU(), [5.0, 1.0, 1.0, 1.0], 1),  # weak activations are of features that are not its own
        (ReLU(), [5.0, 0.0, 0.0, 0.0], 0),
        (Linear(), [-1.05, 1.0, 1.0, 1.0], -1),  # its own takes away from the others: alone they are the strongest
    ],
)
def test_it_can_come_out_either_way(make_arm, activation, reads, expected):
    arm = make_arm(Bottleneck(1, activation, None, Linear(), tied=False), Binary(), n=4, models=1, density=0.3)
    arm = Models(arm.experiments, Parameters(W_in=torch.tensor([[reads]]), W_out=torch.ones(1, 4, 1)))
    found = weak_minus_strong(p7_weak_activity.shares(arm, 0, 8192)["mid"]).item()
    assert (found > WeakActivity.margin) - (found < -WeakActivity.margin) == expected
