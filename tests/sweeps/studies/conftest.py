"""What tests of studies share: a sweep file as a finished run, trained by the reference engine."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from toymodels.features import Features
from toymodels.sweeps.execution.run import run
from toymodels.sweeps.plan.plan import make_plan
from toymodels.sweeps.results.reading import Run, load
from toymodels.sweeps.spec.sweep import parse
from toymodels.training.experiment import Experiment

Ran = Callable[[str], Run]


def seen(experiments: Sequence[Experiment]) -> Features:
    """What the first of some experiments sees."""
    features = experiments[0].features
    assert isinstance(features, Features)
    return features


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """The finished run of a sweep file's text."""

    def get(text: str) -> Run:
        folder = tmp_path_factory.mktemp("studied")
        run(make_plan(parse(text, "tiny", "tiny.toml")), folder, "autograd", "cpu")
        return load(folder)

    return get
