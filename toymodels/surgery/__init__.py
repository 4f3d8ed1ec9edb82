"""Surgery: trained models run with interventions on the forward pass, all models of a batch at once.

    pre  z = W_in x + b_in                      [model, hidden, batch]      x and the parameters may be changed before
    mid  a = act(z)                             [model, hidden, batch]      act replaced; then a changed
    post h = gain (a - mean) scale + bias       [model, hidden, batch]      mean, scale of LN replaced; or h = a
    read-out = W_out h + b_out                  [model, feature, batch]

An intervention is an object with one hook a place; each place sees the interventions in the order given. Freezing what
depends on x leaves a simpler map which agrees with the model at the point of freezing: with its mask m(z0) frozen the
hidden layer a = m(z0) z is linear, with mean and scale frozen LayerNorm is affine, with both the read-out is affine in
x (as attention is with its pattern frozen: Elhage et al. 2021, *A Mathematical Framework for Transformer Circuits*).
What only works through LayerNorm's rescaling is lost when its scale is held constant (Elhage et al. 2022, *Softmax
Linear Units*, ask this of features smuggled through in small activations); two such constants are found here.
"""

from __future__ import annotations

from toymodels.surgery.interventions import (
    FrozenMask,
    FrozenNorm,
    Intervention,
    KeepLargest,
    OnlyNeurons,
    Rotated,
    Switched,
    Threshold,
    WithoutNorm,
)
from toymodels.surgery.operating import norm_statistics, operate
from toymodels.surgery.refitting import refit
from toymodels.surgery.scales import geometric_mean_scale, loss_optimal_scale

__all__ = [
    "FrozenMask",
    "FrozenNorm",
    "Intervention",
    "KeepLargest",
    "OnlyNeurons",
    "Rotated",
    "Switched",
    "Threshold",
    "WithoutNorm",
    "geometric_mean_scale",
    "loss_optimal_scale",
    "norm_statistics",
    "operate",
    "refit",
]
