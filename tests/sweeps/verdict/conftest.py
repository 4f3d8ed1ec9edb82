"""A tiny run of two regimes, made once: untrained, and trained with its verdict and tables of evidence."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from toymodels.sweeps.execution.run import run
from toymodels.sweeps.plan.plan import make_plan
from toymodels.sweeps.results.reading import Run, load
from toymodels.sweeps.spec.sweep import parse
from toymodels.sweeps.verdict import document, judging

MakeRun = Callable[..., Run]

TINY = """
case = [
    { "model.activation" = "solu", "model.layer_norm" = true, "model.layer_norm_eps" = 1e-5 },
    { "model.activation" = "solu", "model.layer_norm" = true, "model.layer_norm_eps" = "matched" },
    { "model.activation" = "gelu", "model.layer_norm" = true, "model.layer_norm_eps" = 1e-5 },
    { "model.activation" = "gelu", "model.layer_norm" = true, "model.layer_norm_eps" = "matched" },
    { "model.activation" = "gelu" },
]
[features]
n = 8
importance = { law = "geometric", ratio = 0.8, shuffle = true }
frequency = { law = "zipf", exponent = 1.0, cap = 0.5 }
[model]
hidden = 4
[train]
steps = 30
batch = 32
[eval]
samples = 512
[primary]
"features.values" = "binary"
[grid]
"features.density" = [0.2]
"features.values" = ["uniform", "binary"]
seed = { range = [0, 4] }
"""


@pytest.fixture(scope="session")
def make_run() -> MakeRun:
    """The run of `TINY` in a folder, after texts of it were replaced by others."""

    def make(folder: Path, *changes: tuple[str, str]) -> Run:
        text = TINY
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        run(make_plan(parse(text, "tiny", "tiny.toml")), folder, "autograd", "cpu")
        return load(folder)

    return make


@pytest.fixture(scope="session")
def tiny(make_run: MakeRun, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The run of `TINY`, without a verdict."""
    return make_run(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def judged(make_run: MakeRun, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """`TINY`, its features all recovered or nearly so, with its verdict and tables of evidence."""
    trained = ("steps = 30\nbatch = 32", "steps = 400\nbatch = 64\nlearning_rate = 1e-2")
    made = make_run(tmp_path_factory.mktemp("judged"), trained, ("hidden = 4", "hidden = 8"))
    document.write(made, judging.judge(made, "primary"))
    return made
