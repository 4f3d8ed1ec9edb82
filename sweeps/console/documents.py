"""The documents: what every command prints for ``--json``, one function each. Their keys are documented in the docs."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

    from toymodels.hypotheses.power import PowerPoint, PowerTable
    from toymodels.hypotheses.proving import Proof
    from toymodels.sweeps.console.standing import Standing
    from toymodels.sweeps.execution.estimate import Estimate
    from toymodels.sweeps.execution.run import Outcome
    from toymodels.sweeps.results.scoring import ScoredRun
    from toymodels.sweeps.results.summary import ArmSummary
    from toymodels.sweeps.spec.shipped import Shipped
    from toymodels.sweeps.spec.tune import Chosen, Tuning
    from toymodels.sweeps.store.locks import Shard
    from toymodels.sweeps.studies.judgements import Judgements

Document = dict[str, Any]


def print_document(document: Mapping[str, Any]) -> None:
    """Print a document on stdout, as the only thing there."""
    print(json.dumps(document, indent=2))


def of_arm(arm: ArmSummary) -> Document:
    """One arm of a sweep: its settings, its models, whether its activation does nothing, and its mean measures."""
    measures = {
        name: None if value is None else {"mean": value.mean, "half_width_95": value.half_width, "n": value.n}
        for name, value in arm.measures.items()
    }
    return {
        "settings": arm.settings,
        "models": arm.models,
        "diverged": arm.diverged,
        "does_nothing": arm.does_nothing,
        "measures": measures,
    }


def of_sweep(
    folder: Path,
    outcome: Outcome,
    figures: Sequence[Path],
    arms: Sequence[ArmSummary],
    notes: Sequence[str],
    tuning: Tuning | None = None,
) -> Document:
    """How ``toymodels sweep`` ended; of a tuned sweep also what was chosen for each arm."""
    chosen = {} if tuning is None else {"tuned": [of_choice(choice) for choice in tuning.chosen]}
    return {
        "folder": str(folder),
        "models": outcome.models,
        "trained": outcome.trained,
        "diverged": outcome.diverged,
        "failed": _failed(outcome),
        "figures": [str(path) for path in figures],
        "arms": [of_arm(arm) for arm in arms],
        "notes": list(notes),
        **chosen,
    }


def of_choice(choice: Chosen) -> Document:
    """What was chosen for one arm of a tuned sweep; its loss fraction, and how many others came
    near, are null where every candidate diverged.
    """
    return {
        "arm": dict(choice.arm),
        "settings": dict(choice.settings),
        "loss_fraction": choice.loss_fraction,
        "candidates": choice.candidates,
        "near": choice.near,
    }


def of_shard(shard: Shard, packs: int, folder: Path, outcome: Outcome) -> Document:
    """How one shard of a sweep of so many packs ended."""
    return {
        "folder": str(folder),
        "shard": str(shard),
        "models": outcome.models,
        "trained": outcome.trained,
        "diverged": outcome.diverged,
        "packs": packs,
        "packs_missing": outcome.missing,
        "failed": _failed(outcome),
    }


def of_estimate(sweep: str, estimate: Estimate, tuning: Estimate | None = None) -> Document:
    """What a sweep will take, as ``--dry-run`` says it, and what its ``tuning`` will before it."""
    first = {} if tuning is None else {"tuning": _of_part(tuning)}
    return {"sweep": sweep, **_of_part(estimate), **first}


def _of_part(estimate: Estimate) -> Document:
    """An estimate, its seconds as null where they cannot be told."""
    said = dataclasses.asdict(estimate).items()
    return {name: None if isinstance(value, float) and math.isnan(value) else value for name, value in said}


def of_summary(folder: Path, question: str, arms: Sequence[ArmSummary], notes: Sequence[str]) -> Document:
    """The summary table of a run, which ``toymodels show`` prints, and the sentences under it."""
    return {
        "folder": str(folder),
        "question": question,
        "arms": [of_arm(arm) for arm in arms],
        "notes": list(notes),
    }


def of_tables(folder: Path, packs: int, packs_done: int) -> Document:
    """What ``toymodels tables`` has rebuilt the tables from: so many of the planned packs."""
    return {"folder": str(folder), "packs": packs, "packs_done": packs_done}


def of_shipped(
    sweeps: Mapping[str, Shipped], hosts: Sequence[str], studies: Sequence[str], figures: Sequence[str]
) -> Document:
    """The shipped sweeps, the frozen hosts, the studies and the figures, which ``toymodels list`` prints."""
    rows = [{"name": name, "models": sweep.models, "question": sweep.question} for name, sweep in sweeps.items()]
    return {"sweeps": rows, "hosts": list(hosts), "studies": list(studies), "figures": list(figures)}


def of_standing(standing: Standing) -> Document:
    """Where a run stands, which ``toymodels status`` prints, and all that its manifest says."""
    said = {
        "folder": str(standing.folder),
        "packs_done": standing.packs_done,
        "packs_failed": standing.packs_failed,
        "packs_a_minute": standing.packs_a_minute,
        "in_use_by": standing.in_use_by,
        "next": standing.following,
    }
    part = {"part": standing.part} if standing.part else {}
    return said | part | standing.manifest.document()


def of_proofs(proofs: Sequence[Proof], power: PowerTable) -> Document:
    """The battery's answers on models whose answer is known, and how many of them are wrong; its answers on planted
    models; and whether all of it is as it must be."""
    wrong = sum(not proof.right for proof in proofs)
    return {
        "controls": [of_proof(proof) for proof in proofs],
        "wrong": wrong,
        "power": of_power(power),
        "right": not wrong and power.right,
    }


def of_proof(proof: Proof) -> Document:
    """The battery's answer on one construction, beside the truth: the answers that are right about it, and why."""
    control = proof.control
    return {
        "construction": control.construction,
        "variant": control.variant,
        "neurons": control.hidden,
        "values": control.values,
        "truth": [answer.value for answer in control.of.truth],
        "why": control.of.why,
        "answer": proof.answer.value,
        "decided_by": proof.decided_by,
        "adds": proof.adds.value if control.counterparts else None,
        "right": proof.right,
        "predictions": {key: status.value for key, status in proof.predictions.items()},
    }


def of_power(power: PowerTable) -> Document:
    """The answers on two tiers planted by degrees: a point each K, strength and whether z is rotated, with the share of
    every answer; and each rate of false answers with the largest that is allowed."""
    return {
        "pool": len(power.plan.pool),
        "seeds": power.plan.seeds,
        "permutations": power.plan.permutations,
        "points": [_of_point(point) for point in power.points],
        "rates": {name: {"rate": rate, "most": most} for name, (rate, most) in power.rates.items()},
        "right": power.right,
    }


def _of_point(point: PowerPoint) -> Document:
    draws = sum(point.answers.values())
    return {
        "aligned": point.aligned,
        "strength": point.strength,
        "rotated": point.turned,
        "draws": draws,
        "answers": {answer.value: count / draws for answer, count in point.answers.items()},
        "features": {tier.name.lower(): mean for tier, mean in point.features.items()},
        "decided_by": point.decided_by,
        "permuted": dict(point.permuted),
    }


def of_scores(folder: Path, tap: str, samples: int, scored: ScoredRun, means: pd.DataFrame) -> Document:
    """The scores of a run's dictionaries: tables as rows, by model, by model and tier, by model and feature, and the
    ``means`` over seeds."""
    tables = {"models": scored.models, "tiers": scored.tiers, "features": scored.features, "means": means}
    rows = {name: _rows(table) for name, table in tables.items()}
    return {"folder": str(folder), "tap": tap, "samples": samples, **rows, "notes": list(scored.notes)}


def of_judgements(folder: Path, held: Judgements, tables: Sequence[pd.DataFrame]) -> Document:
    """How far a person is with a blinded test and, when all is judged, the ``tables`` of what came of it: the arms'
    scores, and the agreement with the rule."""
    known = {"folder": str(folder), "judge": held.judge, "judged": held.judged, "neurons": len(held.verdicts)}
    return known | dict(zip(("arms", "agreement"), map(_rows, tables), strict=False))


def of_files(paths: Sequence[Path]) -> Document:
    """The files that a command has written."""
    return {"files": [str(path) for path in paths]}


def of_cleared(folders: Sequence[Path]) -> Document:
    """The folders of compiled kernels that ``toymodels doctor --clear-cache`` has removed."""
    return {"cleared": [str(folder) for folder in folders]}


def _rows(table: pd.DataFrame) -> list[Document]:
    """The rows of a table, what is undefined as null."""
    return json.loads(table.to_json(orient="records", double_precision=15))


def _failed(outcome: Outcome) -> dict[str, str]:
    """Why each pack failed that did, by its number."""
    return {str(pack): reason for pack, reason in outcome.failed.items()}
