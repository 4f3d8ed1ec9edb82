"""The proofs: the battery put to models whose answer is known, a line each as they are judged."""

from __future__ import annotations

from toymodels.hypotheses.proving import Proof, prove
from toymodels.sweeps.console import documents
from toymodels.sweeps.console.door import fail

SHOWN = ("P1", "P2", "P3", "P4")
"""the predictions whose answers a line has room for"""


def say_proofs(as_json: bool) -> None:
    """Print each truth beside the verdict; leave with exit code 1 where the battery gets one wrong."""
    proofs: list[Proof] = []
    for proof in prove():
        proofs.append(proof)
        if not as_json:
            print(line(proof), flush=True)
    wrong = sum(not proof.right for proof in proofs)
    if as_json:
        documents.print_document(documents.of_proofs(proofs))
    else:
        print(f"{len(proofs) - wrong} of {len(proofs)} right")
    if wrong:
        fail(f"the battery gets {wrong} of {len(proofs)} controls wrong: its verdicts do not count", 1)


def line(proof: Proof) -> str:
    """One construction: its name and sizes, the truth, the verdict and what the first predictions say."""
    said = documents.of_proof(proof)
    four = " ".join(f"{key} {said['predictions'][key]}" for key in SHOWN)
    begins = f"{said['construction']:30}{said['neurons']:3} neurons  {said['values']:8} truth: {said['truth']:10}"
    return f"{begins} verdict: {said['verdict']:13} {'right' if proof.right else 'WRONG'}  ({four})"
