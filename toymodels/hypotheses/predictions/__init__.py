"""The predictions of the two-tier hypothesis, one a file: its equation, what it measures, and how it is judged."""

from toymodels.hypotheses.prediction import Prediction
from toymodels.hypotheses.predictions.p1_bimodal import Bimodal
from toymodels.hypotheses.predictions.p2_rescaled import Rescaled
from toymodels.hypotheses.predictions.p3_gated import Gated
from toymodels.hypotheses.predictions.p4_needs_norm import NeedsNorm
from toymodels.hypotheses.predictions.p6_common_or_important import CommonOrImportant
from toymodels.hypotheses.predictions.p7_weak_activity import WeakActivity
from toymodels.hypotheses.predictions.p9_harder_to_find import HarderToFind

PREDICTIONS: tuple[Prediction, ...] = (
    Bimodal(),
    Rescaled(),
    Gated(),
    NeedsNorm(),
    CommonOrImportant(),
    WeakActivity(),
    HarderToFind(),
)
"""Every prediction, in the order in which verdicts, tables of evidence and figures have them."""
