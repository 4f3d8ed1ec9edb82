"""The tables of evidence: every feature of every arm, and what the statistics are made of."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from toymodels.sweeps.verdict.evidence import SCHEMAS


def test_evidence_has_every_feature_of_every_arm_and_no_nan(judged):
    rows = judged.evidence()
    index = ["regime", "eps", "arm", "seed", "feature"]
    assert len(rows) == 2 * 2 * 3 * 4 * 8 == len(rows.drop_duplicates(index))
    for table in SCHEMAS:
        columns = pq.read_table(judged.path / f"{table}.parquet")
        assert columns.num_rows > 0
        for column in columns.columns:
            if pa.types.is_floating(column.type):
                assert np.isfinite(column.drop_null().to_numpy()).all()
    models = judged.models.set_index("model")
    assert (models.loc[rows["model"], "seed"].to_numpy() == rows["seed"]).all()
    assert (models.loc[rows["model"], "features.values"].to_numpy() + " values" == rows["regime"]).all()


def test_tiers_of_the_evidence_are_those_of_the_verdict(judged):
    rows = judged.evidence()
    for regime in judged.verdicts["regimes"]:
        for at in regime["settings_of_analysis"]:
            if (at["recovered"], at["aligned"], at["percentile"]) != (0.5, 0.5, 99.0):
                continue
            main = rows[(rows["regime"] == regime["name"]) & (rows["eps"] == at["eps"]) & (rows["arm"] == "solu + LN")]
            sizes = [(main["tier"] == tier).sum() / len(regime["seeds"]) for tier in ("neuron", "hidden")]
            assert sizes == pytest.approx([at["tiers"]["solu + LN"][tier] for tier in ("neuron", "hidden")])
            aligned = (main["functional_alignment"] > 0.5) & (main["functional_alignment_percentile"] > 99)
            assert ((aligned & (main["r2"] > 0.5)) == (main["tier"] == "neuron")).all()
            assert ((~aligned & (main["r2_ungated"] > 0.5)) == (main["tier"] == "hidden")).all()


def test_effects_in_company_are_the_means_that_p3_compares(judged):
    """One model, one feature, by running it on one, and on two features at a time."""
    rows = judged.evidence()
    main = rows[(rows["arm"] == "solu + LN") & rows["effect_with_hidden"].notna()]
    row = main.iloc[len(main) // 2]
    of_model = rows[(rows["arm"] == "solu + LN") & (rows["model"] == row["model"])]
    company = [j for j in of_model.loc[of_model["tier"] == "hidden", "feature"] if j != row["feature"]]
    model, i = judged.model(int(row["model"])), int(row["feature"])
    mean = {"binary values": 1.0, "uniform values": 0.5}[str(row["regime"])]
    x = torch.zeros(8, 2 + 2 * len(company))
    x[i, 1::2] = mean
    for place, j in enumerate(company):
        x[j, 2 + 2 * place : 4 + 2 * place] = mean
    effects = model(x).readout[0, i].diff()[::2]
    assert float(row["effect_alone"]) == pytest.approx(float(effects[0]), abs=1e-5)
    assert float(row["effect_with_hidden"]) == pytest.approx(float(effects[1:].mean()), abs=1e-4)


def test_dictionaries_are_scored_at_both_taps(judged):
    rows = judged.evidence("evidence_dictionaries")
    assert set(rows["regime"]) == {"binary values"}
    taps = rows.groupby(["arm", "eps"], observed=True)[["tap", "kind"]].apply(lambda of: len(of.drop_duplicates()))
    assert taps.loc["solu + LN"].tolist() == [4, 4]
    assert taps.loc["gelu"].tolist() == [2, 2]
    assert rows["mcc"].between(0, 1).all()
    assert (rows["mcc"] <= rows["mcc_matched"] + 1e-6).all()
    assert (rows["mcc"] <= rows["mmcs_absolute"] + 1e-6).all()
    assert (rows["mmcs"] <= rows["mmcs_absolute"] + 1e-6).all()
