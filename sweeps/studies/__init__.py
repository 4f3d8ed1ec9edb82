"""Studies: what a finished run answers to one question, with intervals; one question a file, of the stem of its figure.

Each has ``answer(run, say)``, which returns a `Reply`; most are of a shipped sweep of the same stem. The science that a
study asks for is in `toymodels`: here the models of a run are put to it, and what comes of them is said.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from toymodels.sweeps.results.reading import Run
    from toymodels.sweeps.studies.reply import Reply

NOT_STUDIES = ("__init__", "reply", "document", "paired", "blinded", "judgements", "persons", "layers", "transformers")
NOT_STUDIES += ("transformer_arms",)
NAMES = tuple(sorted(path.stem for path in Path(__file__).parent.glob("*.py") if path.stem not in NOT_STUDIES))
"""Read off the files, so that naming them takes no PyTorch."""


def answer(name: str, run: Run, say: Callable[[str], None]) -> Reply:
    """What study ``name`` says of ``run``, and how many of its models have learned nothing; ``say`` is told, a sentence
    at a time, what takes long.

    Raises `SpecError` for a name that no study has, `FolderError` for a run that the study cannot be asked of,
    `DeviceLost` where a GPU on which models are measured is.
    """
    from toymodels.sweeps.errors import FolderError, SpecError
    from toymodels.sweeps.execution import measuring
    from toymodels.sweeps.spec.wording import did_you_mean

    if name not in NAMES:
        raise SpecError(f"no study is called '{name}'{did_you_mean(name, NAMES)}")
    if (run.models["status"] != "ok").all():
        raise FolderError(f"{run.path}: every model diverged: there is nothing to answer from")
    with measuring.naming_the_lost(measuring.device_of(run.manifest)):
        reply = importlib.import_module(f"toymodels.sweeps.studies.{name}").answer(run, say)
    idle = int((run.models["loss_fraction"] >= 1).sum())
    note = (
        f"{idle:,} of {len(run.models):,} models lose no less than the best constant: they have learned nothing, and "
        "what is said of them says nothing."
    )
    return replace(reply, notes=(*reply.notes, note)) if idle else reply
