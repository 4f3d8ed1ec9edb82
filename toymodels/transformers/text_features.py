"""Features of text: what is so at a position, for sure, whatever a transformer makes of it.

    tokens    the token at the position is v
    bigrams   the token at the position is v, and the one before it is u
    latents   of a synthetic language (`toymodels.transformers.language`): latent i is on, which no token says alone
    above     what a layer reads has more of a direction than in all but a share of positions: a *pseudo-feature*, known
              to be there only because somebody says that the direction means something

Each is active or not: bool [feature, sequence, position].
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from toymodels.transformers.language import Text


@dataclass(frozen=True)
class TextFeatures:
    """Features of one text by name, the most frequent first where there are more than are asked for."""

    names: tuple[str, ...]
    active: np.ndarray
    """bool [feature, sequence, position]"""


def token_features(tokens: np.ndarray, most: int) -> TextFeatures:
    """An indicator of each of the ``most`` most frequent tokens of ``tokens`` [sequence, position]; in their order."""
    kinds = _most_frequent(tokens, most)
    return TextFeatures(tuple(f"token {v}" for v in kinds), np.stack([tokens == v for v in kinds]))


def bigram_features(tokens: np.ndarray, most: int) -> TextFeatures:
    """An indicator of each of the ``most`` most frequent pairs of tokens, at the second of them: never active at the
    first position of a sequence."""
    size = int(tokens.max()) + 1
    pairs = np.full(tokens.shape, -1, dtype=np.int64)
    pairs[:, 1:] = tokens[:, :-1] * size + tokens[:, 1:]
    kinds = _most_frequent(pairs[:, 1:], most)
    return TextFeatures(tuple(f"bigram {v // size} {v % size}" for v in kinds), np.stack([pairs == v for v in kinds]))


def latent_features(text: Text) -> TextFeatures:
    """An indicator of each latent of a synthetic language."""
    return TextFeatures(tuple(f"latent {i}" for i in range(len(text.latents))), text.latents)


def above(projections: np.ndarray, share: float) -> np.ndarray:
    """Where projections [feature, sample] are among the largest ``share`` of their feature's: bool, of their shape."""
    return projections > np.quantile(projections, 1 - share, axis=1, keepdims=True)


def _most_frequent(values: np.ndarray, most: int) -> list[int]:
    """The most frequent values, ties to the smaller one, in ascending order."""
    kinds, counts = np.unique(values, return_counts=True)
    return sorted(kinds[np.argsort(-counts, kind="stable")[:most]].tolist())
