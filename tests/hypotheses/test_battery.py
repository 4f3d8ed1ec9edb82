"""The battery's rules on evidence made up for the purpose: nothing here is measured."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from toymodels.hypotheses import battery
from toymodels.hypotheses.arms import MAIN, PLAIN
from toymodels.hypotheses.battery import FEWEST_EXAMPLES, statistics
from toymodels.hypotheses.evidence import OF_TIERS, Evidence
from toymodels.hypotheses.prediction import Statistics
from toymodels.hypotheses.predictions import p1_bimodal, p3_gated, p9_harder_to_find
from toymodels.hypotheses.predictions.p4_needs_norm import BESIDE, DECISIVE
from toymodels.hypotheses.statistics.findings import corrected
from toymodels.hypotheses.statistics.intervals import Status
from toymodels.hypotheses.tiers import EPS_LABELS, FEWEST_FEATURES, AnalysisSetting, Tiers

YES, NO, OPEN = Status.SUPPORTED, Status.NOT_SUPPORTED, Status.UNDETERMINED
SEEDS, N, LARGE = 8, 12, 4
"""Of `N` features the first `LARGE` are in the neuron tier."""
CONTROL = "gelu + LN"
NEURON = torch.arange(N).expand(SEEDS, N) < LARGE
AT = AnalysisSetting("1e-05")
MARKS = {"recovered", "undersampled", p3_gated.LEFT_OUT, p1_bimodal.DIP_P}


def recovery(r2):
    return {"r2": r2, "active": torch.full(r2.shape, 1000)}


def arm(rng, effect, noise):
    """An arm in which the hidden tier differs from the neuron tier by ``effect``, in every prediction's own units."""

    def each(of_neuron, of_hidden):
        values = torch.where(NEURON, of_neuron, of_hidden).double()
        return values + torch.from_numpy(noise * rng.normal(size=(SEEDS, 1))) * ~NEURON

    bimodal = torch.where(NEURON, torch.linspace(99.96, 99.99, N).double(), torch.linspace(30, 70, N).double())
    unimodal = 100 * torch.from_numpy((np.argsort(rng.random((SEEDS, N))) + 0.5) / N)
    gated = (
        torch.zeros(SEEDS, N, N).double()
        + torch.from_numpy(noise * rng.normal(size=(SEEDS, 1, 1))) * ~NEURON[..., None]
    )
    gated += effect * (~NEURON[:, :, None] & NEURON[:, None, :])
    return {
        OF_TIERS: recovery(torch.full((SEEDS, N), 0.9))
        | {"percentile": bimodal.expand(SEEDS, N) if effect else unimodal},
        "P2": {"mid": each(1.0, 1.0), "post": each(1.0, 1.0 + 2 * effect)},
        "P3": {"gated": gated, "alone": torch.ones(SEEDS, N)},
        "P4": {kind: each(0.0, float(effect)) for kind in (*DECISIVE, *BESIDE)},
        "P7": {tap: torch.rand(SEEDS, 3, 10, generator=torch.Generator().manual_seed(0)) for tap in ("mid", "post")},
        "P9": {p9_harder_to_find.BEST_NEURON: each(0.9, 0.5)},
    }


def evidence(effect=0.8, noise=0.01, seed=0, eps="1e-05", **changed) -> Evidence:
    rng = np.random.default_rng(seed)
    arms = {MAIN: arm(rng, effect, noise), CONTROL: arm(rng, 0.0, 0.0), PLAIN: {"P9": arm(rng, 0.0, noise)["P9"]}}
    arms[MAIN] = {**arms[MAIN], **changed}
    return Evidence("made up", eps, arms, rng.normal(size=(SEEDS, N, 2)))


def at_all_eps(of: Evidence) -> list[Evidence]:
    return [dataclasses.replace(of, eps=eps) for eps in EPS_LABELS]


def with_r2(of: Evidence, r2: torch.Tensor) -> Evidence:
    return dataclasses.replace(
        of, arms={**of.arms, MAIN: {**of.arms[MAIN], OF_TIERS: of.arms[MAIN][OF_TIERS] | recovery(r2)}}
    )


def with_part(of: Evidence, key: str, changed: dict[str, torch.Tensor], arm: str = MAIN) -> Evidence:
    part = of.arms[arm][key] | changed
    return dataclasses.replace(of, arms={**of.arms, arm: {**of.arms[arm], key: part}})


def first(of: Evidence, seeds: int) -> Evidence:
    """Its first seeds."""
    arms = {a: {p: {q: t[:seeds] for q, t in k.items()} for p, k in m.items()} for a, m in of.arms.items()}
    return dataclasses.replace(of, arms=arms, covariates=np.asarray(of.covariates)[:seeds])


def judge(primary, exploratory=()):
    regimes = [[statistics(at_eps) for at_eps in regime] for regime in (primary, *exploratory)]
    return battery.judge(regimes[0], regimes[1:])


def at_default(of: Evidence) -> Statistics:
    """Its statistics at one setting only, for time."""
    found, setting = statistics(of), AnalysisSetting(of.eps)
    return dataclasses.replace(found, at={setting: found.at[setting]})


def judge_default(regime) -> battery.Verdict:
    return battery.judge([at_default(at_eps) for at_eps in regime])[0]


def findings(of: Evidence, setting: AnalysisSetting) -> battery.Findings:
    return battery.findings(statistics(of), setting)


def test_seeds_measured_part_by_part_are_judged_as_one():
    whole = evidence(effect=0.3, noise=0.2)

    def part(seeds):
        arms = {
            name: {key: {kind: values[seeds] for kind, values in kinds.items()} for key, kinds in measured.items()}
            for name, measured in whole.arms.items()
        }
        return statistics(dataclasses.replace(whole, arms=arms, covariates=whole.covariates[seeds]))

    parts = Statistics.together([part(slice(0, 3)), part(slice(3, 4)), part(slice(4, SEEDS))])
    assert parts.seeds == SEEDS
    for setting in parts.at:
        assert repr(battery.findings(parts, setting)) == repr(findings(whole, setting))
        marks = statistics(whole).at[setting].marks
        assert set(marks) == MARKS
        assert all(torch.equal(parts.at[setting].marks[name], mark) for name, mark in marks.items())


# --------------------------------------------------------------------------------------------------------------- tiers


def test_tiers_by_hand():
    nan = torch.nan
    of = evidence(
        tiers=recovery(torch.tensor([[0.6, 0.6, 0.6, 0.45, 0.5, nan, 0.9]]))
        | {"percentile": torch.tensor([[99.0, 98.9, 99.95, 100.0, 100.0, 100.0, 99.5]])},
    )

    def tiers(recovered, percentile):
        found = Tiers.of(of, AnalysisSetting("1e-05", recovered, percentile))
        return found.neuron[0].nonzero()[:, 0].tolist(), found.hidden[0].nonzero()[:, 0].tolist()

    assert tiers(0.5, 99.0) == ([0, 2, 6], [1])
    assert tiers(0.5, 99.9) == ([2], [0, 1, 6])
    assert tiers(0.4, 99.0) == ([0, 2, 3, 4, 6], [1])
    assert tiers(0.55, 95.0) == ([0, 1, 2, 6], [])


# ---------------------------------------------------------------------------------------------------- verdicts over all


def test_two_tiers_are_found_and_none_are_not():
    yes, no = judge(at_all_eps(evidence()))[0], judge(at_all_eps(evidence(0.0)))[0]
    assert (yes.overall, yes.said, yes.notes) == (YES, "two tiers", ())
    assert [yes.predictions[key] for key in ("P1", "P2", "P3", "P4")] == [YES] * 4
    assert (no.overall, no.said) == (NO, "no")
    assert yes.tiers[AT] == (LARGE, N - LARGE)
    assert len(yes.findings) == 3 * 4 * 3


@pytest.mark.parametrize("key, quantity", [("P2", "post"), ("P3", "gated"), ("P4", "geometric"), ("P4", DECISIVE[2])])
def test_one_prediction_not_supported_is_no_and_open_is_open(key, quantity):
    of, none = evidence(), evidence(0.0)

    there, flat = of.arms[MAIN][key][quantity], none.arms[MAIN][key][quantity]
    assert judge_default(at_all_eps(with_part(of, key, {quantity: flat}))).said == "no"
    few = there.clone()
    few[3:] = torch.nan
    assert judge_default(at_all_eps(with_part(of, key, {quantity: few}))).said == "undetermined"


def test_what_stands_beside_does_not_decide():
    of = evidence()
    turned = {kind: -of.arms[MAIN]["P4"][kind] for kind in BESIDE}
    verdict = judge_default(at_all_eps(with_part(of, "P4", turned)))
    assert verdict.findings[AT]["P4"]["keep 1"].status is NO
    assert verdict.predictions["P4"] is YES


@pytest.mark.parametrize("flipped", range(3))
def test_one_eps_that_disagrees_leaves_it_open(flipped):
    of = at_all_eps(evidence())
    of[flipped] = dataclasses.replace(evidence(0.0), eps=EPS_LABELS[flipped])
    verdict = judge_default(of)
    assert verdict.overall is OPEN
    assert verdict.predictions["P3"] is OPEN


def test_one_threshold_that_disagrees_leaves_it_open():
    r2 = torch.full((SEEDS, N), 0.9)
    r2[:, 2:LARGE] = 0.52  # at .55 two features of the neuron tier are left
    verdict = judge(at_all_eps(with_r2(evidence(), r2)))[0]
    assert verdict.at(AT)["P3"] is YES
    assert verdict.at(dataclasses.replace(AT, recovered=0.55))["P3"] is NO
    assert (verdict.predictions["P3"], verdict.overall) == (OPEN, OPEN)


def test_one_percentile_that_disagrees_leaves_it_open():
    of = evidence()
    percentile = of.arms[MAIN][OF_TIERS]["percentile"].clone()
    percentile[:, 1:LARGE] = 99.5
    verdict = judge(at_all_eps(with_part(of, OF_TIERS, {"percentile": percentile})))[0]
    assert [verdict.at(dataclasses.replace(AT, percentile=p))["P3"] for p in (95.0, 99.0, 99.9)] == [YES, YES, NO]
    assert verdict.overall is OPEN


@pytest.mark.parametrize("there", [("1e-05",), ("1e-05", "matched"), ("1e-12", "matched")])
def test_an_eps_not_run_takes_a_yes_back_but_not_a_no(there):
    yes, no = (
        judge_default([dataclasses.replace(evidence(effect), eps=eps) for eps in there]) for effect in (0.8, 0.0)
    )
    missing = ", ".join(eps for eps in EPS_LABELS if eps not in there)
    assert (yes.overall, yes.said) == (OPEN, "undetermined")
    assert yes.notes == (f"no models at LayerNorm eps {missing}: nothing can be called supported",)
    assert yes.notes == no.notes
    assert all(yes.at(setting)[key] is YES for setting in yes.findings for key in ("P1", "P2", "P3", "P4"))
    assert set(yes.predictions.values()) <= {OPEN, NO}
    assert [yes.predictions[key] for key in ("P1", "P2", "P3", "P4")] == [OPEN] * 4
    assert (no.overall, no.said) == (NO, "no")
    assert [no.predictions[key] for key in ("P2", "P3", "P4")] == [NO] * 3


def test_at_every_eps_supported_stands_beside_the_verdict_too():
    """P6 and P7 count for nothing over all, but are as much a claim."""
    shares = torch.zeros(SEEDS, 3, 10)
    shares[:, :, :5] = 0.4
    of = with_part(of_p6(1.5, 0.0), "P7", {"mid": shares})
    for there, status in ((EPS_LABELS, YES), (EPS_LABELS[1:], OPEN), (EPS_LABELS[:1], OPEN)):
        verdict = judge_default([dataclasses.replace(of, eps=eps) for eps in there])
        assert (verdict.predictions["P6"], verdict.predictions["P7"]) == (status, status)


# ------------------------------------------------------------------------------------------------- too few in a tier


@pytest.mark.parametrize("tier", ["neuron", "hidden"])
@pytest.mark.parametrize("spoilt, status", [(0, YES), (4, YES), (5, NO), (8, NO)])
def test_under_three_in_a_tier_in_over_half_of_the_seeds_is_not_supported(tier, spoilt, status):
    r2 = torch.full((SEEDS, N), 0.9)
    place = torch.arange(N)
    lost = (place >= 2) & (place < LARGE) if tier == "neuron" else place >= LARGE + 2
    r2[:spoilt, lost] = 0.0
    found = findings(with_r2(evidence(), r2), AT)
    for key, kind in (("P2", "log ratio"), ("P3", "gating"), ("P4", "geometric")):
        assert found[key][kind].status is status
        short = f"tier {tier} has fewer than {FEWEST_FEATURES} features in {spoilt} of {SEEDS} seeds"
        assert found[key][kind].reason == (short if status is NO else "")
        assert found[key][kind].n == SEEDS - spoilt
    if tier == "neuron":  # P9 compares no tiers: it needs the hidden one only
        assert not found["P9"][p9_harder_to_find.BEST_NEURON].reason


def test_of_seven_seeds_four_are_over_half():
    for spoilt, status in ((3, YES), (4, NO)):
        r2 = torch.full((SEEDS, N), 0.9)
        r2[:spoilt, LARGE:] = 0.0
        assert findings(first(with_r2(evidence(), r2), 7), AT)["P3"]["gating"].status is status


@pytest.mark.parametrize("seeds, status", [(1, OPEN), (3, OPEN), (4, NO), (SEEDS, NO)])
def test_of_under_four_seeds_no_tier_is_missing(seeds, status):
    """Of so few nothing can be said, not even no."""
    r2 = torch.full((SEEDS, N), 0.9)
    r2[:, LARGE:] = 0.0
    found = findings(first(with_r2(evidence(), r2), seeds), AT)
    for key, kind in (
        ("P2", "log ratio"),
        ("P3", "gating"),
        ("P4", "geometric"),
        ("P9", p9_harder_to_find.BEST_NEURON),
    ):
        assert found[key][kind].status is status
        assert bool(found[key][kind].reason) is (status is NO)


def test_tiers_that_are_missing_in_different_seeds_leave_it_open():
    r2 = torch.full((SEEDS, N), 0.9)
    r2[:4, :LARGE] = r2[4:, LARGE:] = 0.0
    found = findings(with_r2(evidence(), r2), AT)["P3"]["gating"]
    assert (found.status, found.n, found.reason) == (OPEN, 0, "")


@pytest.mark.parametrize("seeds", [1, 3])
def test_few_seeds_are_judged_open_without_a_crash(seeds):
    verdict = judge(at_all_eps(first(evidence(), seeds)))[0]
    assert (verdict.overall, verdict.said) == (OPEN, "undetermined")
    assert verdict.seeds == seeds
    assert all(f.status is OPEN for kinds in verdict.findings[AT].values() for f in kinds.values())


# ------------------------------------------------------------------------------------------------ several controls


def beyond_two(other_effect, key) -> Evidence:
    """Beyond the first control by .8; the second has of one prediction's effect as much as is said."""
    of, rng = evidence(), np.random.default_rng(9)
    second = arm(rng, 0.0, 0.01) | {key: arm(rng, other_effect, 0.01)[key]}
    return dataclasses.replace(of, arms={**of.arms, "relu + LN": second})


def test_numbers_are_by_seed_and_control():
    numbers = statistics(beyond_two(0.0, "P3")).at[AT].numbers
    for key in ("P1", "P2", "P3", "P4", "P7"):
        shapes = {tuple(values.shape) for values in numbers[key].values() if isinstance(values, torch.Tensor)}
        assert shapes == {(SEEDS, 2)}, key


@pytest.mark.parametrize("key", ["P2", "P3", "P4"])
def test_two_tiers_are_beyond_every_control(key):
    for other_effect, status in ((0.0, YES), (0.8, NO)):
        found = battery.at_setting(findings(beyond_two(other_effect, key), AT))
        assert {each: found[each] for each in ("P2", "P3", "P4")} == {"P2": YES, "P3": YES, "P4": YES} | {key: status}


def test_a_control_that_is_mostly_undefined_does_not_take_it_back():
    of = beyond_two(0.8, "P3")
    small = torch.ones(SEEDS, N)
    small[:5, LARGE:] = 0.01
    assert findings(of, AT)["P3"]["gating"].status is NO
    assert findings(with_part(of, "P3", {"alone": small}, "relu + LN"), AT)["P3"]["gating"].status is YES


# ------------------------------------------------------------------------------------------------ marks and notes


def marked(of: Evidence, setting: AnalysisSetting = AT) -> dict[str, list[float]]:
    return {name: mark.tolist() for name, mark in statistics(of).at[setting].marks.items()}


def test_marks_by_hand():
    r2 = torch.full((SEEDS, N), 0.9)
    r2[0, :3], r2[1, 6:], r2[2] = 0.0, 0.45, 0.0
    of = with_r2(evidence(), r2)
    active = torch.full((SEEDS, N), FEWEST_EXAMPLES)
    active[0, :5] = FEWEST_EXAMPLES - 1  # three of these are in no tier
    active[1] = active[2] = active[7] = 0
    own, control = torch.full((SEEDS, N), -1.0), torch.ones(SEEDS, N)
    own[0, [2, 3]], own[5, 0] = 0.0, -0.049
    control[0, [3, 4]], control[5, 0], control[6, 0] = 0.01, 0.0, p3_gated.SMALLEST
    of = with_part(with_part(of, OF_TIERS, {"active": active}), "P3", {"alone": own})
    of = with_part(of, "P3", {"alone": control}, CONTROL)
    found = marked(of)
    assert set(found) == MARKS
    assert found["recovered"] == [9, 6, 0, N, N, N, N, N]
    assert found["undersampled"] == [2, 6, 0, 0, 0, 0, 0, N]
    assert found["left out of P3"] == [2, 0, 0, 0, 0, 1, 0, 0]
    lower = marked(of, dataclasses.replace(AT, recovered=0.4))
    assert lower["recovered"] == [9, N, 0, N, N, N, N, N]
    assert lower["undersampled"] == [2, N, 0, 0, 0, 0, 0, N]
    expected = p1_bimodal.dip_p_values(of.arms[MAIN][OF_TIERS], r2 > 0.5)
    assert found["dip p"] == expected.tolist()
    assert expected[2] == 1  # nothing recovered
    assert expected[3] < 0.05 < marked(evidence(0.0))["dip p"][3]


def test_a_verdict_has_the_marks_of_every_setting():
    regime = [statistics(at_eps) for at_eps in at_all_eps(evidence())]
    verdict = battery.judge(regime)[0]
    assert set(verdict.marks) == set(verdict.findings)
    for at_eps in regime:
        assert all(verdict.marks[setting] is at.marks for setting, at in at_eps.at.items())


def notes(of: Evidence) -> tuple[str, ...]:
    return judge_default(at_all_eps(of)).notes


@pytest.mark.parametrize("seeds, said", [(1, True), (3, True), (4, False)])
def test_too_few_seeds_are_said(seeds, said):
    expected = f"{seeds} seeds are too few for an interval, so nothing is decided: 4 at least"
    assert notes(first(evidence(), seeds)) == ((expected,) if said else ())


@pytest.mark.parametrize("kept, short, said", [(2, 5, True), (2, 8, True), (2, 4, False), (3, 8, False), (0, 5, True)])
def test_a_model_that_has_learned_too_little_is_said(kept, short, said):
    r2 = torch.full((SEEDS, N), 0.9)
    r2[:short, kept:] = 0.0
    expected = (
        f"SoLU + LN recovers fewer than {FEWEST_FEATURES} features in {short} of {SEEDS} seeds: it has learned too "
        "little for its tiers to mean anything"
    )
    assert notes(with_r2(evidence(), r2)) == ((expected,) if said else ())


def test_features_of_few_examples_are_said():
    active = torch.full((SEEDS, N), FEWEST_EXAMPLES)
    assert notes(with_part(evidence(), OF_TIERS, {"active": active})) == ()
    active[:2, :6] = FEWEST_EXAMPLES - 1  # 12 in 8 models
    expected = f"1.5 features a model in a tier are active in fewer than {FEWEST_EXAMPLES} examples of a half"
    assert notes(with_part(evidence(), OF_TIERS, {"active": active})) == (expected,)
    lost = torch.full((SEEDS, N), 0.9)
    lost[:2, :6] = 0.0
    assert notes(with_part(with_r2(evidence(), lost), OF_TIERS, {"active": active})) == ()


@pytest.mark.parametrize("name", [MAIN, CONTROL])
def test_features_that_p3_leaves_out_are_said(name):
    alone = torch.ones(SEEDS, N)
    alone[:, 5] = -0.01
    alone[:4, 6] = 0.0
    expected = f"P3 leaves out 1.5 features a model: their effect alone is below {p3_gated.SMALLEST}"
    assert notes(with_part(evidence(), "P3", {"alone": alone}, name)) == (expected,)


def test_notes_are_of_the_default_setting_and_all_there_are():
    r2 = torch.full((SEEDS, N), 0.9)
    r2[:, 2:] = 0.52  # recovered at .5, not at .55
    assert battery.judge([statistics(with_r2(evidence(), r2))])[0].notes[1:] == ()
    of = with_part(with_r2(evidence(), 0.0 * r2 + 0.1), "P3", {"alone": torch.zeros(SEEDS, N)})
    of = first(with_part(of, OF_TIERS, {"active": torch.zeros(SEEDS, N)}), 3)
    found = judge_default([of]).notes
    assert [note.split()[0] for note in found] == ["no", "3", "SoLU"]  # nothing in a tier: no feature to speak of


# ------------------------------------------------------------------------------------------------ many regimes


def borderline(key, kind) -> Evidence:
    """One whose p is enough alone and not twice."""
    for seed in range(2000):
        of = evidence(0.35, 0.28, seed)
        if 0.0126 < findings(of, AT)[key][kind].p_above < 0.0249:
            return of
    raise AssertionError("none found")


def test_exploratory_regimes_are_corrected_and_the_primary_one_is_not():
    edge = borderline("P3", "gating")
    other = evidence(0.0)
    alone = judge([], [[edge]])[0]
    assert alone.findings[AT]["P3"]["gating"].status is YES
    assert not alone.primary
    two = judge([], [[edge], [other]])
    assert two[0].findings[AT]["P3"]["gating"].status is OPEN
    p = alone.findings[AT]["P3"]["gating"].p_above
    assert two[0].findings[AT]["P3"]["gating"].p_above == pytest.approx(2 * p)
    named = judge([edge], [[other], [evidence(0.0, seed=1)]])
    assert [v.primary for v in named] == [True, False, False]
    assert named[0].findings[AT]["P3"]["gating"].status is YES
    beside = judge([other], [[edge]])
    assert beside[1].findings[AT]["P3"]["gating"].status is YES  # one exploratory regime: nothing to correct for


def test_a_correction_does_not_raise_what_was_not_supported_for_want_of_features():
    r2 = torch.full((SEEDS, N), 0.9)
    r2[:5, LARGE:] = 0.0
    spoilt = findings(with_r2(evidence(), r2), AT)
    again = corrected([spoilt, findings(evidence(), AT)])
    assert again[0]["P3"]["gating"].status is NO
    assert again[1]["P3"]["gating"].status is YES


# ------------------------------------------------------------------------------------------------------ P6 and P9


def of_p6(beta_f, beta_i, n=200) -> Evidence:
    """Evidence whose tiers are a logistic regression's on log-frequency and log-importance."""
    rng = np.random.default_rng(4)
    of = rng.normal(size=(SEEDS, n, 2))
    neuron = torch.from_numpy(rng.random((SEEDS, n)) < 1 / (1 + np.exp(-(of @ [beta_f, beta_i]))))
    measured = {
        OF_TIERS: recovery(torch.full((SEEDS, n), 0.9)) | {"percentile": torch.where(neuron, 99.95, 50.0)},
        "P2": {tap: torch.ones(SEEDS, n) for tap in ("mid", "post")},
        "P3": {"gated": torch.zeros(SEEDS, n, n), "alone": torch.ones(SEEDS, n)},
        "P4": {kind: torch.zeros(SEEDS, n) for kind in (*DECISIVE, *BESIDE)},
        "P7": {tap: torch.zeros(SEEDS, 3, 10) for tap in ("mid", "post")},
        "P9": {p9_harder_to_find.BEST_NEURON: torch.zeros(SEEDS, n)},
    }
    return Evidence("made up", "1e-05", {MAIN: measured, CONTROL: measured}, of)


@pytest.mark.parametrize(
    "beta_f, beta_i, status", [(1.5, 0.0, YES), (0.0, 1.5, NO), (1.0, 0.75, OPEN), (-1.0, -3.0, NO)]
)
def test_common_ones_are_aligned_and_more_than_important_ones(beta_f, beta_i, status):
    """Supported means both: the last are *rare* features becoming aligned, if less so than the unimportant ones."""
    assert judge_default(at_all_eps(of_p6(beta_f, beta_i))).predictions["P6"] is status


def test_p6_says_why_it_cannot_answer():
    of = of_p6(1.5, 0.0)
    covariates = np.asarray(of.covariates).copy()
    covariates[..., 1] = covariates[..., 0]
    tied = judge_default(at_all_eps(dataclasses.replace(of, covariates=covariates)))
    assert tied.predictions["P6"] is OPEN
    assert all("correlated (1.00)" in f.reason for f in tied.findings[AT]["P6"].values())


def test_p9_without_dictionaries_is_open_and_says_so():
    found = judge_default(at_all_eps(evidence()))
    unmeasured = [f for kind, f in found.findings[AT]["P9"].items() if kind != p9_harder_to_find.BEST_NEURON]
    assert unmeasured
    assert all((f.status, f.reason) == (OPEN, "not measured") for f in unmeasured)
    assert found.predictions["P9"] is not YES
