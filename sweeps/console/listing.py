"""Listing: names of files, sweeps and figures on stdout, for which nothing of the science is needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from toymodels.sweeps.console import documents
from toymodels.sweeps.spec.shipped import Shipped


def print_shipped(
    sweeps: Mapping[str, Shipped], hosts: Sequence[str], studies: Sequence[str], figures: Sequence[str], as_json: bool
) -> None:
    """Print the names of the shipped sweeps with their sizes and questions, and those of the frozen hosts, the studies
    and the figures."""
    if as_json:
        documents.print_document(documents.of_shipped(sweeps, hosts, studies, figures))
        return
    print("sweeps:")
    for name, sweep in sweeps.items():
        print(f"  {name:14} {sweep.models:6,} models  {sweep.question}")
    print("frozen hosts, for tm.host(NAME):\n  " + "\n  ".join(hosts))
    print("studies:\n  " + "\n  ".join(studies))
    print("figures:\n  " + "\n  ".join(figures))


def print_files(paths: Sequence[Path], as_json: bool) -> None:
    """Print the names of the files that a command has written."""
    if as_json:
        documents.print_document(documents.of_files(paths))
        return
    for path in paths:
        print(path)
