"""Calling: the command ``toymodels sweep`` as a function, for notebooks and scripts.

The same request, the same folder and the same bytes as the command's; an argument is the option of its name. What the
command prints at its end the caller has as a `Run`, and what it draws as `toymodels.draw`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from toymodels.sweeps.console import ending, parts, request
from toymodels.sweeps.console.audience import Audience, Nobody, here
from toymodels.sweeps.errors import SpecError
from toymodels.sweeps.execution.reporter import Reporter
from toymodels.sweeps.results.reading import Run
from toymodels.sweeps.spec.axes import check_size
from toymodels.sweeps.spec.code import own_code
from toymodels.sweeps.spec.sweep import Sweep, find, of_document, read
from toymodels.sweeps.spec.wording import short

DEEPEST = 20
"""tables and lists in one another, in a sweep given as a dict: more than any setting has"""


def sweep(
    of: str | Path | Mapping[str, Any],
    *,
    seeds: int | Sequence[int] | None = None,
    out: str | Path | None = None,
    fixed: Mapping[str, Any] | None = None,
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
    """What `toymodels.sweep` says; ``fixed`` is its ``set``."""
    named = _sweep(of, out)
    named = replace(named, code=own_code(_file(of))) if allow_code else named
    chosen = _changed(named, seeds, fixed or {}, grid or {}, tune)
    audience = here() if progress else Nobody()
    asked = request.resolve(
        chosen,
        out=None if out is None else Path(out),
        device=device,
        engine=engine,
        shard=None,
        workers=workers,
        scheduler=scheduler,
        extend=extend,
        reporter=Reporter(note=audience.say),
    )
    done = _carried_out(asked, retry_failed, audience)
    ending.raise_failed(done.request, done.outcome)
    if done.outcome.diverged:
        audience.say(ending.diverged(done.outcome))
    return Run(done.request.folder, code=named.code if allow_code else None)


def _carried_out(asked: request.Request, retry_failed: bool, audience: Audience) -> parts.Done:
    try:
        return parts.carry_out(asked, retry_failed, audience)
    except KeyboardInterrupt:
        audience.say(f"interrupted; what is finished is safe in {asked.folder}: the same call continues it")
        raise


def _sweep(of: str | Path | Mapping[str, Any], out: str | Path | None) -> Sweep:
    """The sweep of this name, in this file, or that this dict is. Raises `SpecError`."""
    path = _file(of)
    if path is not None:
        return read(path)
    if not isinstance(of, Mapping):
        raise SpecError(f"sweep: expected the name of a shipped sweep, a file or a dict, got {short(of)}")
    if out is None:
        raise SpecError("sweep: a sweep given as a dict has no name: say where it goes, such as out='runs/mine'")
    return of_document(_plain(of, "sweep"), Path(out).name, "sweep")


def _file(of: Any) -> Path | None:
    """The file of a sweep that is named or given by its path; None of any other. Raises `SpecError`."""
    return find(of) if isinstance(of, str) else of if isinstance(of, Path) else None


def _changed(sweep: Sweep, seeds: Any, fixed: Mapping[str, Any], grid: Mapping[str, Any], tune: bool) -> Sweep:
    """The sweep with what is asked of it otherwise. Raises `SpecError`."""
    axes = dict(_plain(grid, "grid"))
    if seeds is not None:
        if "seed" in axes:
            raise SpecError("seeds: the grid says them too: keep one")
        if isinstance(seeds, int) and not isinstance(seeds, bool) and seeds < 1:
            raise SpecError(f"seeds: expected at least 1, got {seeds}")
        axes["seed"] = {"range": [0, seeds]} if isinstance(seeds, int) else _plain(seeds, "seeds")
    return request.changed(sweep, fixed=_plain(fixed, "set").items(), axes=axes.items(), tune=tune)


def _plain(value: Any, where: str, depth: int = 0) -> Any:
    """What a sweep file would hold for this: dicts, lists, and Python's own numbers for NumPy's. Raises `SpecError`."""
    if depth > DEEPEST:
        raise SpecError(f"{where}: holds tables in tables without end")
    match value:
        case Mapping():
            wrong = next((key for key in value if not isinstance(key, str)), None)
            if wrong is not None:
                raise SpecError(f"{where}: expected names of settings as keys, got {short(wrong)}")
            return {key: _plain(inside, where, depth + 1) for key, inside in value.items()}
        case range():
            check_size(len(value), where)
            return list(value)
        case _ if hasattr(value, "tolist"):  # NumPy's scalars are Python's floats too
            return value.tolist()
        case Sequence() if not isinstance(value, str | bytes):
            return [_plain(inside, where, depth + 1) for inside in value]
        case _:
            return value
