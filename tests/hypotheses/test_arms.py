"""Arms and regimes: what is paired, what is refused, and that slices and batches change nothing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from toymodels import Bottleneck, GeLU, LayerNorm, Linear, SoLU, forward
from toymodels.hosts import Models, host
from toymodels.hypotheses import battery
from toymodels.hypotheses.arms import ARMS, MAIN, PLAIN, Regime
from toymodels.hypotheses.evidence import OF_ENGAGEMENT, OF_TIERS, Evidence, halves
from toymodels.hypotheses.measuring import gather
from toymodels.hypotheses.predictions import PREDICTIONS
from toymodels.hypotheses.tiers import Tiers, settings
from toymodels.metrics.moments import EDGE
from toymodels.training.experiment import sampler


def small(make_arm, models=3) -> Regime:
    def arm(activation, layer_norm=None):
        return make_arm(Bottleneck(5, activation, layer_norm, Linear(), hidden_bias=True), models=models)

    return Regime(
        "small",
        {PLAIN: arm(GeLU()), "linear + LN": arm(Linear(), LayerNorm()), MAIN: arm(SoLU(), LayerNorm())},
    )


@pytest.mark.parametrize("names", [(), ("gelu + LN", "relu + LN"), (MAIN, "tanh + LN")])
def test_a_regime_without_its_main_arm_or_with_others_is_refused(make_arm, names):
    arm = make_arm(Bottleneck(3))
    with pytest.raises(ValueError, match=r"r: expected the arm solu \+ LN and some of"):
        Regime("r", {name: arm for name in names})  # noqa: C420


@pytest.mark.parametrize("names", [(MAIN,), (MAIN, PLAIN), ARMS])
def test_a_regime_needs_its_main_arm_only(make_arm, names):
    arm = make_arm(Bottleneck(3))
    assert len(Regime("r", {name: arm for name in names})) == 2  # noqa: C420


@pytest.mark.parametrize("seeds", [[1, 0], [0], [0, 2]])
def test_unpaired_seeds_are_refused(make_arm, seeds):
    of_three = make_arm(Bottleneck(3), models=3)
    other = Models([of_three.experiments[k] for k in seeds], of_three.parameters[seeds])
    with pytest.raises(ValueError, match=r"expected the seeds of solu \+ LN in gelu \+ LN too"):
        Regime("r", {MAIN: of_three[:2], "gelu + LN": other})


def test_slices_are_the_arm_in_small_parts(make_arm, monkeypatch):
    arm = make_arm(Bottleneck(5, SoLU()), models=7)
    monkeypatch.setattr(host, "NUMBERS_AT_ONCE", 3 * 9 * 100)
    parts = list(arm.slices(100))
    assert [len(part) for part in parts] == [3, 3, 1]
    assert [e.seed for part in parts for e in part.experiments] == list(range(7))
    assert torch.equal(torch.cat([part.parameters.W_in for part in parts]), arm.parameters.W_in)
    assert [len(part) for part in arm.slices(10**9)] == [1] * 7  # never none


def numbers(evidence: Evidence) -> Iterator[tuple[str, Tensor]]:
    for arm, measured in evidence.arms.items():
        for prediction, quantities in measured.items():
            for name, tensor in quantities.items():
                yield f"{arm} {prediction} {name}", tensor


def test_a_model_measured_alone_is_measured_alike(make_arm):
    regime = small(make_arm)
    alone = Regime("alone", {name: arm[1:2] for name, arm in regime.arms.items()})
    one = dict(numbers(gather(alone, "1e-05", 1024)))
    for name, together in numbers(gather(regime, "1e-05", 1024)):
        assert torch.allclose(one[name][0].double(), together[1].double(), rtol=1e-4, atol=1e-5, equal_nan=True), name
        assert len(together) == 3, name


def test_every_arm_has_tiers_and_each_is_asked_what_concerns_it(make_arm):
    evidence = gather(small(make_arm), "1e-05", 1024)
    with_norm = {OF_TIERS, "P1", "P2", "P3", "P4", "P6", "P7", "P9"}
    assert set(evidence.arms[PLAIN]) == {OF_TIERS, "P9"}
    assert set(evidence.arms["linear + LN"]) == with_norm
    assert set(evidence.arms[MAIN]) == with_norm | {OF_ENGAGEMENT}
    assert evidence.covariates.shape[0] == 3


def test_arms_may_come_in_any_order(make_arm):
    regime = small(make_arm)
    turned = Regime("turned", dict(reversed(list(regime.arms.items()))))
    one, other = (battery.statistics(gather(of, "1e-05", 1024)) for of in (regime, turned))
    for setting in one.at:
        for key, kinds in one.at[setting].numbers.items():
            for kind, values in kinds.items():
                again = other.at[setting].numbers[key][kind]
                if isinstance(values, Tensor) and isinstance(again, Tensor):
                    assert torch.equal(values.nan_to_num(), again.nan_to_num())
                else:
                    assert values == again


def test_what_is_said_at_a_setting_is_of_its_own_tiers(make_arm):
    evidence = gather(small(make_arm), "1e-05", 1024)
    drawn = torch.Generator().manual_seed(0)
    for name in ("r2", "alignment", "r2_ungated everywhere"):  # so that tiers hang on the setting
        evidence.arms[MAIN][OF_TIERS][name].uniform_(generator=drawn)
    found = battery.statistics(evidence)
    assert list(found.at) == settings("1e-05")
    for setting, at in found.at.items():
        own = Tiers.of(evidence, setting)
        assert torch.equal(at.own.each, own.each)
        for prediction in PREDICTIONS:
            (alone,) = prediction.numbers(evidence, [own])
            assert repr(at.numbers[prediction.key]) == repr(alone)
    assert len({repr(at.numbers["P9"]) for at in found.at.values()}) > 3


def test_other_rotations_change_the_percentile_alone(make_arm):
    one, other = (gather(small(make_arm), "1e-05", 1024, null_seed=seed).arms[MAIN] for seed in (0, 1))
    assert not torch.equal(one[OF_TIERS]["percentile"], other[OF_TIERS]["percentile"])
    assert torch.equal(one[OF_TIERS]["alignment"], other[OF_TIERS]["alignment"])
    assert torch.equal(one["P3"]["alone"], other["P3"]["alone"])


def test_recovery_is_of_the_first_half_and_neurons_of_the_second(make_arm):
    """Features are not picked and judged by the same data."""
    regime = small(make_arm, models=1)
    evidence, (middle, last) = gather(regime, "1e-05", 2048), halves(2048)
    assert (middle, last) == (1024, 2048)
    arm = regime.arms[MAIN]
    x = sampler(arm.experiments).evaluation(0, 2048).double()[0]
    taps = forward(arm.experiments[0].bottleneck, arm.parameters.to("cpu", torch.float64), x[None])
    y, post = taps.out[0], taps.post[0]
    first = 1 - (x - y)[:, :middle].square().mean(1) / x[:, :middle].var(1, correction=0)
    assert torch.allclose(evidence.arms[MAIN][OF_TIERS]["r2"][0], first, rtol=1e-3, atol=1e-4)
    assert torch.equal(evidence.arms[MAIN][OF_TIERS]["active"][0], (x[:, :middle] != 0).sum(1))
    best = torch.corrcoef(torch.cat([x[:, :middle], post[:, :middle]]))[:9, 9:].square().amax(1)
    assert torch.allclose(evidence.arms[MAIN][OF_TIERS]["alignment"][0], best, rtol=1e-3, atol=1e-4)
    second = torch.corrcoef(torch.cat([x[:, middle:], post[:, middle:]]))[:9, 9:].square().amax(1)
    assert torch.allclose(evidence.arms[MAIN]["P9"]["best neuron"][0], second, rtol=1e-3, atol=1e-4)


def test_too_few_samples_for_two_halves_are_refused(make_arm):
    with pytest.raises(ValueError, match=f"at least {4 * EDGE}, got 100"):
        gather(small(make_arm), "1e-05", 100)
