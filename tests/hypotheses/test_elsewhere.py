"""The battery on a device that is not there (`tests.elsewhere`): measured there, and the evidence is the CPU's."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pytest
import torch

import toymodels as tm
from tests.elsewhere import Elsewhere
from toymodels.engines import ENGINES
from toymodels.hosts import Models
from toymodels.hypotheses.arms import MAIN, PLAIN, Regime
from toymodels.hypotheses.battery import judge, statistics
from toymodels.hypotheses.evidence import halves
from toymodels.hypotheses.measuring import gather
from toymodels.hypotheses.predictions import PREDICTIONS, p9_harder_to_find
from toymodels.metrics.dictionaries import choose, fit, learning

DECODER = {"output": tm.Linear(), "tied": False, "hidden_bias": True, "embedding": tm.Embedding(5)}
BITS, SIGNED = tm.Features(10, 0.15, values=tm.Binary()), tm.Features(10, 0.15, signed=True)
KINDS = {"bottleneck": (SIGNED, {}), "decoder": (BITS, DECODER)}
ARMS = {MAIN: (tm.SoLU(), tm.LayerNorm()), PLAIN: (tm.GeLU(), None)}
SAMPLES = 256


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[Elsewhere]:
    monkeypatch.setattr(Models, "engine", property(lambda _: ENGINES["autograd"]))  # here too, so that bits are equal
    monkeypatch.setattr(learning, "FUSED", ())
    monkeypatch.setattr(p9_harder_to_find, "fit", partial(fit, steps=8))
    monkeypatch.setattr(p9_harder_to_find, "choose", partial(choose, steps=8))
    with Elsewhere() as device:
        yield device


def regimes(kind: str) -> tuple[Regime, Regime]:
    """The same small arms here and there."""
    features, shape = KINDS[kind]
    here, there = dict[str, Models](), dict[str, Models]()
    for name, (activation, norm) in ARMS.items():
        recipe = tm.Training(steps=30, batch=64, learning_rate=0.05)
        es = [tm.Experiment(features, tm.Bottleneck(8, activation, norm, **shape), recipe, seed=s) for s in range(2)]
        parameters = tm.train(es, engine="autograd").parameters
        here[name], there[name] = (Models(es, each) for each in (parameters, parameters.to("meta", torch.float32)))
    return Regime("small", here), Regime("small", there)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_gathered_there_is_the_evidence_of_the_cpu(kind: str, elsewhere: Elsewhere) -> None:
    regime, elsewhere_regime = regimes(kind)
    here = gather(regime, "1e-05", SAMPLES, dictionaries=True)
    kernels = elsewhere.kernels
    there = gather(elsewhere_regime, "1e-05", SAMPLES, dictionaries=True)
    assert elsewhere.kernels > kernels + 3000
    assert {p.key for p in PREDICTIONS if p.key not in ("P1", "P6")} < there.arms[MAIN].keys()
    for arm, measured in here.arms.items():
        assert measured.keys() == there.arms[arm].keys()
        for key, quantities in measured.items():
            for name, mine in quantities.items():
                theirs = there.arms[arm][key][name]
                assert type(theirs) is torch.Tensor
                assert theirs.dtype == mine.dtype
                assert torch.equal(mine.nan_to_num(-7.0), theirs.nan_to_num(-7.0)), (arm, key, name)
    kernels = elsewhere.kernels
    assert repr(judge([statistics(there)])[0].findings) == repr(judge([statistics(here)])[0].findings)
    assert elsewhere.kernels == kernels


def test_dictionaries_without_room_train_in_halves(elsewhere: Elsewhere, monkeypatch: pytest.MonkeyPatch) -> None:
    regime, elsewhere_regime = regimes("bottleneck")
    asked, whole = list[int](), p9_harder_to_find._dictionaries

    def noted(arm: Models, middle: int, last: int) -> dict[str, torch.Tensor]:
        asked.append(len(arm))
        return whole(arm, middle, last)

    monkeypatch.setattr(p9_harder_to_find, "_dictionaries", noted)
    monkeypatch.setattr(p9_harder_to_find, "ABREAST", 1)  # the CPU's, as what trains beside changes the rounding
    middle, last = halves(SAMPLES)
    here = p9_harder_to_find.dictionaries(regime.arms[MAIN], middle, last)
    assert asked == [1, 1]
    elsewhere.most = 3 * 8 * 20 * 96  # of a model z and g, [2, penalty, latent, sample], and not of two
    there = p9_harder_to_find.dictionaries(elsewhere_regime.arms[MAIN], middle, last)
    assert asked[2:] == [2, 1, 1]
    assert here.keys() == there.keys()
    assert all(torch.equal(here[name].nan_to_num(-7.0), there[name].nan_to_num(-7.0)) for name in here)
    elsewhere.most = 8 * 20 * 96
    with pytest.raises(torch.OutOfMemoryError):
        p9_harder_to_find.dictionaries(elsewhere_regime.arms[MAIN], middle, last)
