"""Asked: everything that is asked of a batch of models about what freezing does, in one pass; a number a model each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import comb

import numpy as np
import torch
from torch import Tensor

from toymodels.activations import GeLU, ReLU
from toymodels.bottleneck import Taps, forward
from toymodels.data import Samples
from toymodels.features import Features
from toymodels.firing import Independent
from toymodels.hosts import Models
from toymodels.hypotheses.linearisation import bits as counted
from toymodels.hypotheses.linearisation import coverage
from toymodels.hypotheses.linearisation.fidelity import by_distance, moved, pair_errors, readout_variance
from toymodels.hypotheses.linearisation.freezing import affine_freeze, freezes
from toymodels.hypotheses.linearisation.levels import Quantised, fewest_levels
from toymodels.hypotheses.linearisation.neighbours import differing, neighbours
from toymodels.hypotheses.linearisation.replaced import replaced
from toymodels.metrics.manipulation import ENGAGED, affine_substitution
from toymodels.metrics.moments import collect
from toymodels.surroundings import undisturbed
from toymodels.training.experiment import importances, sampler, target_of

PAIRS = 1024
LEVELS_ON = 4096
"""samples to fit levels to; as many others judge them"""
CODED = 2**15
"""samples whose codes are counted"""
CHUNK = 2**12
LISTED = 50_000
"""sets of active features that are listed, at most"""
CROWDS = (0, 1, 2, 3, 4, 5)
CANDIDATES = 256
"""affine maps that are chosen from"""
SUITED = 1024
"""samples to which maps are suited, half to choose and half to judge"""
SWITCHED_EDGES = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0, 7.0, 10.0, 15.0])
MOVED_EDGES = torch.tensor([0.0, 0.125, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0])

Numbers = Mapping[tuple[object, ...], np.ndarray]
"""float64 [model] by what it is of."""


@dataclass(frozen=True)
class Answers:
    """What was found of the models of one arm, each a number a model by what it is of."""

    fidelity: Numbers
    """(what is frozen, how x changes, "lost", "explained" or "nearer"); frozen may be "the read-out": y(x0) for y(x)"""
    distance: Numbers
    """share of variance lost, by ("features" or "z", the lower edge of the distance)"""
    replaced: Numbers
    """of GeLU alone"""
    bits: Numbers
    """(of the mask, the scale, the map, which is both, or the active set; measure)"""
    crowd: Numbers
    """(features active, "bits", "active set", or "exact" where cases are listed and none is estimated)"""
    maps: Numbers
    """("met" or "kept", number of maps), and what it takes"""


@undisturbed
def ask(arm: Models) -> Answers:
    """All of it, of models of one structure, run where their parameters are. Raises ``ValueError`` where more than the
    activation multiplies z."""
    b = arm.experiments[0].bottleneck
    if b.top_k or b.gated or b.experts:
        raise ValueError(
            "expected layers whose mask is their activation's alone, got one cut to its largest neurons, "
            "gated or routed"
        )
    quantised = _in_levels(arm)
    mask, scale = _codes(arm, quantised)
    both = mask if scale is None else np.stack([counted.joined(a, b) for a, b in zip(mask, scale, strict=True)])
    fidelity, distance = _frozen(arm)
    return Answers(
        fidelity,
        distance,
        _replaced(arm) if type(arm.experiments[0].bottleneck.activation) is GeLU else {},
        _bits(arm, quantised, {"mask": mask, "map": both} | ({} if scale is None else {"scale": scale})),
        _crowd(arm, quantised, both),
        _maps(arm, both),
    )


def _frozen(arm: Models) -> tuple[Numbers, Numbers]:
    b, p = arm.experiments[0].bottleneck, arm.parameters
    at, near = neighbours(arm.experiments, PAIRS, device=p.W_in.device)
    variance = readout_variance(b, p, torch.cat([at, near["other"]], 2))
    # Switched off or on, as often either: a mask that is shut at x0 and one that is open there fail in different ways.
    even = torch.arange(PAIRS, device=at.device) % 2 == 0
    near["one switched"] = torch.where(even, near["off"], near["on"])
    found: dict[tuple[object, ...], np.ndarray] = {}
    errors: list[Tensor] = []
    for name, what in freezes(b).items():
        for kind, x in near.items():
            pairs = pair_errors(b, p, at, x, what)
            found[name, kind, "lost"] = pairs.lost(variance).cpu().numpy()
            found[name, kind, "explained"] = pairs.explained().cpu().numpy()
            found[name, kind, "nearer"] = pairs.nearer().cpu().numpy()
            found["the read-out", kind, "lost"] = (pairs.change.nanmean(1) / variance).cpu().numpy()
            if name == affine_freeze(b) and kind != "one switched":
                errors.append(pairs.error / variance[:, None])
    apart = [x for kind, x in near.items() if kind != "one switched"]
    curves: dict[tuple[object, ...], np.ndarray] = {}
    far = {
        "features": (errors[-1], differing(at, near["other"]).double(), SWITCHED_EDGES),
        "z": (torch.cat(errors, 1), torch.cat([moved(b, p, at, x) for x in apart], 1), MOVED_EDGES),
    }
    for by, (error, distance, edges) in far.items():
        for edge, value in zip(edges.tolist(), by_distance(error, distance, edges).T, strict=False):
            curves[by, edge] = value.cpu().numpy()
    return found, curves


def _replaced(arm: Models) -> Numbers:
    of = replaced(arm, ReLU())
    does = affine_substitution(arm, collect(arm, 2**14))
    return {
        ("added",): of.added.numpy(),
        ("added, refitted",): of.refitted.numpy(),
        ("kept of mid",): of.kept.numpy(),
        # Both by refitted read-outs. Of a layer that is all but affine there is nothing to keep: undefined.
        ("kept of what it does, refitted",): torch.where(does > ENGAGED, 1 - of.refitted / does, torch.nan).numpy(),
    }


def _in_levels(arm: Models) -> Quantised:
    first, target = arm.experiments[0], target_of(arm.experiments)
    importance = torch.from_numpy(importances(arm.experiments)).to(arm.parameters.W_in.device)
    x = _data(arm).evaluation(0, 2 * LEVELS_ON)
    judged = x[:, :, LEVELS_ON:].to(arm.parameters.W_in)
    t = target(judged)

    def loss(run: Callable[[Tensor], Taps]) -> Tensor:
        return (first.cost(t, run(judged).out).double().mean(2) * importance).sum(1)

    return fewest_levels(first.bottleneck, arm.parameters, x[:, :, :LEVELS_ON], loss)


def _codes(arm: Models, quantised: Quantised) -> tuple[np.ndarray, np.ndarray | None]:
    """Digests of `CODED` examples: of masks, and of scales, [model, sample]."""
    data, found = _data(arm), []
    for first in range(0, CODED, CHUNK):
        found.append(quantised.codes(arm.experiments[0].bottleneck, arm.parameters, data.evaluation(first, CHUNK)))
    mask = np.concatenate([counted.digests(each) for each, _ in found], 1)
    scale = [counted.digests(each) for _, each in found if each is not None]
    return mask, np.concatenate(scale, 1) if scale else None


def _bits(arm: Models, quantised: Quantised, codes: Mapping[str, np.ndarray]) -> Numbers:
    data = _data(arm)
    active = [counted.digests((data.evaluation(k, CHUNK) != 0).long()) for k in range(0, CODED, CHUNK)]
    found: dict[tuple[object, ...], np.ndarray] = {
        ("mask", "levels"): quantised.mask.count.double().cpu().numpy(),
        ("mask", "rise"): quantised.mask_rise.cpu().numpy(),
        ("mask", "rise of two levels"): quantised.binary_rise.cpu().numpy(),
    }
    if quantised.scale is not None and quantised.scale_rise is not None:
        found["scale", "levels"] = quantised.scale.count.double().cpu().numpy()
        found["scale", "rise"] = quantised.scale_rise.cpu().numpy()
    for of, each in {**codes, "active set": np.concatenate(active, 1)}.items():
        growing = [counted.growing(row) for row in each]
        for place, part in enumerate(("at a quarter", "at a half", "bits")):
            found[of, part] = np.array([three[place].corrected for three in growing])
        found[of, "plug-in"] = np.array([whole.plug_in for *_, whole in growing])
        found[of, "distinct"] = np.array([float(whole.distinct) for *_, whole in growing])
        found[of, "unseen"] = np.array([whole.unseen for *_, whole in growing])
        found[of, "saturated"] = np.array([float(counted.saturated(three)) for three in growing])
    if _independent(arm):
        exact = np.array([counted.independent_bits(e.features.probabilities()) for e in arm.experiments])
        found["active set, exact", "bits"] = exact
        if _binary(arm):
            for of in codes:
                found[of, "at most"] = exact - (found["active set", "plug-in"] - found[of, "plug-in"])
    return found


def _crowd(arm: Models, quantised: Quantised, codes: np.ndarray) -> Numbers:
    """Bits of the map given how many features are active: listed for independent binary features, else estimated."""
    found: dict[tuple[object, ...], np.ndarray] = {}
    e, models = arm.experiments[0], range(len(arm))
    data = _data(arm)
    size = torch.cat([(data.evaluation(k, CHUNK) != 0).sum(1) for k in range(0, CODED, CHUNK)], 1).cpu().numpy()
    for active in CROWDS:
        if _binary(arm) and _independent(arm) and comb(e.features.n, active) <= LISTED:
            p = [each.features.probabilities() for each in arm.experiments]
            x, _ = counted.active_sets(p[0], active)
            whole = _of_map(arm, quantised, torch.from_numpy(x))
            odds = [counted.active_sets(each, active)[1] for each in p]
            found[active, "bits"] = np.array([counted.listed_bits(whole[k], odds[k]) for k in models])
            found[active, "active set"] = np.array([counted.entropy(each) for each in odds])
            found[active, "exact"] = np.ones(len(arm))
            continue
        given = [counted.growing(codes[k][size[k] == active]) for k in models]
        enough = [three[-1].samples >= 100 and counted.saturated(three) for three in given]
        found[active, "bits"] = np.where(enough, [three[-1].corrected for three in given], np.nan)
        found[active, "exact"] = np.zeros(len(arm))
    return found


def _of_map(arm: Models, quantised: Quantised, x: Tensor) -> np.ndarray:
    """Digests of the maps of the same examples x [feature, case], [model, case]."""
    parts = []
    for first in range(0, x.shape[1], CHUNK):
        each = x[:, first : first + CHUNK].expand(len(arm), -1, -1)
        mask, scale = quantised.codes(arm.experiments[0].bottleneck, arm.parameters, each)
        digests = counted.digests(mask)
        parts.append(digests if scale is None else counted.joined(digests, counted.digests(scale)))
    return np.concatenate(parts, 1)


def _maps(arm: Models, codes: np.ndarray) -> Numbers:
    """What the most common masks meet, and what the best maps keep."""
    b = arm.experiments[0].bottleneck
    x = _data(arm).evaluation(0, CODED)
    first = CODED - SUITED  # the candidates are the most common masks, which come early
    numbers: dict[tuple[object, ...], list[float]] = {}
    for k in range(len(arm)):
        p, own, suited = arm.parameters[k : k + 1], x[k : k + 1].to(arm.parameters.W_in), x[k : k + 1, :, first:]
        candidates = torch.from_numpy(coverage.most_common(codes[k, :first], CANDIDATES)).to(x.device)
        # Maps are chosen one by one, and affine ones fitted by singular values: on the CPU.
        errors = coverage.map_errors(b, p, own[:, :, candidates], suited)[0].cpu()
        y = forward(b, p, suited.to(own)).readout[0].cpu()
        half = SUITED // 2
        shares = coverage.kept(errors[:, half:], y[:, half:], coverage.greedy(errors[:, :half]))
        met = coverage.met(codes[k])
        whole = forward(b, p, own).readout[0].cpu()
        said = {("to meet", 0): coverage.fewest(met), ("to keep", 0): coverage.fewest(shares)}
        affine = coverage.kept_affine(own[0, :, : 2 * LEVELS_ON].cpu(), whole[:, : 2 * LEVELS_ON], LEVELS_ON)
        said |= {("affine", 0): affine, ("to match it", 0): coverage.fewest(shares, affine)}
        for many in (2**power for power in range(CANDIDATES.bit_length())):
            said["met", many] = float(met[min(many, len(met)) - 1])
            said["kept", many] = float(shares[min(many, len(shares)) - 1])
        for key, value in said.items():
            numbers.setdefault(key, []).append(value)
    return {key: np.array(values) for key, values in numbers.items()}


def _data(arm: Models) -> Samples:
    """The arm's own examples, on the device of its parameters."""
    return sampler(arm.experiments, arm.parameters.W_in.device)


def _independent(arm: Models) -> bool:
    return all(isinstance(e.features, Features) and type(e.features.firing) is Independent for e in arm.experiments)


def _binary(arm: Models) -> bool:
    """Whether an active set leaves nothing open."""
    features = arm.experiments[0].features
    return isinstance(features, Features) and features.values.binary and not features.signed
