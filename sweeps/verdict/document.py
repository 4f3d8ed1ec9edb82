"""The document: ``verdicts.json``, every finding at every setting of the analysis, with its interval."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from toymodels.hypotheses.battery import Verdict
from toymodels.hypotheses.predictions import PREDICTIONS
from toymodels.hypotheses.predictions.p1_bimodal import DIP_P
from toymodels.hypotheses.statistics.findings import Finding
from toymodels.hypotheses.tiers import AnalysisSetting
from toymodels.sweeps.results.reading import Run
from toymodels.sweeps.store import atomic
from toymodels.sweeps.store.rights import unwritable
from toymodels.sweeps.verdict.judging import Judgement

SCHEMA = 2
"""The version of the document's form: 1 called the tiers ``tier_one`` and ``tier_two``."""


def document(judgement: Judgement) -> dict[str, Any]:
    """What ``verdicts.json`` holds of a run: every regime, and its findings at every setting of the analysis."""
    return {
        "schema": SCHEMA,
        "toymodels": version("toymodels"),
        "notes": list(judgement.notes),
        "regimes": [
            {
                "name": verdict.regime,
                "primary": verdict.primary,
                "settings": dict(regime.settings),
                "seeds": list(regime.seeds),
                "overall": verdict.overall.value,
                "verdict": verdict.said,
                "notes": list(verdict.notes),
                "predictions": {
                    p.key: {
                        "claim": p.claim,
                        "margin": p.margin,
                        "decisive": list(p.decisive),
                        "status": verdict.predictions[p.key].value,
                    }
                    for p in PREDICTIONS
                },
                "settings_of_analysis": [_at(verdict, setting) for setting in verdict.findings],
            }
            for verdict, regime in zip(judgement.verdicts, judgement.regimes, strict=True)
        ],
    }


def _at(verdict: Verdict, setting: AnalysisSetting) -> dict[str, Any]:
    neuron, hidden = verdict.tiers[setting]
    return {
        "eps": setting.eps,
        "recovered": setting.recovered,
        "percentile": setting.percentile,
        "default": setting == verdict.default,
        "neuron": neuron,
        "hidden": hidden,
        "dip_p": [round(p, 6) for p in verdict.marks[setting][DIP_P].tolist()],
        "predictions": {
            key: {"status": verdict.at(setting)[key].value, "statistics": [_finding(f) for f in kinds.values()]}
            for key, kinds in verdict.findings[setting].items()
        },
    }


def _finding(finding: Finding) -> dict[str, Any]:
    def number(value: float) -> float | None:
        return float(value) if np.isfinite(value) else None

    return {
        "statistic": finding.kind,
        "mean": number(finding.mean),
        "low": number(finding.low),
        "high": number(finding.high),
        "seeds": finding.n,
        "p_above": finding.p_above,
        "p_below": finding.p_below,
        "status": finding.status.value,
        "reason": finding.reason,
    }


def write(run: Run, judgement: Judgement) -> Path:
    """Write ``verdicts.json`` into the run folder; returns its path."""
    text = json.dumps(document(judgement), indent=1, sort_keys=True, allow_nan=False)
    path = run.path / "verdicts.json"
    try:
        atomic.write(path, text.encode() + b"\n")
    except OSError as error:
        raise unwritable(path, error) from None
    return path
