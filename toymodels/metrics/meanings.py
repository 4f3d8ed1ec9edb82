"""Meanings: what each measured column is, and in which unit. The tables carry them; docs/RUNS.md is written of them.

A unit is what one counts in (``features``, ``examples``), the range of a share or a percentile, or ``1`` of a plain
number. ``loss`` is the unit of the training loss: of a squared error importance times the square of what is said.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from toymodels.engines.moment_table import TAPS


@dataclass(frozen=True)
class Meaning:
    """What a column of a table is."""

    unit: str
    says: str
    """in one sentence that a stranger understands alone"""


SHARE, PERCENTILE, TRUTH, NUMBER, LOSS = "0 to 1", "percentile, 0 to 100", "true or false", "1", "loss"
AT = {"pre": "before the activation", "mid": "after the activation", "post": "after the LayerNorm, or mid without one"}
"""Where each tap of the hidden layer lies."""


def _at_taps(name: str, unit: str, says: str) -> dict[str, Meaning]:
    """A column for each tap of the hidden layer, whose meaning names the tap."""
    return {f"{name}_{tap}": Meaning(unit, says.format(tap=f"{tap} ({AT[tap]})")) for tap in TAPS}


def _said(what: str) -> dict[str, Meaning]:
    """What the model, its neurons and a probe say of each feature, or each target."""
    return {
        "r2": Meaning(
            "R²", f"share of the variance of the {what} that the model's output explains; below 0 it adds some"
        ),
        **_at_taps("best_neuron_r2", SHARE, f"R² of the best affine function of one neuron at {{tap}}, of the {what}"),
        "best_neuron_r2_post_percentile": Meaning(
            PERCENTILE,
            "of best_neuron_r2_post among what the best neuron says in 200 random rotations of the hidden basis (the "
            "first 4,096 samples)",
        ),
        "best_neuron_auroc": Meaning(
            SHARE,
            f"how well the best neuron at post tells the examples in which the {what} is active from the others: area "
            "under the ROC curve, or one less it where the neuron is turned down (first 8,192 samples; binary targets)",
        ),
        **_at_taps(
            "ridge_r2",
            "R²",
            f"R² of an affine read-out of the whole tap {{tap}}, of the {what}: ridge, fitted on two folds of the "
            "samples, its penalty chosen on a third, judged on the fourth, each in turn",
        ),
        "hiddenness": Meaning("R²", "ridge_r2_mid less best_neuron_r2_mid: what the layer says that no neuron does"),
        "dead": Meaning(TRUTH, f"whether the output that should say the {what} does not move"),
    }


FEATURES: Mapping[str, Meaning] = {
    "density": Meaning("probability", "P_i, how often the feature is active"),
    "importance": Meaning(NUMBER, "I_i, the weight of the feature in the loss"),
    "norm": Meaning(NUMBER, "|W_i|, the length of the feature's column of W_in (or of W_in E)"),
    "interference": Meaning(
        NUMBER, "sum over j other than i of (Ŵ_i · W_j)², the other features along this one's direction"
    ),
    "dimensionality": Meaning(
        "dimensions", "D_i = |W_i|² / sum_j (Ŵ_i · W_j)², the share of a dimension that the feature has to itself"
    ),
    "weight_alignment": Meaning(SHARE, "max_k |W_ki| / |W_i|: 1 where the feature's direction is a single neuron's"),
    "response_alignment": Meaning(
        SHARE, "largest share of one neuron in the sizes of all neurons' responses at mid to the feature alone"
    ),
    "participation_ratio": Meaning("neurons", "how many neurons respond at mid to the feature alone, in effect"),
    "active_examples": Meaning("examples", "how many of the evaluation's samples have the feature active"),
    "undersampled": Meaning(TRUTH, "whether active_examples are fewer than 200"),
    "weight_alignment_percentile": Meaning(
        PERCENTILE, "of weight_alignment among the feature's own in 200 random rotations of the hidden basis"
    ),
    "response_alignment_percentile": Meaning(
        PERCENTILE, "of response_alignment among the feature's own in 200 random rotations of the hidden basis"
    ),
    "participation_ratio_percentile": Meaning(
        PERCENTILE, "of participation_ratio among the feature's own in 200 random rotations of the hidden basis"
    ),
    **_said("feature"),
    "r2_ungated": Meaning("R²", "r2 on the samples in which no other feature of tier neuron is active"),
    "ungated_examples": Meaning(
        "examples", "how many samples have the feature active, and no other feature of tier neuron"
    ),
    "tier": Meaning(
        "word",
        "neuron (r2 > .5, best_neuron_r2_post > .5 and its percentile above 99), hidden (not so, and r2_ungated > .5) "
        "or lost",
    ),
}
"""The measured columns of the table of features."""

NEURONS: Mapping[str, Meaning] = {
    "monosemanticity": Meaning(
        SHARE, "largest share of one feature in the sizes of the neuron's responses to each alone"
    ),
    "main_feature": Meaning("index", "the feature that moves the neuron most"),
    "dead": Meaning(TRUTH, "whether no feature moves the neuron, with either sign"),
}
"""The measured columns of the table of neurons."""

TARGETS: Mapping[str, Meaning] = {
    "first": Meaning("index", "feature i of the pair, i < j, which a model's seed draws"),
    "second": Meaning("index", "feature j of the pair"),
    "density": Meaning("probability", "P(both features are active)"),
    "importance": Meaning(NUMBER, "the weight of the target in the loss: the geometric mean of its features'"),
    **_said("target"),
    "best_neuron": Meaning("index", "the neuron of best_neuron_r2_post"),
}
"""The measured columns of the table of targets."""

MODELS: Mapping[str, Meaning] = {
    "loss": Meaning(LOSS, "sum_i I_i E (t_i - y_i)² on fresh data, or of another task.loss"),
    "loss_error": Meaning(
        LOSS,
        "the standard error of loss: of many equal models the best looks better than it is by one or two of these",
    ),
    "loss_fraction": Meaning(
        "of the best constant's loss",
        "loss / sum_i I_i Var(t_i): 1 is the best constant predictor; of another loss the denominator is its least "
        "mean over constants, of a cross-entropy the entropies",
    ),
    "loss_exact": Meaning(
        LOSS, "the population loss, where it is a small sum or an integral of at most three dimensions"
    ),
    "loss_exact_error": Meaning(LOSS, "an estimate of the numerical error of loss_exact"),
    "features_recovered": Meaning("features", "features with r2 > .5"),
    "targets_recovered": Meaning("targets", "targets with r2 > .5, where targets are not features"),
    **_at_taps(
        "best_neuron_recovered", "features", "features (or targets) that one neuron at {tap} predicts with R² > .5"
    ),
    **_at_taps(
        "ridge_recovered",
        "features",
        "features (or targets) that an affine read-out of the whole tap {tap} predicts with R² > .5",
    ),
    "features_neuron": Meaning("features", "features of tier neuron"),
    "features_hidden": Meaning("features", "features of tier hidden"),
    "features_lost": Meaning("features", "features of tier lost"),
    "dead_features": Meaning("features", "features whose output does not move"),
    "dead_targets": Meaning("targets", "targets whose output does not move, where targets are not features"),
    "dead_neurons": Meaning("neurons", "neurons that no feature moves, with either sign"),
    "dimensionality_sum": Meaning("dimensions", "sum_i D_i, at most the smaller of features and neurons"),
    "coherence": Meaning(
        SHARE,
        "largest |cosine| between columns of W_in; of columns about their mean over neurons where a linear activation "
        "is followed by a LayerNorm",
    ),
    "welch_gap": Meaning(NUMBER, "coherence less Welch's bound, the least that so many columns can have"),
    "unexplained_by_affine": Meaning(
        SHARE,
        "share of act(z)'s variance that no affine map of z explains: how far from linear the layer is; before a "
        "LayerNorm of act(z) about its mean over neurons",
    ),
    "effective_neurons": Meaning(
        "of the neurons, 0 to 1",
        "the share of the neurons that softmax(z) spreads over, whatever the activation: mean over inputs that are not "
        "empty of exp of its entropy / m (the first 8,192 samples); 1 makes SoLU z / m, 1/m is one neuron at a time",
    ),
    "affine_substitution": Meaning(
        "of the best constant's loss",
        "by how much the loss fraction grows when act(z) becomes its best affine map of z, LayerNorm kept and the "
        "read-outs of both refitted; up to .05 the activation does nothing that matters here",
    ),
}
"""The measured columns of the table of models."""

MEANINGS: Mapping[str, Mapping[str, Meaning]] = {
    "models": MODELS,
    "features": FEATURES,
    "neurons": NEURONS,
    "targets": TARGETS,
}
"""The measured columns of every table."""
