"""The tuning of a run folder: a run folder inside it, ``tuning/``, of the sweep that tries every candidate.

It comes first. Until every arm has its settings the folder around it has no manifest, and its ``sweep.toml`` is the
sweep without them, which continues when it is run; what was chosen is in the ``sweep.toml`` with which the folder
begins, so that nothing there depends on ``tuning/`` afterwards.
"""

from __future__ import annotations

from pathlib import Path

from toymodels.sweeps.plan.plan import Plan
from toymodels.sweeps.spec.resolved import resolved_toml
from toymodels.sweeps.spec.sweep import Sweep
from toymodels.sweeps.store import atomic
from toymodels.sweeps.store.folder import TUNING
from toymodels.sweeps.store.locks import moment
from toymodels.sweeps.store.rights import make_inner_folder
from toymodels.sweeps.store.store import OWN, Store, explained, has_only


def tuning_folder(folder: Path) -> Path:
    """The run folder of the tuning of the sweep in ``folder``, whether or not it is there."""
    return folder / TUNING


def to_come(folder: Path) -> bool:
    """Whether neither a sweep nor its tuning has begun in a folder, and one still may."""
    begun = Store(folder).begun or Store(tuning_folder(folder)).begun
    return not begun and not folder.is_file() and has_only(folder, OWN | {TUNING})


def make_tuning_folder(folder: Path, sweep: Sweep, trials: Plan) -> None:
    """Make the folder in which ``sweep`` is tuned by ``trials``, and write what is being tuned into ``sweep.toml``.

    A folder that is begun, or in which another sweep is being tuned, keeps its own. Raises `FolderError` where the run
    folder is refused.
    """
    store, inside = Store(folder), Store(tuning_folder(folder))
    store.check_may_begin(sweep)
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
        store.check_links()
        make_inner_folder(tuning_folder(folder))
        with moment(folder):  # nobody makes it a begun one meanwhile, whose sweep.toml says more
            mine = not inside.begun or trials.hash == inside.manifest.plan or len(trials.starts) > 1
            if mine and not store.begun:
                atomic.write(folder / "sweep.toml", resolved_toml(sweep).encode())
