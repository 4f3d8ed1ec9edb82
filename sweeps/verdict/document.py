"""The document: ``verdicts.json``, every finding at every setting of the analysis, with its interval."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from toymodels.hypotheses.battery import Verdict
from toymodels.hypotheses.predictions import PREDICTIONS
from toymodels.hypotheses.questions import MARGIN, QUESTIONS
from toymodels.hypotheses.statistics.findings import Finding
from toymodels.hypotheses.statistics.intervals import Status
from toymodels.hypotheses.tiers import AnalysisSetting
from toymodels.sweeps.results.reading import Run
from toymodels.sweeps.results.verdicts import VERDICT_SCHEMA
from toymodels.sweeps.store import atomic
from toymodels.sweeps.store.rights import unwritable
from toymodels.sweeps.verdict.judging import Judgement


def document(judgement: Judgement) -> dict[str, Any]:
    """What ``verdicts.json`` holds of a run: every regime, and its findings at every setting of the analysis."""
    return {
        "schema": VERDICT_SCHEMA,
        "toymodels": version("toymodels"),
        "null_seed": judgement.null_seed,
        "tuned": list(judgement.tuned),
        "notes": list(judgement.notes),
        **({} if judgement.measured_on == "cpu" else {"measured_on": judgement.measured_on}),
        "regimes": [
            {
                "name": verdict.regime,
                "primary": verdict.primary,
                "settings": dict(regime.settings),
                "seeds": list(regime.seeds),
                "answer": verdict.answer.value,
                "decided_by": verdict.decided_by,
                "adds": verdict.adds.value,
                "loss_fraction": {arm: _number(loss) for arm, loss in verdict.losses.items()},
                "notes": list(verdict.notes),
                "predictions": {
                    p.key: {
                        "claim": p.claim,
                        "decisive": list(p.decisive),
                        "status": _status(verdict.predictions, p.key),
                        "beyond_controls": _status(verdict.beyond, p.key),
                    }
                    for p in PREDICTIONS
                },
                "questions": {
                    q.key: {
                        "asks": q.asks,
                        "margin": MARGIN,
                        "than": {arm: status.value for arm, status in verdict.questions[q.key].items()},
                    }
                    for q in QUESTIONS
                },
                "settings_of_analysis": [_at(verdict, setting) for setting in verdict.findings],
            }
            for verdict, regime in zip(judgement.verdicts, judgement.regimes, strict=True)
        ],
    }


def _status(statuses: Mapping[str, Status], key: str) -> str | None:
    """The status of a prediction; null of one that describes, or that has no controls to be beyond."""
    return statuses[key].value if key in statuses else None


def _at(verdict: Verdict, setting: AnalysisSetting) -> dict[str, Any]:
    decided, findings = verdict.at[setting], verdict.findings[setting]
    tiers = {
        arm: {tier.name.lower(): number for tier, number in of_arm.items()}
        for arm, of_arm in verdict.tiers[setting].items()
    }
    return {
        "eps": setting.eps,
        "recovered": setting.recovered,
        "aligned": setting.aligned,
        "percentile": setting.percentile,
        "default": setting == verdict.default,
        "answer": decided.answer.value,
        "decided_by": decided.by,
        "tiers": tiers,
        "statistics": {key: [_finding(finding) for finding in kinds.values()] for key, kinds in findings.items()},
    }


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _finding(finding: Finding) -> dict[str, Any]:
    return {
        "statistic": finding.kind,
        "mean": _number(finding.mean),
        "low": _number(finding.low),
        "high": _number(finding.high),
        "seeds": finding.n,
        "p_above": finding.p_above,
        "p_below": finding.p_below,
        "status": finding.status.value,
        "margin": finding.margin,
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
