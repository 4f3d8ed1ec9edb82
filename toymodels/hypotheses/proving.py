"""Proving: the battery on constructed models whose answer is known, before its verdict on others counts.

Not every construction in every variant: each construction as it is, with the LN-only counterparts that say whether SoLU
*adds* tiers; the one with two tiers in every variant; and each variant of two others. Values are binary, as in the
regime that is judged. Under U(0,1) LayerNorm erases a lone feature's amplitude, but for what its eps leaves: there the
answer of most constructions changes with eps, and only those stand here whose truth has nothing to do with amplitude.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from toymodels.hypotheses.answers import Answer
from toymodels.hypotheses.battery import judge, statistics
from toymodels.hypotheses.constructed import CONSTRUCTIONS, LAYER_NORM_EPS, VARIANTS, Construction, regime
from toymodels.hypotheses.measuring import gather
from toymodels.hypotheses.side_by_side import each
from toymodels.hypotheses.statistics.intervals import Status
from toymodels.surroundings import undisturbed
from toymodels.values import VALUES, Binary, UniformValues

SIZES = (24, 32, 40)
"""The numbers of neurons of constructed models, one construction after another."""
SEEDS = tuple(range(3000, 3012))
"""Twelve: "most models have three or more" then needs ten of them."""
SAMPLES = 40_960
"""Evaluation samples of a proof: half of them show every feature, of density .01, some 200 times."""
WITHOUT_AMPLITUDE = ("all superposed", "amplitudes without alignment", "bimodal without LN", "doubled code")
"""The constructions that are put to the battery with values U(0,1) as well."""
BY_NAME = {construction.name: construction for construction in CONSTRUCTIONS}
VARIANT_BY_NAME = {variant.name: variant for variant in VARIANTS}


@dataclass(frozen=True)
class Control:
    """A constructed model to be put to the battery, by names."""

    construction: str
    variant: str
    hidden: int
    values: str = Binary.name
    counterparts: bool = False
    seeds: tuple[int, ...] = SEEDS
    samples: int = SAMPLES

    @property
    def of(self) -> Construction:
        """How it is constructed."""
        return BY_NAME[self.construction]


@dataclass(frozen=True)
class Proof:
    """What the battery says of a control."""

    control: Control
    answer: Answer
    decided_by: str
    adds: Status
    predictions: Mapping[str, Status]

    @property
    def right(self) -> bool:
        """Whether the answer is among the true ones; of two tiers also, where it was asked, that SoLU adds them."""
        added = self.answer is not Answer.TWO_TIERS or not self.control.counterparts or self.adds is Status.SUPPORTED
        return self.answer in self.control.of.truth and added


def controls(*, short: bool = False) -> list[Control]:
    """The constructed models that are put to the battery; ``short``: each construction once, by itself."""
    plain, *others = (variant.name for variant in VARIANTS)
    first, *rest = BY_NAME
    sizes = {name: SIZES[place % len(SIZES)] for place, name in enumerate(BY_NAME)}
    if short:
        return [Control(name, plain, SIZES[0], samples=SAMPLES // 2) for name in BY_NAME]
    found = [Control(name, plain, size, counterparts=True) for name, size in sizes.items()]
    for place, variant in enumerate(others):
        pair = (rest[2 * place % len(rest)], rest[(2 * place + 1) % len(rest)])
        found += [Control(name, variant, sizes[name]) for name in (first, *pair)]
    return found + [Control(name, plain, sizes[name], UniformValues.name) for name in WITHOUT_AMPLITUDE]


def prove(of: Sequence[Control], processes: int | None = None) -> Iterator[Proof]:
    """The verdict on each control, over all settings of the analysis at three eps; see `each` for ``processes``."""
    yield from each(proof, of, processes)


@undisturbed
def proof(control: Control) -> Proof:
    """The verdict on one control."""
    of_eps = []
    for eps in LAYER_NORM_EPS:
        models = regime(
            control.of,
            control.hidden,
            VALUES[control.values],
            control.seeds,
            eps,
            VARIANT_BY_NAME[control.variant],
            counterparts=control.counterparts,
        )
        of_eps.append(statistics(gather(models, eps, control.samples)))
    (verdict,) = judge(of_eps)
    return Proof(control, verdict.answer, verdict.decided_by, verdict.adds, verdict.predictions)
