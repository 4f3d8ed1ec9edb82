"""P9: tier-two features are harder to find than the same features in a GeLU model.

    statistic 1 = mean over tier two of the best single neuron's R^2 at ``mid``: GeLU's minus SoLU + LN's
    statistic 2 = the same of the F1 of an unsupervised dictionary trained on ``mid``

features of tier two of SoLU + LN, the same features and seeds in both. Above 0: harder in SoLU + LN. Both must agree.
Margin .05. Without dictionaries the second is not measured, and the prediction undetermined. The SoLU paper's readers
asked it; nobody could tell, because in a real network the true features are unknown.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from toymodels.hypotheses.arms import MAIN, PLAIN
from toymodels.hypotheses.evidence import mean_over

MARGIN = 0.05
KINDS = ("best neuron", "dictionary F1")


def statistic(measured: Mapping[str, dict[str, Tensor]], kind: str, two: Tensor) -> Tensor | None:
    """The statistic of every seed, [model]; None where one of the two arms lacks the measure."""
    if any(kind not in measured.get(arm, {}) for arm in (MAIN, PLAIN)):
        return None
    return mean_over(measured[PLAIN][kind], two) - mean_over(measured[MAIN][kind], two)
