"""Rebuilding: a run's tables, measured anew from its packs, and what the command says of it."""

from __future__ import annotations

from pathlib import Path

from toymodels.sweeps.console import documents
from toymodels.sweeps.console.door import say
from toymodels.sweeps.execution.deriving import rebuild
from toymodels.sweeps.execution.reporter import Reporter
from toymodels.sweeps.spec.code import own_code
from toymodels.sweeps.store.store import Store


def say_rebuilt(run: Path, *, allow_code: bool, as_json: bool) -> None:
    """Rebuild the tables of a run folder, and print from how many of its packs."""
    store = Store.open_existing(run)
    store.code = own_code() if allow_code else None
    with store.locked():
        done = rebuild(store, Reporter(note=say))
    planned = store.manifest.packs
    if as_json:
        documents.print_document(documents.of_tables(run, planned, done))
    else:
        print(f"{run}: tables rebuilt from {done} of {planned} packs")
