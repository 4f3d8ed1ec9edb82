"""The predictions' statistics against the same done the long way, through `forward` and `surgery`."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from toymodels import (
    Binary,
    Bottleneck,
    Experiment,
    Features,
    GeLU,
    LayerNorm,
    Linear,
    ReLU,
    SoLU,
    UniformValues,
    forward,
)
from toymodels.bottleneck import initialise
from toymodels.hypotheses import (
    p1_bimodal,
    p2_rescaled,
    p3_gated,
    p4_needs_norm,
    p6_common_or_important,
    p7_weak_activity,
    p9_harder_to_find,
)
from toymodels.hypotheses.arms import MAIN, PLAIN, Arm, Regime
from toymodels.hypotheses.dip import p_values
from toymodels.metrics.moments import collect
from toymodels.surgery import FrozenNorm, Switched, operate
from toymodels.training.experiment import sampler

SAMPLES = 2048
SHAPES = [
    (Bottleneck(6, SoLU(), LayerNorm(), Linear(), tied=False, hidden_bias=True), UniformValues()),
    (Bottleneck(5, GeLU(), LayerNorm(1e-3), ReLU()), Binary()),
    (Bottleneck(4, ReLU(), None, Linear(), output_bias=False), UniformValues()),
]


def arm_of(bottleneck, values, models=2, n=9):
    es = [Experiment(Features(n, 0.15, values=values), bottleneck, seed=seed) for seed in range(models)]
    start = initialise([bottleneck] * models, sampler(es), torch.float32)
    noise = torch.Generator().manual_seed(3)
    moved = {k: t + 0.2 * torch.randn(t.shape, generator=noise) for k, t in start.trained().items()}
    return Arm(es, type(start)(**moved, ln_eps=start.ln_eps))


@pytest.mark.parametrize("bottleneck, values", SHAPES)
def test_p2_is_what_switching_a_feature_off_changes(bottleneck, values):
    arm = arm_of(bottleneck, values)
    found = p2_rescaled.measure(arm, 1024, SAMPLES)
    x = sampler(arm.experiments).evaluation(1024, SAMPLES - 1024)
    live = operate(bottleneck, arm.parameters, x)
    for i in (0, 5):
        off = operate(bottleneck, arm.parameters, x, Switched([i], 0.0))
        for tap in ("mid", "post"):
            change = (getattr(live, tap) - getattr(off, tap)).norm(dim=1)
            for model in range(2):
                on = (x[model, i] != 0).nonzero()[: p2_rescaled.EXAMPLES, 0]
                assert found[tap][model, i].item() == pytest.approx(change[model, on].mean().item(), rel=1e-4)


@pytest.mark.parametrize("bottleneck, values", SHAPES)
def test_p3_is_the_read_out_in_company_and_alone(bottleneck, values):
    arm = arm_of(bottleneck, values)
    gated = p3_gated.measure(arm)["gated"]
    e = torch.eye(9) * values.mean

    def readout(model: int, *present: int) -> torch.Tensor:
        x = sum((e[:, i] for i in present), torch.zeros(9))
        return forward(bottleneck, arm.parameters[model : model + 1], x[None, :, None]).readout[0, :, 0]

    for model, i, j in ((0, 1, 2), (1, 4, 0), (1, 0, 4)):
        alone = (readout(model, i) - readout(model))[i]
        company = (readout(model, i, j) - readout(model, j))[i]
        if alone.abs() < p3_gated.SMALLEST:
            assert gated[model, i, j].isnan()
        else:
            assert gated[model, i, j].item() == pytest.approx(1 - (company / alone).item(), rel=1e-3, abs=1e-4)
    assert torch.diagonal(gated, dim1=1, dim2=2).isnan().all()


def test_a_linear_model_gates_nothing():
    gated = p3_gated.measure(arm_of(Bottleneck(5, Linear(), None, Linear()), Binary()))["gated"]
    assert gated[gated.isfinite()].abs().max() < 1e-4


@pytest.mark.parametrize("bottleneck, values", SHAPES[:2])
def test_p4_holds_the_scale_as_surgery_does(bottleneck, values):
    arm = arm_of(bottleneck, values)
    scale = torch.tensor([0.7, 3.0], dtype=torch.float64)
    frozen = p4_needs_norm.held(arm, scale)
    x = sampler(arm.experiments).evaluation(0, 256)
    ours = forward(frozen.experiments[0].bottleneck, frozen.parameters, x).out
    torch.testing.assert_close(
        ours, operate(bottleneck, arm.parameters, x, FrozenNorm(scale)).out, rtol=1e-4, atol=1e-5
    )


def test_p4_measures_correlations_and_drops_nothing_where_nothing_is_held():
    arm = arm_of(*SHAPES[2])
    moments = collect(arm.experiments, arm.parameters, SAMPLES)
    x = sampler(arm.experiments).evaluation(0, SAMPLES)
    y = forward(SHAPES[2][0], arm.parameters, x).out
    expected = np.corrcoef(x[0, 3].numpy(), y[0, 3].numpy())[0, 1] ** 2
    assert p4_needs_norm.rescaled_r2(moments)[0, 3].item() == pytest.approx(expected, rel=1e-4)
    drops = p4_needs_norm.measure(arm, moments.folds[2], 1024, SAMPLES)
    assert all((drops[kind] == 0).all() for kind in p4_needs_norm.DECISIVE)
    assert drops["keep 4"].abs().max() < 1e-12  # four neurons in all
    assert drops["keep 1"].nanmean() > 0


def test_p6_is_the_penalised_logistic_regression():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 2)) * [1.0, 2.0] - 3
    y = (rng.random(300) < 1 / (1 + np.exp(-(1 + x @ [0.8, -0.3])))).astype(float)
    theirs = LogisticRegression(C=1 / p6_common_or_important.RIDGE, tol=1e-10, max_iter=1000).fit(x, y)
    ours = p6_common_or_important.fit(x, y)
    assert ours == pytest.approx([theirs.intercept_[0], *theirs.coef_[0]], abs=1e-4)
    assert np.isfinite(p6_common_or_important.fit(x, (x[:, 0] > -3).astype(float))).all()


def test_p6_covers_the_truth_over_seeds_and_refuses_what_is_confounded():
    rng, covered = np.random.default_rng(1), 0
    for _ in range(60):
        of = rng.normal(size=(8, 64, 2))
        one = torch.from_numpy(rng.random((8, 64)) < 1 / (1 + np.exp(-(of @ [1.0, 0.4] - 1))))
        _, low, high, seeds = p6_common_or_important.coefficients(of, one, ~one)["difference"]
        covered += low <= 0.6 <= high
        assert seeds == 8
    assert covered >= 50
    tied = np.repeat(rng.normal(size=(8, 64, 1)), 2, axis=2)
    assert "correlated" in (p6_common_or_important.unanswerable(tied) or "")
    assert p6_common_or_important.unanswerable(np.zeros((8, 64, 2))) == "frequency does not vary"


def test_p7_by_sorting():
    bottleneck, values = SHAPES[0]
    arm = arm_of(bottleneck, values, models=1)
    share = p7_weak_activity.measure(arm, 1024, SAMPLES)["mid"][0]
    x = sampler(arm.experiments).evaluation(1024, 1024)
    e = torch.cat([torch.eye(9) * values.mean, torch.zeros(9, 1)], 1)[None]
    alone = forward(bottleneck, arm.parameters, e).mid[0]
    main = (alone[:, :9] - alone[:, 9:]).abs().argmax(1)
    u = (forward(bottleneck, arm.parameters, x).mid[0] - alone[:, 9:]).abs().numpy()
    for k in range(6):
        order = np.argsort(u[k], kind="stable")
        order = order[u[k][order] > 1e-6 * u[k].max()]
        edges = len(order) * np.arange(11) // 10
        for c in (0, 5, 9):
            of_class = order[edges[c] : edges[c + 1]]
            off = (x[0, main[k]] == 0).numpy()[of_class]
            assert share[k, c].item() == pytest.approx(u[k][of_class][off].sum() / u[k][of_class].sum(), abs=1e-4)


def test_one_feature_a_neuron_has_no_weak_activity_of_others():
    arm = arm_of(Bottleneck(9, ReLU(), None, Linear(), tied=False), Binary(), models=1)
    arm = Arm(arm.experiments, type(arm.parameters)(W_in=torch.eye(9)[None], W_out=torch.eye(9)[None]))
    share = p7_weak_activity.measure(arm, 0, SAMPLES)["mid"]
    assert (share == 0).all()


def test_p9_is_gelu_minus_solu_with_norm_over_tier_two():
    measured = {
        MAIN: {"best neuron": torch.tensor([[0.2, 0.4, 0.9]])},
        PLAIN: {"best neuron": torch.tensor([[0.5, 0.6, 0.1]])},
    }
    two = torch.tensor([[True, True, False]])
    assert p9_harder_to_find.statistic(measured, "best neuron", two) == pytest.approx(0.25)
    assert p9_harder_to_find.statistic(measured, "F1 of TopK", two) is None


def test_p9_finds_dictionaries_of_both_kinds():
    f1 = p9_harder_to_find.dictionary_f1(arm_of(*SHAPES[2], models=1), 1024, SAMPLES)
    assert set(f1) == {"F1 of TopK", "F1 of L1"}
    assert all(f.shape == (1, 9) and f.nan_to_num().ge(0).all() and f.nan_to_num().le(1).all() for f in f1.values())


def test_p1_says_what_its_docstring_says_of_percentiles_and_normal_scores():
    draws = torch.Generator().manual_seed(0)
    percent = 100 * torch.rand(600, 40, generator=draws, dtype=torch.float64)
    tiers = percent.clone()
    tiers[:, :12] = 100 - 0.1 * torch.rand(600, 12, generator=draws, dtype=torch.float64)
    scores = [p1_bimodal.normal_scores(p, torch.ones_like(p, dtype=torch.bool)) for p in (percent, tiers)]
    shares = [(p_values(x) < 0.05).double().mean().item() for x in (percent, tiers, *scores)]
    assert shares == pytest.approx([0.04, 0.22, 0.003, 0.99], abs=0.06)


def test_arms_must_be_paired():
    arm = arm_of(*SHAPES[0])
    other = Arm(list(reversed(arm.experiments)), arm.parameters)
    with pytest.raises(ValueError, match="the seeds of solu"):
        Regime("r", {MAIN: arm, "gelu + LN": other})
    with pytest.raises(ValueError, match="expected the arms"):
        Regime("r", {MAIN: arm})
