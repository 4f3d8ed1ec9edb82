"""Checks: a value of the wrong kind is refused where it is given, not where it is first used."""

from __future__ import annotations


def expect(kind: type, example: str, **values: object) -> None:
    """Raise ``TypeError`` unless every value is a ``kind``, naming the argument and an ``example`` of a right one."""
    article = "an" if kind.__name__[0] in "AEIO" else "a"
    for name, value in values.items():
        if not isinstance(value, kind):
            raise TypeError(f"{name}: expected {article} {kind.__name__} such as tm.{example}, got {value!r:.60}")
