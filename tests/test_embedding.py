"""The embedding: directions from the stream's words, each seed's own; and the decoder against a bottleneck by hand."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from scipy.stats import beta, kstest, norm

from tests.conftest import word
from toymodels import (
    Bottleneck,
    Embedding,
    Experiment,
    Features,
    GeLU,
    LayerNorm,
    Linear,
    Parameters,
    ReLU,
    SoLU,
    Training,
    forward,
    measure,
    surgery,
    train,
)
from toymodels.bottleneck import directions
from toymodels.hosts import Models
from toymodels.random import Domain
from toymodels.rotations import haar
from toymodels.training.experiment import sampler, start

N, D, M = 9, 4, 6
FEATURES = Features(N, 0.3)
DECODER = Bottleneck(M, GeLU(), LayerNorm(), Linear(), tied=False, hidden_bias=True, embedding=Embedding(D))


# -------------------------------------------------------------------------------------------------------- directions


@pytest.mark.parametrize("seed", [0, 7, 2**40 + 3])
def test_a_column_is_normals_of_the_streams_words_over_their_length(seed):
    found = Embedding(D).columns([seed], N)[0]
    for feature in range(N):
        normals = norm.ppf([(word(seed, feature, row, 0, 7) + 0.5) / 2**32 for row in range(D)])
        assert found[:, feature] == pytest.approx(normals / np.linalg.norm(normals), rel=1e-12)
    assert Domain.EMBEDDING == 7


@pytest.mark.parametrize("size", [1, 2, 5, 16])
def test_columns_have_unit_length_and_no_favoured_direction(size):
    columns = Embedding(size).columns(range(20), 300)
    assert np.abs((columns**2).sum(1) - 1).max() < 1e-12
    coordinates = columns.ravel()
    if size == 1:
        assert set(coordinates) == {-1.0, 1.0}
        assert abs(coordinates.mean()) < 5 / len(coordinates) ** 0.5
    else:  # (1 + c) / 2 of a coordinate c on the sphere is Beta((d - 1) / 2, (d - 1) / 2)
        law = beta((size - 1) / 2, (size - 1) / 2)
        one_row = columns[:, 0].ravel()
        assert kstest((1 + one_row) / 2, law.cdf).pvalue > 1e-4
        gram = np.einsum("sdf,sdg->sfg", columns, columns)
        apart = gram[:, *np.triu_indices(300, 1)]
        assert (apart**2).mean() == pytest.approx(1 / size, rel=0.03)
        assert abs(apart.mean()) < 0.01


def test_each_seed_has_its_own_alone_and_in_a_batch_and_a_feature_its_own_whatever_is_beside_it():
    together = Embedding(D).columns([5, 6, 7], N)
    for place, seed in enumerate([5, 6, 7]):
        assert np.array_equal(Embedding(D).columns([seed], N)[0], together[place])
    assert np.array_equal(Embedding(D).columns([6], 3)[0], together[1, :, :3])
    assert np.abs(together[0] - together[1]).min() > 0
    assert np.array_equal(together, Embedding(D, trained=True).columns([5, 6, 7], N))


@pytest.mark.parametrize("size, trained", [(0, False), (-1, False), (1.5, False), (True, False), (2, 1)])
def test_nonsense_is_refused_by_name(size, trained):
    with pytest.raises((ValueError, TypeError), match=r"^(size|trained): expected"):
        Embedding(size, trained)


def test_what_a_decoder_cannot_be_is_one_sentence():
    with pytest.raises(ValueError, match=r"^embedding: W_in reads the embedding .* tied = false$"):
        Bottleneck(M, embedding=Embedding(D))
    with pytest.raises(ValueError, match=r"^embedding: expected at most as many dimensions as features, 3, got 4$"):
        Experiment(Features(3, 0.3), DECODER)
    assert Experiment(Features(4, 0.3), DECODER).n_targets == 4


# ---------------------------------------------------------------------------------------------------------- training


@pytest.mark.parametrize("engine", ["autograd", "fused"])
@pytest.mark.parametrize("is_trained", [False, True])
def test_an_embedding_moves_where_it_is_trained_and_nowhere_else(engine, is_trained):
    bottleneck = dataclasses.replace(DECODER, embedding=Embedding(D, is_trained))
    es = [Experiment(FEATURES, bottleneck, Training(steps=20, batch=32, snapshots=2), seed=seed) for seed in (3, 4)]
    trained = train(es, engine=engine)
    drawn = torch.from_numpy(Embedding(D).columns([3, 4], N)).float()
    assert trained.parameters.E is not None
    moved = (trained.parameters.E - drawn).abs()
    assert (moved.amax((1, 2)) > 1e-3).all() if is_trained else moved.max() == 0
    assert ("E" in trained.snapshots) == is_trained
    assert (trained.parameters.W_in - start(es, sampler(es)).W_in).abs().max() > 1e-3


def test_weight_decay_shrinks_a_trained_embedding_as_it_does_every_matrix():
    bottleneck = dataclasses.replace(DECODER, embedding=Embedding(D, trained=True))
    nothing = Features(N, 1e-9)  # no feature is ever active: W_in and E are decayed and not moved else
    recipe = Training(steps=10, batch=8, learning_rate=0.1, weight_decay=0.5)
    for engine in ("autograd", "fused"):
        E = train([Experiment(nothing, bottleneck, recipe)], engine=engine).parameters.E
        expected = Embedding(D).columns([0], N) * (1 - 0.1 * 0.5) ** 10
        assert E is not None
        assert E.double().numpy() == pytest.approx(expected, rel=1e-5)


# -------------------------------------------------------------------------------- a bottleneck whose W_in is W_in E

HOSTS = [
    DECODER,
    dataclasses.replace(DECODER, activation=SoLU(), layer_norm=None),
    dataclasses.replace(DECODER, activation=ReLU(), layer_norm=LayerNorm(1e-3, affine=False), hidden_bias=False),
]


def merged(e: Experiment, parameters: Parameters) -> tuple[Experiment, Parameters]:
    """The bottleneck that does what a decoder does: its W_in is the decoder's W_in E."""
    assert parameters.E is not None
    W_in = torch.einsum("mkd,mdf->mkf", parameters.W_in, parameters.E)
    bottleneck = dataclasses.replace(e.bottleneck, embedding=None)
    return dataclasses.replace(e, bottleneck=bottleneck), dataclasses.replace(parameters, W_in=W_in, E=None)


def decoders(bottleneck: Bottleneck, models: int = 2) -> tuple[list[Experiment], Parameters]:
    es = [Experiment(FEATURES, bottleneck, Training(steps=100, batch=64), seed=seed) for seed in range(models)]
    return es, train(es).parameters.to("cpu", torch.float64)


@pytest.mark.parametrize("bottleneck", HOSTS, ids=lambda b: b.activation.name)
def test_directions_and_taps_are_those_of_the_merged_bottleneck(bottleneck):
    es, parameters = decoders(bottleneck)
    x = sampler(es).evaluation(0, 64).double()
    (_, by_hand), e = merged(es[0], parameters), es[0]
    torch.testing.assert_close(directions(parameters), by_hand.W_in)
    assert directions(by_hand) is by_hand.W_in
    plain = dataclasses.replace(bottleneck, embedding=None)
    ours, theirs = forward(e.bottleneck, parameters, x), forward(plain, by_hand, x)
    for tap in ("pre", "mid", "post", "readout", "out"):
        torch.testing.assert_close(getattr(ours, tap), getattr(theirs, tap))


@pytest.mark.parametrize("bottleneck", HOSTS, ids=lambda b: b.activation.name)
def test_every_measure_is_that_of_the_merged_bottleneck(bottleneck):
    es, parameters = decoders(bottleneck)
    _, by_hand = merged(es[0], parameters)
    ours = measure(es, parameters, samples=2048)
    theirs = measure([merged(e, parameters)[0] for e in es], by_hand, samples=2048)
    assert not ours.failed
    for level in ("models", "features", "neurons", "targets"):
        columns, others = getattr(ours, level), getattr(theirs, level)
        assert columns.keys() == others.keys()
        for name, column in columns.items():
            near = 0.1 if name.endswith("_percentile") else 1e-8  # ties among nulls may be broken otherwise
            torch.testing.assert_close(
                column.double(), others[name].double(), rtol=1e-6, atol=near, equal_nan=True, msg=name
            )


@pytest.mark.parametrize("bottleneck", HOSTS, ids=lambda b: b.activation.name)
def test_surgery_and_refitting_work_on_a_decoder(bottleneck):
    es, parameters = decoders(bottleneck)
    plain, by_hand = merged(es[0], parameters)
    x = sampler(es).evaluation(0, 64).double()
    assert torch.equal(surgery.operate(bottleneck, parameters, x).out, forward(bottleneck, parameters, x).out)
    rotated = surgery.Rotated(haar(np.array([1, 2]), M, step=0))
    interventions = (rotated, surgery.KeepLargest(3), surgery.Switched([2], 0.5))
    for intervention in interventions:
        ours = surgery.operate(bottleneck, parameters, x, intervention)
        theirs = surgery.operate(plain.bottleneck, by_hand, x, intervention)
        torch.testing.assert_close(ours.out, theirs.out)
    plains = [merged(e, parameters)[0] for e in es]
    ours = surgery.refit(Models(es, parameters), surgery.KeepLargest(3)).parameters
    theirs = surgery.refit(Models(plains, by_hand), surgery.KeepLargest(3)).parameters
    assert ours.W_out is not None
    assert theirs.W_out is not None
    torch.testing.assert_close(ours.decoder, theirs.decoder, rtol=1e-5, atol=1e-8)
    torch.testing.assert_close(ours.E, parameters.E)
