"""toymodels: features, drawn sparsely, are squeezed through a bottleneck, trained thousands at once, measured against
the truth, and put to the hypotheses.

    import toymodels as tm

    features = tm.Features(n=64, density=0.062, frequency=tm.Frequency(tm.Zipf(1.2), cap=0.5))
    bottleneck = tm.Bottleneck(hidden=16, activation=tm.SoLU(), layer_norm=tm.LayerNorm())
    experiments = [tm.Experiment(features, bottleneck, tm.Training(steps=1000), seed=seed) for seed in range(8)]
    trained = tm.train(experiments)
    measures = tm.measure(experiments, trained.parameters)
"""

from __future__ import annotations

import importlib
import importlib.util
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from toymodels.api import *  # noqa: F403
    from toymodels.api import Run as Run
    from toymodels.api import SweepError as SweepError
    from toymodels.api import __all__ as __all__

__version__ = "0.2.0"


def __getattr__(name: str) -> Any:
    """A module of this package or a public name, when it is first asked for: importing PyTorch takes two seconds, which
    the command line need not wait for.
    """
    if not name.startswith("__") and importlib.util.find_spec(f"toymodels.{name}"):
        return importlib.import_module(f"toymodels.{name}")
    if name == "__all__" or not name.startswith("__"):
        public = importlib.import_module("toymodels.api")
        globals().update({each: getattr(public, each) for each in public.__all__}, __all__=public.__all__)
    if name in globals():
        return globals()[name]
    return getattr(importlib.import_module("toymodels.api"), name)


def __dir__() -> list[str]:
    public = importlib.import_module("toymodels.api")
    return sorted({*globals(), *public.__all__, *public.FORWARDED})
