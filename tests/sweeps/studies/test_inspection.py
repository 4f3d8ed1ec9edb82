"""The study of inspections: each arm's own shares with their intervals, their differences by seed, and P8's status."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest
import torch

import toymodels as tm
from tests.sweeps.studies.conftest import Ran
from tests.sweeps.studies.test_blinded import SWEEP
from toymodels.hosts import Models
from toymodels.hypotheses.statistics.intervals import Status
from toymodels.metrics.inspection import Strongest, strongest
from toymodels.metrics.moments import collect
from toymodels.metrics.selectivity import selectivity
from toymodels.sweeps.errors import FolderError
from toymodels.sweeps.studies import inspection, missed, paired
from toymodels.sweeps.studies.paired import MeasuredRegime
from toymodels.sweeps.studies.reply import UNCORRECTED, estimate
from toymodels.training.experiment import sampler, start

FOUR = SWEEP.replace("samples = 2048", "samples = 512").replace(
    "seed = [0, 1]", 'seed = [0, 1, 2, 3]\n"model.layer_norm_eps" = [1e-5, "matched"]'
)


def test_shares_and_differences_are_those_of_the_models(ran: Ran) -> None:
    run = ran(FOUR)
    reply = inspection.answer(run, print)
    models = run.models
    arm = models[models["model.activation"].eq("gelu") & models["model.layer_norm"]]
    arm = arm[arm["model.layer_norm_eps"] == "matched"].sort_values("seed")
    es, parameters = run.batch(list(arm["model"]))
    found = strongest(es, parameters, 512)
    whole = selectivity(Models(es, parameters), collect(Models(es, parameters), 512))
    rows = reply.tables[paired.ARM_TABLE].set_index(["eps", "arm", "measure"]).to_dict("index")
    shares = [each[~dead].double().mean().item() for each, dead in zip(found.interpretable, found.dead, strict=True)]
    for measure, values in {
        inspection.SHARE: shares,
        "AUROC": whole.auroc.nanmean(1).numpy(),
        "loss fraction": arm["loss_fraction"],
    }.items():
        row = rows["matched", "gelu + LN", measure]
        expected = estimate(values)
        assert {name: row[name] for name in expected} == pytest.approx(expected)
    assert rows["1e-05", "gelu", "AUROC"] == rows["matched", "gelu", "AUROC"]
    differences = reply.tables[paired.DIFFERENCE_TABLE].set_index(["eps", "arm", "minus", "measure"]).to_dict("index")
    row = differences["matched", "gelu + LN", "gelu", "AUROC"]
    assert row["mean"] == pytest.approx(
        rows["matched", "gelu + LN", "AUROC"]["mean"] - rows["matched", "gelu", "AUROC"]["mean"]
    )
    assert row["more"] in [status.value for status in Status]
    assert pd.isna(differences["matched", "gelu + LN", "gelu", "loss fraction"]["more"])
    assert "4 seeds" in reply.sentence
    told = missed.answer(run, print)
    assert UNCORRECTED in reply.notes
    assert UNCORRECTED in told.notes
    rows = told.tables[paired.ARM_TABLE].set_index(["eps", "arm", "measure"])["mean"]
    assert rows["matched", "gelu + LN", "showing neurons"] == found.interpretable.sum(1).double().mean().item()
    assert rows["matched", "gelu + LN", "features shown"] == found.shows.any(1).sum(1).double().mean().item()


@pytest.mark.parametrize(
    ("gelu", "normed", "solu", "status"),
    [
        (0.35, 0.47, 0.6, Status.SUPPORTED),
        (0.35, 0.37, 0.6, Status.NOT_SUPPORTED),  # LayerNorm alone does next to nothing
        (0.35, 0.7, 0.6, Status.NOT_SUPPORTED),  # or more than both
        (0.35, 0.41, 0.6, Status.UNDETERMINED),
    ],
)
def test_p8_asks_for_both_steps(gelu: float, normed: float, solu: float, status: Status) -> None:
    noise = torch.from_numpy(np.random.default_rng(0).normal(0, 0.02, (3, 8)))
    noise -= noise.mean(1, keepdim=True)
    shares = {"gelu": gelu, "gelu + LN": normed, "solu + LN": solu}
    arms = {arm: {inspection.SHARE: share + each} for (arm, share), each in zip(shares.items(), noise, strict=True)}
    assert inspection.lies_between(MeasuredRegime("", "1e-05", True, arms)) is status
    del arms["gelu + LN"]
    assert inspection.lies_between(MeasuredRegime("", "1e-05", True, arms)) is Status.UNDETERMINED


def test_the_random_basis_is_one_that_the_layers_neurons_could_have(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neurons of a block are turned among themselves: what a block does not read, it does not read after."""
    features = tm.Features(6, 0.2, values=tm.Binary())
    b = tm.Bottleneck(8, tm.GeLU(), None, tm.Linear(), tied=False, blocks=2)
    es = [tm.Experiment(features, b, seed=seed) for seed in range(2)]
    seen: list[torch.Tensor] = []

    def spied(of: Sequence[tm.Experiment], parameters: tm.Parameters, samples: int) -> Strongest:
        seen.append(parameters.W_in)
        return strongest(of, parameters, samples)

    monkeypatch.setattr(inspection, "strongest", spied)
    inspection.measure(es, start(es, sampler(es), torch.float64), 256)
    own, turned = seen
    assert (own == 0).sum() == own.numel() / 2
    assert torch.equal(turned == 0, own == 0)
    assert not torch.allclose(turned, own)


def test_where_no_neuron_could_look_interpretable_the_answer_is_not_no(ran: Ran) -> None:
    run = ran(FOUR.replace("density = 0.2\n", 'firing = "one"\n').replace('"gelu", "solu", "relu"', '"gelu", "solu"'))
    reply = inspection.answer(run, print)
    assert reply.sentence.startswith(inspection.CANNOT_SHOW)
    assert "supported" not in reply.sentence
    assert set(reply.tables[inspection.BETWEEN_TABLE]["P8"]) == {"not testable"}
    told = missed.answer(run, print)
    assert told.sentence.startswith(inspection.CANNOT_SHOW)
    for tables, names in ((reply.tables, [inspection.SHARE, inspection.BY_CHANCE]), (told.tables, missed.SHARES)):
        arms, differences = tables[paired.ARM_TABLE], tables[paired.DIFFERENCE_TABLE]
        undefined = list(names.values()) if isinstance(names, dict) else names
        assert arms.loc[arms["measure"].isin(undefined), "mean"].isna().all()
        assert set(differences.loc[differences["measure"].isin(undefined), "more"]) == {"undetermined"}


def test_a_run_without_solu_and_layer_norm_is_refused(ran: Ran) -> None:
    run = ran(SWEEP.replace('["gelu", "solu", "relu"]', '["gelu"]').replace("[0, 1]", "[0]"))
    for study in (inspection, missed):
        with pytest.raises(FolderError, match=r"no models of solu \+ LN"):
            study.answer(run, print)
