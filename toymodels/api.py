"""The public names of toymodels: what ``import toymodels as tm`` offers as ``tm.NAME``.

`toymodels` itself imports this page when a name is first asked for, so that the command line opens at once.
"""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toymodels.activations import ELU, Activation, Elementwise, GeLU, Linear, ReLU, SiLU, SoLU, XExp
from toymodels.bottleneck import Bottleneck, Parameters, Taps, forward
from toymodels.data import Data, Dataset
from toymodels.embedding import Embedding
from toymodels.engines import OutOfMemory, Trained, train
from toymodels.features import Features, Frequency, Importance, Sampler
from toymodels.firing import Anticorrelated, Correlated, Independent, One, Together, Tree
from toymodels.hosts.hosted import HostedModel, hosted
from toymodels.hosts.models import Models
from toymodels.laws import Geometric, Listed, Uniform, Zipf
from toymodels.layer_norm import LayerNorm, Matched
from toymodels.losses import CrossEntropy, Loss, Power, Softmax, Squared
from toymodels.metrics import Measures, Tier, measure
from toymodels.targets import AbsoluteValue, And, FeatureTarget, Identity, Target
from toymodels.training.experiment import Experiment
from toymodels.training.optimizers import SGD, Adam, RotatedAdam
from toymodels.training.recipe import Training
from toymodels.training.schedules import Constant, Cosine, LinearDecay
from toymodels.values import Binary, Exponential, FoldedNormal, UniformValues, Values

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.figure import Figure

    from toymodels.sweeps.errors import SweepError as SweepError
    from toymodels.sweeps.results.loaded import LoadedModel
    from toymodels.sweeps.results.reading import Run
    from toymodels.sweeps.studies.reply import Reply

__all__ = [
    "ELU",
    "SGD",
    "AbsoluteValue",
    "Activation",
    "Adam",
    "And",
    "Anticorrelated",
    "Binary",
    "Bottleneck",
    "Constant",
    "Correlated",
    "Cosine",
    "CrossEntropy",
    "Data",
    "Dataset",
    "Elementwise",
    "Embedding",
    "Experiment",
    "Exponential",
    "FeatureTarget",
    "Features",
    "FoldedNormal",
    "Frequency",
    "GeLU",
    "Geometric",
    "Identity",
    "Importance",
    "Independent",
    "LayerNorm",
    "Linear",
    "LinearDecay",
    "Listed",
    "Loss",
    "Matched",
    "Measures",
    "One",
    "OutOfMemory",
    "Parameters",
    "Power",
    "ReLU",
    "RotatedAdam",
    "Sampler",
    "SiLU",
    "SoLU",
    "Softmax",
    "Squared",
    "Taps",
    "Target",
    "Tier",
    "Together",
    "Trained",
    "Training",
    "Tree",
    "Uniform",
    "UniformValues",
    "Values",
    "XExp",
    "Zipf",
    "answer",
    "draw",
    "forward",
    "host",
    "load",
    "measure",
    "sweep",
    "train",
]


FORWARDED = {"Run": "toymodels.sweeps.results.reading", "SweepError": "toymodels.sweeps.errors"}
"""The public names of the sweeps, by their modules."""


# The one place where the science knows of the sweeps and the figures, and only when one of these is asked for.


def __getattr__(name: str) -> Any:
    if name in FORWARDED:
        return getattr(importlib.import_module(FORWARDED[name]), name)
    raise AttributeError(f"module 'toymodels' has no attribute '{name}'")


def sweep(
    of: str | Path | Mapping[str, Any],
    *,
    seeds: int | Sequence[int] | None = None,
    out: str | Path | None = None,
    set: Mapping[str, Any] | None = None,  # noqa: A002 - what the command calls it
    grid: Mapping[str, Any] | None = None,
    tune: bool = True,
    device: str = "auto",
    engine: str = "auto",
    workers: int | None = None,
    scheduler: str | None = None,
    extend: bool = False,
    retry_failed: bool = False,
    progress: bool = True,
    allow_code: bool = False,
) -> Run:
    """Train and measure every model of a sweep, as ``toymodels sweep`` does, and return its `Run`.

        run = tm.sweep("solu_neurons", seeds=4)
        run = tm.sweep("mine.toml", set={"train.steps": 2000}, grid={"model.hidden": [4, 8]})
        run = tm.sweep({"features": {"n": 6, "density": 0.1}, "model": {"hidden": 2}}, seeds=8, out="runs/mine")

    ``of`` names a shipped sweep or a sweep file (a ``Path``, or a text with ``/`` or ``.toml``), or is what such a file
    says, its tables as dicts. Everything else is an option of the command: ``grid`` has the values that settings take
    in turn, by their dotted names, ``set`` fixes them, and ``seeds=4`` is the seeds 0 to 3.

    The run folder is ``out``, or ``runs/NAME`` where the sweep has a name; a dict has none, and needs ``out``. The
    models there are the same bytes as the command's. A finished sweep is only read. Interrupted (Ctrl-C, or a
    notebook's stop button), the same call goes on where it was. ``progress=False`` says and shows nothing.
    Code of your own that the sweep names (``"mine:Cube"``) is imported with ``allow_code=True`` alone.

    Raises a `SweepError` with the sentence that the command prints: `SpecError` for a sweep or an option that cannot
    be, `FolderError` for a folder that is refused, `PacksFailed` where models could not be trained, while what is
    finished is in the folder (`load`).
    """
    return importlib.import_module("toymodels.sweeps.console.calling").sweep(
        of,
        seeds=seeds,
        out=out,
        fixed=set,
        grid=grid,
        tune=tune,
        device=device,
        engine=engine,
        workers=workers,
        scheduler=scheduler,
        extend=extend,
        retry_failed=retry_failed,
        progress=progress,
        allow_code=allow_code,
    )


def draw(run: Run | str | Path, name: str, *, dark: bool = False) -> Figure:
    """The figure ``name`` of a run, or of the run in a folder: a matplotlib ``Figure``, which a notebook shows and
    ``savefig`` writes.

        tm.draw(tm.sweep("tms_intro"), "tms_intro")

    The names are those of ``toymodels list``. Raises `SweepError` where there is no such figure, or not of this run.
    """
    return importlib.import_module("toymodels.figures.notebook").for_notebook(run, name, dark=dark)


def answer(run: Run | str | Path, name: str) -> Reply:
    """What study ``name`` says of a run, or of the run in a folder: a sentence, tables of numbers with intervals over
    seeds, and what should be known before they are believed. Nothing is written.

        tm.answer(run, "how_linear").tables

    The names are those of ``toymodels list``. Raises `SweepError` where there is no such study, or not of this run.
    """
    studies = importlib.import_module("toymodels.sweeps.studies")
    return studies.answer(name, load(run) if isinstance(run, str | os.PathLike) else run, lambda said: None)


def host(
    of: Run | LoadedModel | str | Path | Trained | Models, model: int | None = None, tap: str | None = None
) -> HostedModel:
    """One trained model as a host for other people's dictionaries: a stream of its activations, the features that made
    them, their directions, the model as a PyTorch module.

        host = tm.host("runs/solu_neurons", 3, tap="mid")
        for activations in host.activations(batch=4096):    # float32 [batch, hidden], without end
            ...
        held_out = host.sample(50_000)                      # activations, x, active, t: a sample a row
        host.directions.delta                               # [feature, hidden], as a decoder W_dec has its rows
        host.as_module()                                    # taps are submodules that hooks see and change
        host.save("host.safetensors")                       # tm.host("host.safetensors") reads it back

    ``of`` is a run, its folder or one of its models, trained models (or `tm.hosts.Models`), a file that `save` wrote,
    or the name of a frozen host, such as ``"gelu_tree"`` (docs/HOSTS.md), where a folder of that name is
    ``"./gelu_tree"``. ``model`` says which of them, where there are several. ``tap`` is ``pre``, ``mid`` or ``post``,
    which is what the read-out reads and what it is by default, but for a file, which has its own. See `HostedModel`.

    Raises ``ValueError`` for a model or a tap that is not there, a `SweepError` for a folder or a file that cannot be
    read, and for a name that no frozen host has.
    """
    if isinstance(of, Trained | Models):
        return hosted(of, model, tap)
    return importlib.import_module("toymodels.sweeps.results.hosting").host(of, model, tap)


def keep_host(of: HostedModel, path: str | Path) -> None:
    """What `HostedModel.save` does, which is to write a file."""
    importlib.import_module("toymodels.sweeps.store.hostfile").write_host(of, Path(path))


def load(folder: str | Path, *, allow_code: bool = False) -> Run:
    """The run in ``folder``: its tables as DataFrames, any model back as tensors; with ``allow_code`` also those that
    are made of code of your own, which is then imported.

    See `toymodels.sweeps.results.reading.Run`. Raises `FolderError` where there is none.
    """
    return importlib.import_module("toymodels.sweeps.results.reading").load(folder, allow_code=allow_code)
