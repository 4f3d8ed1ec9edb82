"""Keep: the role of whoever keeps unfinished models. What engines do with one is in `tests/engines/test_keep.py`."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from torch import Tensor

from toymodels.training import Keep
from toymodels.training.keep import resume


class Nowhere(Keep):
    """Keeps nothing."""

    def load(self) -> dict[str, Tensor] | None:
        return None

    def save(self, state: Mapping[str, Tensor]) -> None:
        pass

    def part(self, first: int, last: int) -> Keep:
        return self


@pytest.mark.parametrize("missing", ["load", "save", "part"])
def test_one_that_lacks_a_part_cannot_be_made(missing: str) -> None:
    lacking = type("Lacking", (Nowhere,), {missing: getattr(Keep, missing)})
    with pytest.raises(TypeError, match=missing):
        lacking()


def test_where_nothing_was_kept_training_begins_at_the_start_and_nobody_is_told() -> None:
    keep = Nowhere()
    keep.refused("it is of another model")
    keep.resumed(2.0)
    assert resume(keep, {}, steps=10, most=9) is None
    assert resume(None, {}, steps=10, most=9) is None


@pytest.mark.parametrize("seconds, worth", [(30.0, 1.0), (0.2, 0.2)])
def test_a_second_of_training_is_worth_keeping_or_an_interval_if_that_is_less(seconds: float, worth: float) -> None:
    keep = Nowhere()
    keep.seconds = seconds
    assert keep.worth_seconds == worth
