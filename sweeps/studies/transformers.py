"""Transformers: what the battery says of one MLP layer of each of some of them, arm by arm, with intervals over seeds.

Arms are those of `toymodels.sweeps.studies.transformer_arms`, compared model by model where they are paired.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from torch import Tensor

from toymodels.hypotheses import in_transformers
from toymodels.hypotheses.arms import MAIN
from toymodels.hypotheses.evidence import OF_ENGAGEMENT, OF_TIERS, Measured
from toymodels.hypotheses.in_transformers import Findings
from toymodels.hypotheses.questions import MARGIN
from toymodels.hypotheses.statistics.findings import Finding
from toymodels.hypotheses.statistics.intervals import Interval, Status, unanimous
from toymodels.hypotheses.tiers import FEWEST_FEATURES, Tiers, settings
from toymodels.metrics.tiers import Tier
from toymodels.sweeps.errors import SpecError
from toymodels.sweeps.store.transformer_files import StoredTransformer
from toymodels.sweeps.studies.reply import Reply, columns_of, estimate, more, said
from toymodels.sweeps.studies.transformer_arms import TransformerArm, arms_of, unpaired
from toymodels.transformers.adapter import NotALayer
from toymodels.transformers.layers import (
    MOST,
    SEQUENCES,
    TransformerLayers,
    of_bigrams,
    of_directions,
    of_latents,
    of_tokens,
)
from toymodels.transformers.training import LENGTH, cross_entropy

KINDS = ("tokens", "bigrams", "latents")
"""the features that a text has by itself"""
SETTINGS = settings(in_transformers.EPS)
DEFAULT = SETTINGS[0]
EVERYWHERE = "wherever the cuts are"
OF_ARMS = (
    "an arm: means over its models, and how many features a model has (a recovered one has R² > .5 by a ridge probe)"
)
OF_PREDICTIONS = "a statistic of an arm, by its own tiers"
BEYOND = "the same of solu + LN minus a LayerNorm-only control, by the tiers of solu + LN"
SHARES = ("affine share", "effective neurons")
"""the numbers of `OF_ARMS` that lie between 0 and 1, beside every R²; none of the others can be below 0 but the
substitution"""
OF_QUESTIONS = "features of a model of solu + LN minus those of another arm"
OF_FEATURES = "a feature of a model"
PROBED = (
    "R² is that of a ridge probe of post, fitted on samples set apart: what could be read there, not what the "
    "transformer reads."
)
UNTUNED = "Whether arms were trained equally well is not known here: look at their cross-entropy before comparing them."
CUTS = (
    f"'{EVERYWHERE}': the status if it is the same with every cut between tiers that is tried (docs/VERDICT.md), "
    "undetermined if not."
)
ONE_EPS = "Every LayerNorm has the eps it was trained with: no claim about LayerNorm was tried at another."
PSEUDO = (
    "Directions are pseudo-features: that they mean something is their giver's word. One is active where what the "
    "layer reads has more of it than in all but 5 % of positions."
)


def answer_transformers(
    models: Sequence[StoredTransformer],
    features: str | Tensor,
    tokens: np.ndarray | None,
    *,
    layer: int = 0,
    most: int = MOST,
    say: Callable[[str], None] = lambda _: None,
) -> tuple[Reply, pd.DataFrame]:
    """What the battery says of one layer, and the table of features.

    ``features`` is one of `KINDS`, or directions [feature, d_model]; ``tokens`` [sequence, position] is the text that
    every model reads, None for the evaluation text of the language it was trained on. Raises `SpecError` where they do
    not go together with the models.
    """
    if isinstance(features, Tensor) and len(models) > 1:
        raise SpecError(
            f"--features: directions are of one model, as no two have the same residual basis, got {len(models)} models"
        )
    arms = arms_of(models)
    texts = {arm.name: [_text(model, tokens) for model in arm.models] for arm in arms}
    measured, names = {}, {}
    for arm in arms:
        say(f"measuring {len(arm.models)} of {arm.name}")
        try:
            layers = _layers(arm, texts[arm.name], features, tokens, layer, most)
            measured[arm.name] = in_transformers.measure(arm.name, layers.host, layers.host.samples)
        except (NotALayer, ValueError) as error:
            raise SpecError(f"{arm.name}: {error}") from None
        names[arm.name] = layers.names
    why_not = unpaired(arms, names)
    entropy = {
        arm.name: [cross_entropy(m.bridge, text) for m, text in zip(arm.models, texts[arm.name], strict=True)]
        for arm in arms
    }
    tiers = in_transformers.tiers_of(measured, DEFAULT)
    tables = {OF_ARMS: pd.DataFrame(_arm_rows(measured, tiers, entropy))}
    asked = {
        OF_PREDICTIONS: in_transformers.own,
        **({BEYOND: in_transformers.beyond, OF_QUESTIONS: in_transformers.questions} if not why_not else {}),
    }
    found = {title: [ask(measured, setting) for setting in SETTINGS] for title, ask in asked.items()}
    tables |= {title: pd.DataFrame(_rows(title, of)) for title, of in found.items() if of[0]}
    questions = found.get(OF_QUESTIONS, [{}])[0]
    kind = features if isinstance(features, str) else "directions"
    question = f"Does SoLU with a LayerNorm put {kind} into neurons of layer {layer}, and is there a second tier?"
    reply = Reply(
        question,
        _sentence(measured, tiers, questions),
        tables,
        tuple(_notes(arms, measured, tiers, features, why_not)),
    )
    return reply, pd.DataFrame(_feature_rows(arms, measured, tiers, names))


def _text(model: StoredTransformer, tokens: np.ndarray | None) -> np.ndarray:
    cfg, option = model.bridge.cfg, "--tokens"
    if tokens is None:
        if model.language is None:
            raise SpecError("--tokens: needed for a model whose configuration names no synthetic language")
        tokens, option = model.language.text(SEQUENCES, LENGTH).tokens, "language"
    if tokens.max() >= cfg.d_vocab or tokens.min() < 0 or not 1 < tokens.shape[1] <= cfg.n_ctx:
        raise SpecError(
            f"{option}: expected tokens from 0 to {cfg.d_vocab - 1} in sequences of 2 to {cfg.n_ctx}, got up to "
            f"{tokens.max()} in sequences of {tokens.shape[1]}"
        )
    return tokens


def _layers(
    arm: TransformerArm,
    texts: Sequence[np.ndarray],
    features: str | Tensor,
    tokens: np.ndarray | None,
    layer: int,
    most: int,
) -> TransformerLayers:
    bridges = [model.bridge for model in arm.models]
    if isinstance(features, Tensor):
        d_model = bridges[0].cfg.d_model
        if features.dim() != 2 or not len(features) or features.shape[1] != d_model:
            raise SpecError(f"--features: expected directions [feature, {d_model}], got {list(features.shape)}")
        return of_directions(bridges, texts, features, layer)
    if features == "latents":
        languages = [model.language for model in arm.models if model.language is not None]
        if tokens is not None or len(languages) < len(bridges):
            raise SpecError("--features latents: needs models of a synthetic language, and no --tokens")
        return of_latents(bridges, languages, layer, SEQUENCES)
    return (of_tokens if features == "tokens" else of_bigrams)(bridges, texts, layer, most)


def _arm_rows(
    arms: Mapping[str, Measured], tiers: Mapping[str, Tiers], entropy: Mapping[str, Sequence[float]]
) -> Iterator[dict[str, Any]]:
    for name, of in arms.items():
        sizes = {f"features in tier {tier.name.lower()}": size.double() for tier, size in tiers[name].sizes.items()}
        numbers = {
            "cross-entropy of the next token, nats": np.array(entropy[name]),
            **of[OF_ENGAGEMENT],
            "loss fraction of the probe": of[OF_TIERS]["loss fraction"],
            "R² of the probe, mean over features": of[OF_TIERS]["r2"].nanmean(1),
            "R² of the best neuron, mean over features": of[OF_TIERS]["alignment"].nanmean(1),
            "features": (of[OF_TIERS]["active"] > 0).sum(1).double(),
            "recovered": (of[OF_TIERS]["r2"] > DEFAULT.recovered).sum(1).double(),
            **sizes,
        }
        for measure, values in numbers.items():
            row: dict[str, Any] = {"arm": name, "measure": measure}
            share = measure in SHARES or measure.startswith("R²")
            least = -math.inf if measure.startswith("affine substitution") else 0.0
            yield row | estimate(np.asarray(values, np.float64), least=least, most=1.0 if share else math.inf)


def _rows(title: str, found: Sequence[Findings]) -> Iterator[dict[str, Any]]:
    """A row a finding at the default setting, and the status that all settings agree on."""
    first = "arm" if title == OF_PREDICTIONS else "minus"
    for arm, key, kind in found[0]:
        each = [of[arm, key, kind] for of in found]
        agreed = unanimous([finding.status for finding in each])
        row = {first: arm, "asked": f"{key} {kind}"} | _columns(each[0])
        yield row | {EVERYWHERE: agreed.value}


def _columns(finding: Finding) -> dict[str, Any]:
    numbers = columns_of(Interval(finding.mean, finding.low, finding.high, finding.n))
    return numbers | {"margin": finding.margin, "status": finding.status.value}


def _feature_rows(
    arms: Sequence[TransformerArm],
    measured: Mapping[str, Measured],
    tiers: Mapping[str, Tiers],
    names: Mapping[str, Sequence[Sequence[str]]],
) -> Iterator[dict[str, Any]]:
    for arm in arms:
        of, each = measured[arm.name][OF_TIERS], tiers[arm.name].each
        for place, model in enumerate(arm.models):
            for feature, called in enumerate(names[arm.name][place]):
                numbers = {name: float(of[name][place, feature]) for name in ("r2", "alignment", "percentile")}
                tier = Tier(int(each[place, feature])).name.lower()
                known = {"arm": arm.name, "seed": model.seed, "feature": called}
                yield known | numbers | {"active": int(of["active"][place, feature]), "tier": tier}


def _engaged(of: Measured) -> str:
    """Whether an arm is engaged, in words that follow its name."""
    found = in_transformers.engaged(of)
    words = {
        Status.SUPPORTED: "engaged",
        Status.NOT_SUPPORTED: "not engaged, so every status of its own is undetermined",
        Status.UNDETERMINED: "not shown to be engaged, so every status of its own is undetermined",
    }
    by_chance = said(estimate(of[OF_ENGAGEMENT][in_transformers.BY_CHANCE].numpy()))
    cost = f"an affine map in its place costs {said(_numbers(found))} of the loss; where W_in is random, {by_chance}"
    return f"{words[found.status]} ({cost})"


def _sentence(arms: Mapping[str, Measured], tiers: Mapping[str, Tiers], questions: Findings) -> str:
    name = MAIN if MAIN in arms else next(iter(arms))
    sizes = {tier: said(estimate(size.double().numpy(), least=0.0), 1) for tier, size in tiers[name].sizes.items()}
    parts = [
        f"{name}: {_engaged(arms[name])}",
        f"{sizes[Tier.NEURON]} features in neurons, {sizes[Tier.HIDDEN]} hidden",
    ]
    for (arm, key, _), finding in questions.items():
        if key == "Q1" and arm in arms:
            count = more(_numbers(finding), 1, "in neurons")
            parts.append(f"{count} than {arm} ({finding.status.value}: the margin is {MARGIN:g})")
    return "; ".join(parts) + "."


def _numbers(finding: Finding) -> dict[str, float | int]:
    return {name: value for name, value in _columns(finding).items() if isinstance(value, int | float)}


def _notes(
    arms: Sequence[TransformerArm],
    measured: Mapping[str, Measured],
    tiers: Mapping[str, Tiers],
    features: str | Tensor,
    why_not: str,
) -> Iterator[str]:
    for name, of in measured.items():
        yield f"{name}: {_engaged(of)}."
        sizes = tiers[name].sizes.items()
        few = [tier.name.lower() for tier, size in sizes if float(size.double().mean()) < FEWEST_FEATURES]
        if few:
            tier = " and in tier ".join(few)
            yield f"{name}: fewer than {FEWEST_FEATURES} features a model in tier {tier}: P2 and P4 compare little."
    if len(arms) > 1 and why_not:
        yield why_not
    yield PROBED
    yield CUTS
    if len(arms) > 1:
        yield UNTUNED
    if any(arm.name.endswith("LN") for arm in arms):
        yield ONE_EPS
    if not isinstance(features, str):
        yield PSEUDO
