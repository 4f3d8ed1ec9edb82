"""Training: what an experiment is, how a model learns, and what comes of it."""

from __future__ import annotations

from toymodels.training.keep import Keep

__all__ = ["Keep"]
