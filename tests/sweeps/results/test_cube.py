"""Cubes: a table as xarray has every number in its place, by the values of the sweep's own axes."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import toymodels as tm
from tests.conftest import BODY
from toymodels.sweeps.errors import SpecError, SweepError
from toymodels.sweeps.execution.run import run
from toymodels.sweeps.plan.plan import make_plan
from toymodels.sweeps.spec.sweep import parse

CASES = (
    BODY
    + """
[grid]
"features.n" = [4, 6]
[[case]]
"train.steps" = 10
[[case]]
"train.steps" = 30
"model.layer_norm" = true
"""
)


@pytest.mark.parametrize("table", ["models", "features", "neurons", "curves"])
def test_every_number_stands_at_its_settings(tiny: Path, table: str) -> None:
    loaded = tm.load(tiny)
    cube, rows = loaded.to_xarray(table), getattr(loaded, table)
    models = loaded.models.set_index("model")
    inner = {"features": "feature", "neurons": "neuron", "curves": "step"}.get(table)
    name = {"models": "loss", "features": "norm", "neurons": "monosemanticity", "curves": "loss"}[table]
    assert cube[name].size == len(rows)
    for _, row in rows.iterrows():
        settings = models.loc[row["model"]]
        at = {axis: settings[axis] for axis in ("model.activation", "model.layer_norm", "seed")}
        at |= {inner: row[inner]} if inner else {}
        assert cube[name].sel(at).item() == pytest.approx(row[name], nan_ok=True)


def test_axes_have_their_values_and_variables_their_units(tiny: Path) -> None:
    cube = tm.load(tiny).to_xarray()
    assert dict(cube.sizes) == {"model.activation": 2, "model.layer_norm": 2, "seed": 2}
    assert cube["model.activation"].values.tolist() == ["relu", "solu"]
    assert cube["loss"].attrs["units"] == "loss"
    assert cube["features_neuron"].attrs["long_name"] == "features of tier neuron"
    assert cube.attrs["plan"] == tm.load(tiny).manifest.plan
    assert cube.attrs["version"] == tm.__version__
    assert cube.attrs["features.n"] == 6
    assert "model.activation" not in cube.attrs
    assert float(cube["loss"].mean("seed").sel({"model.activation": "relu"}).min()) > 0


def test_what_is_not_there_is_nan_and_settings_that_vary_together_are_cases(tmp_path: Path) -> None:
    plan = make_plan(parse(CASES, "cases", "cases.toml"))
    run(plan, tmp_path, "autograd", "cpu")
    loaded = tm.load(tmp_path)
    features, curves = loaded.to_xarray("features"), loaded.to_xarray("curves")
    assert dict(features.sizes) == {"case": 2, "features.n": 2, "feature": 6}
    assert features["case"].values.tolist() == ["steps 10", "steps 30, layer_norm True"]
    lacking = np.isnan(features["norm"].sel({"features.n": 4}).values)
    assert lacking.tolist() == [[False] * 4 + [True] * 2] * 2
    assert features["dead"].dtype == object  # true, false or not there
    assert int(curves["loss"].isel(case=0).notnull().any("features.n").sum()) == len(
        set(loaded.curves.loc[loaded.curves["model"] == 0, "step"])
    )
    (tmp_path / "packs" / "00000000.safetensors").unlink()
    from toymodels.sweeps.execution.deriving import rebuild
    from toymodels.sweeps.execution.reporter import SILENT

    rebuild(loaded._store, SILENT)
    partial = tm.load(tmp_path).to_xarray()
    assert int(np.isnan(partial["loss"]).sum()) == len(plan.packs[0].models)


def test_without_xarray_and_without_a_table_a_sentence(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SpecError, match=r"no table is called 'feature'.*did you mean 'features'"):
        tm.load(tiny).to_xarray("feature")
    assert isinstance(tm.load(tiny).to_xarray(), xr.Dataset)
    monkeypatch.setitem(sys.modules, "xarray", None)
    with pytest.raises(SweepError, match="needs xarray, which is not installed: pip install xarray"):
        tm.load(tiny).to_xarray()
