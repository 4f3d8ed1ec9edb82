"""Targets: what they say, the pairs that each seed draws, closed forms, and models built by hand that say them."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator
from itertools import combinations, product
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from tests.conftest import word
from toymodels import (
    AbsoluteValue,
    And,
    Anticorrelated,
    Binary,
    Bottleneck,
    Correlated,
    CrossEntropy,
    Data,
    Embedding,
    Experiment,
    Exponential,
    Features,
    FeatureTarget,
    FoldedNormal,
    Frequency,
    Geometric,
    Identity,
    Importance,
    Independent,
    LayerNorm,
    Linear,
    One,
    Parameters,
    Power,
    ReLU,
    SoLU,
    Target,
    Together,
    Training,
    Tree,
    UniformValues,
    Zipf,
    forward,
    measure,
    train,
)
from toymodels.hosts import Models
from toymodels.metrics.moments import collect
from toymodels.metrics.population import population_loss
from toymodels.pairs import Product, drawn_pairs
from toymodels.targets import Says
from toymodels.training.experiment import importances, sampler, target_of

RECIPE = Training(steps=50, batch=64, learning_rate=1e-2)
READS = Bottleneck(3, ReLU(), None, Linear(), tied=False, hidden_bias=True)


def test_targets_of_features_say_what_they_are_called() -> None:
    x = torch.tensor([-0.5, 0.0, 2.0])
    assert torch.equal(Identity()(x), x)
    assert torch.equal(AbsoluteValue()(x), x.abs())
    for target in (Identity(), AbsoluteValue()):
        assert (target.of_features, target.count(7), target.about(Features(3, 0.1), 0)) == (True, 7, {})


def test_a_target_of_another_kind_defines_of_and_count_and_has_no_meaning_beyond_them() -> None:
    @dataclasses.dataclass(frozen=True)
    class Total(Target):
        """t = sum_i x_i, one number."""

        name = "total"

        def of(self, n: int, seeds: np.ndarray) -> Says:
            return lambda x: x.sum(1, keepdim=True)

        def count(self, n: int) -> int:
            return 1

    e = Experiment(Features(5, 0.3), READS, RECIPE, Total())
    assert (e.target.of_features, e.n_targets, e.importance().tolist()) == (False, 1, [1.0])
    assert e.best_constant_loss() == pytest.approx(5 * (0.1 - 0.15**2), rel=0.03)
    measures = measure([e], train([e]).parameters, samples=2048)
    assert not measures.failed
    assert measures.targets["r2"].shape == (1, 1)
    with pytest.raises(TypeError, match="abstract"):
        Target()  # pyright: ignore[reportAbstractUsage]
    with pytest.raises(TypeError, match="abstract"):
        FeatureTarget()  # pyright: ignore[reportAbstractUsage]


def test_a_function_of_ones_own_is_a_target_a_feature_and_only_that_class_gives_means_and_variances() -> None:
    assert isinstance(Identity(), FeatureTarget)
    assert isinstance(AbsoluteValue(), FeatureTarget)
    assert not isinstance(And(2), FeatureTarget)
    assert not hasattr(And(2), "variance")
    assert Identity().of(3, np.zeros(1, np.int64)) == Identity()


# -------------------------------------------------------------------------------------------------------- which pairs


def shuffled(n: int, pairs: int, seed: int) -> list[tuple[int, int]]:
    """The first places of a Fisher-Yates shuffle of all pairs, by the stream's words, in order."""
    every = list(combinations(range(n), 2))
    total = len(every)
    for q in range(pairs):
        w = word(seed, 0, q, 0, 8) << 32 | word(seed, 1, q, 0, 8)
        place = q + w * (total - q) // 2**64
        every[q], every[place] = every[place], every[q]
    return sorted(every[:pairs])


@pytest.mark.parametrize("n, pairs", [(2, 1), (3, 2), (5, 3), (12, 40), (12, 66), (40, 100), (300, 7)])
@pytest.mark.parametrize("seed", [0, 1, 2**33 + 5, 2**62])
def test_the_pairs_are_the_first_of_a_shuffle_by_the_streams_words(n: int, pairs: int, seed: int) -> None:
    members = And(pairs).members(n, seed)
    assert members.dtype == np.int64
    assert [tuple(pair) for pair in members.tolist()] == shuffled(n, pairs, seed)


@pytest.mark.parametrize("n, pairs", [(2, 1), (4, 6), (7, 10), (50, 1225), (1000, 500), (10**6, 100)])
def test_pairs_are_distinct_ordered_and_of_features_that_there_are(n: int, pairs: int) -> None:
    for seed in range(5):
        first, second = And(pairs).members(n, seed).T
        assert ((first >= 0) & (first < second) & (second < n)).all()
        rank = first * n + second
        assert (np.diff(rank) > 0).all()
        if pairs == n * (n - 1) // 2:
            assert list(zip(first.tolist(), second.tolist(), strict=True)) == list(combinations(range(n), 2))


def test_every_set_of_pairs_is_as_likely_as_any_other() -> None:
    # 3 of the 10 pairs of 5 features: 120 sets.
    seeds, drawn = 6000, And(3)
    sets = Counter(tuple(map(tuple, drawn.members(5, seed).tolist())) for seed in range(seeds))
    assert len(sets) == 120
    assert chisquare(list(sets.values())).pvalue > 1e-4
    # One of the 190 pairs of 20 features.
    pairs = Counter(tuple(And(1).members(20, seed)[0].tolist()) for seed in range(seeds))
    counts = [pairs.get(pair, 0) for pair in combinations(range(20), 2)]
    assert chisquare(counts).pvalue > 1e-4


def test_a_models_pairs_are_its_seeds_alone_and_cannot_be_changed() -> None:
    es = [Experiment(Features(8, 0.3), READS, RECIPE, And(5), seed=seed) for seed in (3, 4, 3)]
    x = sampler(es).evaluation(0, 256)
    t = target_of(es)(x)
    assert t.shape == (3, 5, 256)
    for place, e in enumerate(es):
        first, second = zip(*shuffled(8, 5, e.seed), strict=True)
        assert torch.equal(t[place], x[place, first] * x[place, second])
        assert torch.equal(target_of([e])(x[place : place + 1])[0], t[place])
    assert torch.equal(t[0], t[2])
    assert not torch.equal(t[0], t[1])
    with pytest.raises(ValueError, match="read-only"):
        And(5).members(8, 3)[0, 0] = 1


def test_pairs_of_many_seeds_are_not_all_kept() -> None:
    for seed in range(200):
        And(3).members(9, seed)
    assert drawn_pairs.cache_info().currsize <= 50


def test_a_pair_costs_the_geometric_mean_of_what_its_members_cost() -> None:
    features = Features(6, 0.3, importance=Importance(Geometric(0.5), shuffle=True))
    es = [Experiment(features, READS, RECIPE, And(7), seed=seed) for seed in (0, 1)]
    for e, row in zip(es, importances(es), strict=True):
        of = e.feature_importance()
        assert of.tolist() != sorted(of, reverse=True)
        by_hand = [(of[i] * of[j]) ** 0.5 for i, j in shuffled(6, 7, e.seed)]
        assert row.tolist() == pytest.approx(by_hand, rel=1e-12)
    assert Experiment(features, READS).importance().tolist() == es[0].feature_importance().tolist()


# ------------------------------------------------------------------------------------------------------- closed forms

FIRINGS = [Independent(), Correlated(3), Anticorrelated(2), Together(((0, 4), (1, 2, 5))), Tree(2, 1, 0.9)]
VALUES = [UniformValues(), Binary(), FoldedNormal(), Exponential()]


@pytest.mark.parametrize("values", VALUES, ids=lambda v: v.name)
@pytest.mark.parametrize("signed", [False, True], ids=["unsigned", "signed"])
@pytest.mark.parametrize("firing", FIRINGS, ids=lambda f: f.name)
def test_mean_variance_and_density_of_pairs_are_those_of_a_million_samples(firing, signed, values) -> None:
    features = Features(6, 0.2, Frequency(Zipf(0.5)), values=values, signed=signed, firing=firing)
    e = Experiment(features, READS, RECIPE, And(15), seed=9)
    data, says, samples = sampler([e]), target_of([e]), 10**6
    sums = torch.zeros(5, 15, dtype=torch.float64)
    for first in range(0, samples, 10**5):
        t = says(data.evaluation(first, 10**5).double())[0]
        powers = torch.stack([(t != 0).double(), t, t**2, t**3, t**4])
        sums += powers.sum(2)
    active, *moments = (sums / samples).numpy()
    mean, square, cube, fourth = moments
    central = fourth - 4 * mean * cube + 6 * mean**2 * square - 3 * mean**4
    variance = square - mean**2
    stated_mean, stated = And(15).stated(features, 9)
    density = And(15).about(features, 9)["density"]
    close(active, density, (density * (1 - density)).clip(0) ** 0.5, samples)
    close(mean, stated_mean, stated**0.5, samples)
    close(variance, stated, (central - variance**2).clip(0) ** 0.5, samples)
    assert e.best_constant_loss() == pytest.approx(stated.sum(), rel=1e-12)


def close(found: np.ndarray, stated: np.ndarray, deviation: np.ndarray, samples: int) -> None:
    """Within six standard errors of what so many samples say; equal where nothing varies."""
    assert (np.abs(found - stated) <= 6 * deviation / samples**0.5 + 1e-12).all()


def test_means_and_variances_by_hand() -> None:
    # p = 1/4: P(both) is p^2 apart, p in one correlated group, 0 in one anticorrelated group.
    groups = {Independent(): 1 / 16, Correlated(1): 1 / 4, Anticorrelated(1): 0.0}
    for firing, both in groups.items():
        for values, mean, second in ((UniformValues(), 1 / 2, 1 / 3), (Binary(), 1, 1)):
            for signed in (False, True):
                features = Features(2, 1 / 4, values=values, signed=signed, firing=firing)
                m, v = And(1).stated(features, 0)
                expected = 0 if signed else both * mean**2
                assert m.item() == pytest.approx(expected, abs=1e-9)
                assert v.item() == pytest.approx(both * second**2 - expected**2, abs=1e-9)


class Halves(Data):
    """Two features of 0 or 1/2, alike in three quarters of all samples."""

    def draw(self, seed: int, first: int, samples: int, step: int | None) -> torch.Tensor:
        u = self.uniforms(seed, first, samples, step)
        x = u < 0.5
        x[1] = torch.where(u[1] < 0.75, x[0], ~x[0])
        return x.float() / 2


def test_of_data_of_ones_own_pairs_are_measured() -> None:
    e = Experiment(Halves(2), READS, RECIPE, And(1), seed=5)
    about = And(1).about(e.features, 5)
    assert about["density"] == pytest.approx(3 / 8, abs=0.01)
    assert e.best_constant_loss() == pytest.approx((3 / 8) * (5 / 8) / 16, rel=0.03)
    measures = measure([e], train([e]).parameters, samples=20_000)
    assert not measures.failed
    assert measures.targets["density"].item() == about["density"].item()


@pytest.mark.parametrize("values", VALUES, ids=lambda v: v.name)
@pytest.mark.parametrize("signed", [False, True], ids=["unsigned", "signed"])
def test_the_best_constant_of_a_loss_that_nobody_states_is_that_of_samples(values, signed) -> None:
    features = Features(4, 0.5, Frequency(Zipf(0.5)), values=values, signed=signed, firing=Correlated(1))
    features = features if signed else dataclasses.replace(features, firing=Independent())
    e = Experiment(features, READS, target=And(6), loss=Power(3.0), seed=3)
    t = target_of([e])(sampler([e]).evaluation(0, 400_000).double())[0]
    found = Power(3.0).of_constant(t, np.ones(6)) @ e.importance()
    assert e.best_constant_loss() == pytest.approx(found, rel=0.1 if values == Exponential() else 0.03)
    for law in And(6).distributions(features, 3):
        outcomes, chance = law.outcomes()
        second = features.values.second_moment
        assert isinstance(law, Product)
        assert chance.sum().item() == pytest.approx(1, abs=1e-12)
        assert (outcomes**2 @ chance).item() == pytest.approx(law.both * second**2, rel=1e-3)


def test_the_best_constants_of_pairs_are_found_once_and_not_for_every_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    of_constant = Power.of_constant

    def counted(loss: Power, *samples: Any) -> np.ndarray:
        asked.append(samples[0].shape)
        return of_constant(loss, *samples)

    monkeypatch.setattr(Power, "of_constant", counted)
    for density in (0.21, 0.22):
        for seed in range(20):
            e = Experiment(Features(6, density), READS, target=And(8), loss=Power(3.0), seed=seed)
            assert e.best_constant_loss() > 0
    assert len(asked) == 2


def test_a_pair_of_bits_costs_by_hand_what_it_costs() -> None:
    # t is 1 with q = 1/4: the least of (3/4) c^4 + (1/4) (1 - c)^4, where (1 - c) / c is the cube root of 3.
    e = Experiment(Features(2, 0.5, values=Binary()), READS, target=And(1), loss=Power(4.0))
    c = 1 / (1 + 3 ** (1 / 3))
    assert e.best_constant_loss() == pytest.approx(0.75 * c**4 + 0.25 * (1 - c) ** 4, rel=1e-6)


# ------------------------------------------------------------------------------------------------- the population loss


def states(n: int, p: np.ndarray) -> Iterator[tuple[float, np.ndarray]]:
    """Every state of independent bits with its probability."""
    for bits in product((0.0, 1.0), repeat=n):
        x = np.array(bits)
        yield float(np.prod(np.where(x == 1, p, 1 - p))), x


@pytest.mark.parametrize("loss", [None, CrossEntropy()], ids=["squared", "entropy"])
@pytest.mark.parametrize("embedding", [None, Embedding(3)])
@pytest.mark.parametrize("target", [And(6), Identity()], ids=["and", "identity"])
def test_the_population_loss_of_five_bits_is_the_sum_over_their_states(target, embedding, loss) -> None:
    features = Features(5, 0.3, Frequency(Zipf(0.5)), Importance(Geometric(0.8)), Binary())
    bottleneck = Bottleneck(4, SoLU(), LayerNorm(), Linear(), tied=False, hidden_bias=True, embedding=embedding)
    more = {} if loss is None else {"loss": loss}
    es = [Experiment(features, bottleneck, RECIPE, target, seed=seed, **more) for seed in (0, 1)]
    parameters = train(es).parameters
    found, measured = population_loss(es, parameters), measure(es, parameters, samples=200_000)
    assert torch.equal(measured.models["loss_exact"], found.loss)
    for k, e in enumerate(es):
        total, squares = 0.0, 0.0
        for chance, x in states(5, features.probabilities()):
            column = torch.from_numpy(x)[None, :, None]
            y = forward(bottleneck, parameters[[k]].to("cpu", torch.float64), column).out[0, :, 0].numpy()
            t = np.array([x[i] * x[j] for i, j in shuffled(5, 6, e.seed)]) if target == And(6) else x
            error = (t - y) ** 2 if loss is None else np.log1p(np.exp(-np.abs(y))) + np.maximum(y, 0) - t * y
            of_state = (e.importance() * error).sum()
            total, squares = total + chance * of_state, squares + chance * of_state**2
        assert found.loss[k].item() == pytest.approx(total, rel=1e-6)
        deviation = (squares - total**2) ** 0.5
        assert abs(measured.models["loss"][k].item() - total) < 5 * deviation / 200_000**0.5
        assert measured.models["loss_error"][k].item() == pytest.approx(deviation / 200_000**0.5, rel=0.02)


# --------------------------------------------------------------------------------------------------- models by hand


def by_hand(n: int, target: And, seed: int) -> Parameters:
    """A neuron a pair: relu(x_i + x_j - 1) is the AND of two bits, and nothing but it is said."""
    members = target.members(n, seed)
    W_in = torch.zeros(1, target.pairs, n)
    for neuron, pair in enumerate(members.tolist()):
        W_in[0, neuron, pair] = 1
    return Parameters(W_in, torch.eye(target.pairs)[None], -torch.ones(1, target.pairs), torch.zeros(1, target.pairs))


@pytest.mark.parametrize("n, pairs", [(3, 2), (2, 1), (6, 15)])
def test_a_model_that_computes_and_exactly_has_no_loss_and_a_neuron_a_pair(n: int, pairs: int) -> None:
    target = And(pairs)
    bottleneck = dataclasses.replace(READS, hidden=pairs)
    e = Experiment(Features(n, 0.4, values=Binary()), bottleneck, RECIPE, target, seed=4)
    measures = measure([e], by_hand(n, target, 4), samples=20_000)
    assert not measures.failed
    for name in ("loss", "loss_fraction", "loss_exact", "loss_error"):
        assert measures.models[name].item() == pytest.approx(0, abs=1e-12)
    for name in ("r2", "best_neuron_r2_mid", "best_neuron_r2_post"):
        assert measures.targets[name].tolist() == [pytest.approx([1] * pairs, abs=1e-6)]
    assert measures.targets["best_neuron"].tolist() == [list(range(pairs))]
    assert measures.models["targets_recovered"].tolist() == [pairs]
    assert measures.models["dead_targets"].tolist() == [0]
    assert "features_recovered" in measures.models
    assert measures.models["features_recovered"].isnan().all()


@pytest.mark.parametrize("saying", [0.0, 0.7])
def test_what_is_measured_of_pairs_is_what_the_samples_say(saying: float) -> None:
    features = Features(7, 0.3, Frequency(Zipf(0.4)), Importance(Geometric(0.8)))
    bottleneck = Bottleneck(5, SoLU(), LayerNorm(), Linear(), tied=False, hidden_bias=True)
    es = [Experiment(features, bottleneck, RECIPE, And(9), seed=seed) for seed in (1, 2)]
    parameters = train(es).parameters.to("cpu", torch.float64)
    assert parameters.W_out is not None
    parameters = dataclasses.replace(parameters, W_out=saying * parameters.W_out)
    found = measure(es, parameters, samples=3000)
    assert not found.failed
    x = sampler(es).evaluation(0, 3000).double()
    taps, t = forward(bottleneck, parameters, x), target_of(es)(x)
    for k, e in enumerate(es):
        for q, (i, j) in enumerate(shuffled(7, 9, e.seed)):
            row = {name: column[k, q].item() for name, column in found.targets.items()}
            assert (row["first"], row["second"]) == (i, j)
            assert row["density"] == pytest.approx(features.probabilities()[i] * features.probabilities()[j])
            assert row["importance"] == pytest.approx(e.importance()[q])
            said, true = taps.out[k, q].numpy(), t[k, q].numpy()
            assert row["r2"] == pytest.approx(1 - ((true - said) ** 2).mean() / true.var(), rel=1e-9)
            for tap in ("pre", "mid", "post"):
                rows = getattr(taps, tap)[k].numpy()
                rows = rows - rows.mean(0) if tap == "mid" else rows  # what LayerNorm deletes, no measure sees
                of = [np.corrcoef(neuron, true)[0, 1] ** 2 for neuron in rows]
                assert row[f"best_neuron_r2_{tap}"] == pytest.approx(max(of), rel=1e-8)
            assert row["best_neuron"] == int(np.argmax(of))
            assert row["dead"] == (saying == 0)
            assert row["hiddenness"] == pytest.approx(row["ridge_r2_mid"] - row["best_neuron_r2_mid"])
            assert row["ridge_r2_mid"] > row["best_neuron_r2_mid"] - 0.05  # on other samples than fitted
    assert found.models["dead_targets"].tolist() == ([9, 9] if saying == 0 else [0, 0])


def test_a_pair_that_is_never_active_has_no_r2() -> None:
    # At most one of features 0 to 2 is active, and of 3 to 5: of the 15 pairs six can never be.
    features = Features(6, 0.2, values=Binary(), firing=Anticorrelated(2))
    e = Experiment(features, READS, RECIPE, And(15))
    measures = measure([e], train([e]).parameters, samples=4096)
    assert not measures.failed
    never = torch.tensor([[i // 3 == j // 3 for i, j in combinations(range(6), 2)]])
    columns = measures.targets
    assert torch.equal(columns["density"] == 0, never)
    for name in ("r2", "best_neuron_r2_post", "ridge_r2_mid"):
        assert torch.equal(columns[name].isnan(), never), name
    assert torch.equal(columns["best_neuron"] < 0, never)
    assert not columns["dead"][never].any()
    for name in ("loss_exact", "loss_exact_error"):
        assert measures.models[name].isfinite().all()
    apart = (measures.models["loss"] - measures.models["loss_exact"]).abs()
    assert apart.item() < 5 * measures.models["loss_error"].item()


def test_columns_of_features_that_make_no_sense_of_pairs_are_undefined_and_all_others_are_not() -> None:
    features = Features(6, 0.3, values=Binary())
    of_pairs, of_features = (Experiment(features, READS, RECIPE, target) for target in (And(4), Identity()))
    pairs = measure([of_pairs], train([of_pairs]).parameters, samples=2048)
    same = measure([of_features], train([of_features]).parameters, samples=2048)
    assert same.targets == {}
    assert pairs.features.keys() == same.features.keys()
    said = {"r2", "r2_ungated", "hiddenness", "dead", "tier"}
    said |= {n for n in same.features if n.startswith(("best_neuron", "ridge"))}
    for name, column in pairs.features.items():
        undefined = (column == -1) if name == "tier" else column.isnan() if column.is_floating_point() else column < 0
        assert undefined.all() == (name in said), name
    assert {"features_recovered", "dead_features"} <= pairs.models.keys()
    assert {"targets_recovered", "dead_targets"} == pairs.models.keys() - same.models.keys()
    assert same.models.keys() <= pairs.models.keys()


# ------------------------------------------------------------------------------------------------ what has no meaning


@pytest.mark.parametrize(
    "make, sentence",
    [
        (
            lambda: Experiment(Features(1, 0.3), READS, target=And(1)),
            "target 'and' is of two features, and there is 1: n = 2 or more",
        ),
        (
            lambda: Experiment(Features(4, 0.3), READS, target=And(7)),
            "target.pairs: expected at most the 6 pairs of 4 features, got 7",
        ),
        (
            lambda: Experiment(Features(4, 0.25, firing=One()), READS, target=And(2)),
            "target 'and' is 0 always: the members of no pair are ever active together",
        ),
        (
            lambda: Experiment(
                Features(4, 0.25, values=Binary(), firing=One()), READS, target=And(2), loss=CrossEntropy()
            ),
            "target 'and' is 0 always: the members of no pair are ever active together",
        ),
        (
            lambda: Experiment(Features(4, 1.0, values=Binary()), READS, target=And(2)),
            "target 'and' never varies, so there is nothing to learn: lower the density",
        ),
        (
            lambda: Experiment(Features(4, 0.3), Bottleneck(2), target=And(2)),
            "tied: W_out = W_in^T says what each feature is, and target 'and' is not of features: tied = false",
        ),
        (
            lambda: Experiment(Features(4, 0.3), Bottleneck(2), target=And(4)),
            "tied: W_out = W_in^T says what each feature is, and target 'and' is not of features: tied = false",
        ),
    ],
)
def test_pairs_without_meaning_are_one_sentence(make, sentence: str) -> None:
    with pytest.raises(ValueError, match=r"^.*$") as caught:
        make()
    assert str(caught.value) == sentence


@pytest.mark.parametrize("pairs", [0, -1, 10**6 + 1])
def test_a_number_of_pairs_is_checked_by_name(pairs: int) -> None:
    with pytest.raises(ValueError, match=r"^pairs: expected"):
        And(pairs)


def test_of_pairs_signs_and_a_ReLU_are_no_matter() -> None:
    e = Experiment(Features(4, 0.3, signed=True), Bottleneck(2, tied=False), target=And(4))
    assert e.n_targets == 4
    moments = collect(Models([e], train([dataclasses.replace(e, training=RECIPE)]).parameters), 256)
    assert moments.t.shape == (1, 4)
