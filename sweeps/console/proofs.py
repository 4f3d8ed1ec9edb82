"""The proofs: the battery put to models whose answer is known, a line each as they are judged.

Constructed models first, then models with two tiers planted in them by degrees, in the regime that is judged.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from toymodels.hypotheses.answers import Answer
from toymodels.hypotheses.power import SHORT, PowerPlan, PowerPoint, PowerTable, power
from toymodels.hypotheses.proving import Proof, controls, prove
from toymodels.sweeps.console import documents
from toymodels.sweeps.console.door import fail
from toymodels.sweeps.store import atomic
from toymodels.sweeps.store.rights import unwritable

POWER = "power.json"
"""The file of the power table, in the folder of ``--out``."""


@dataclass(frozen=True)
class Proved:
    """What the battery says of models whose answer is known."""

    proofs: Sequence[Proof]
    power: PowerTable

    def leave(self, drawn: Sequence[Path] = ()) -> None:
        """Print the names of the files ``drawn``; end with exit code 1 where a control is wrong or a false answer too
        frequent."""
        for path in drawn:
            print(path)
        wrong = sum(not proof.right for proof in self.proofs)
        said = [f"{wrong} of {len(self.proofs)} controls are wrong"] if wrong else []
        said += [
            f"{name}: {rate:.3f}, {most:g} at most" for name, (rate, most) in self.power.rates.items() if rate > most
        ]
        if said:
            fail(f"the battery's verdicts do not count: {'; '.join(said)}", 1)


def say_proofs(as_json: bool, *, short: bool = False, out: Path | None = None) -> Proved:
    """Print each truth beside the answer, and how often planted models have which; write `POWER` into ``out``."""
    plan, proofs, points = SHORT if short else PowerPlan(), [], []
    if out is not None:
        _folder(out)
    for proof in prove(controls(short=short)):
        proofs.append(proof)
        if not as_json:
            print(line(proof), flush=True)
    if not as_json:
        print(f"{sum(proof.right for proof in proofs)} of {len(proofs)} right\n\n{heading(plan)}", flush=True)
    for point in power(plan):
        points.append(point)
        if not as_json:
            print(row(point), flush=True)
    proved = Proved(proofs, PowerTable(plan, tuple(points)))
    if as_json:
        documents.print_document(documents.of_proofs(proofs, proved.power))
    else:
        for name, (rate, most) in proved.power.rates.items():
            print(f"{name}: {rate:.1%} ({most:.1%} at most) {'right' if rate <= most else 'WRONG'}")
    if out is not None:
        text = json.dumps(documents.of_power(proved.power), indent=2)
        try:
            atomic.write(out / POWER, text.encode())
        except OSError as error:
            raise unwritable(out / POWER, error) from None
    return proved


def _folder(out: Path) -> None:
    """Make the folder before the work of minutes, not after it."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(out, error) from None


def line(proof: Proof) -> str:
    """One construction: its name, variant and sizes, the truth, the answer and what decided it."""
    control = proof.control
    what = f"{control.construction}, {control.variant}"
    truth = " or ".join(answer.value for answer in control.of.truth)
    begins = f"{what:50}{control.hidden:3} neurons  {control.values:8} truth: {truth:32}"
    adds = f"; SoLU adds them: {proof.adds.value}" if control.counterparts and proof.answer is Answer.TWO_TIERS else ""
    return f"{begins} answer: {proof.answer.value:15} {'right' if proof.right else 'WRONG'}  ({proof.decided_by}{adds})"


def heading(plan: PowerPlan) -> str:
    """What the lines of the power table are of, and its columns."""
    answers = "".join(f"{answer.value:>16}" for answer in Answer)
    return (
        f"Two tiers planted in {len(plan.pool)} models of the primary regime: share of each answer, of {plan.draws} "
        f"verdicts on {plan.seeds} of them\n  K  strength{answers}  in neurons  hidden"
    )


def row(point: PowerPoint) -> str:
    """The share of every answer, the mean size of the tiers, and what decided most often."""
    shares = "".join(f"{point.share(answer):>16.0%}" for answer in Answer)
    sizes = "".join(f"{size:>{width}.1f}" for size, width in zip(point.features.values(), (12, 8), strict=True))
    rotated = "  rotated" if point.turned else ""
    return f"{point.aligned:3}{point.strength:10.2f}{shares}{sizes}{rotated}  {point.decided_by}"
