"""Compiling: what the fused engine needs is made once a machine and version, and said when it takes a while."""

from __future__ import annotations

from toymodels.engines import fused
from toymodels.kernels import compiled
from toymodels.sweeps.execution.reporter import Reporter


def prepare(engine: str, reporter: Reporter) -> None:
    """Compile what this engine needs, unless that was done before."""
    if engine == "fused" and not fused.prepared():
        if not compiled.compiled():
            reporter.note("compiling the fused engine for this processor, once: about 20 seconds")
        fused.prepare()
        if unkept := compiled.why_not_kept():
            reporter.note(unkept)
