"""Plain values: how a sweep file writes one setting, and how it is told what it may write there.

A file writes what TOML has: a number, true or false, a word, a list. What may stand there is the check that the
setting's dataclass declares, so a file and the Python API refuse the same values; the sentence names the setting by its
dotted name. `made` turns a plain value into what the dataclass holds: words end there.
"""

from __future__ import annotations

import operator
import re
import sys
from collections.abc import Callable, Mapping
from typing import Any

from toymodels.activations import Activation
from toymodels.checks import Check, Each, Flag, Number, NumberOr, OrNone, Whole
from toymodels.roles import OneOf
from toymodels.sweeps.spec.wording import as_tuples, did_you_mean, one_of, short
from toymodels.targets import Target
from toymodels.values import Values

LARGEST = sys.float_info.max
BOUNDS: Mapping[str, tuple[str, Callable[[float, float], bool]]] = {
    "least": ("greater than or equal to", operator.ge),
    "above": ("greater than", operator.gt),
    "below": ("less than", operator.lt),
    "most": ("less than or equal to", operator.le),
}
"""By the bound of a check, what a number must be to it: in a sentence, and as a test."""
OWN_ROLES: Mapping[type, str] = {Activation: "an activation", Values: "a value law", Target: "a target"}
"""The roles that code of one's own may play in a sweep file, and how a sentence names them."""
OWN_WORD = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*", re.ASCII)
"""How a sweep file names it: ``module:Name`` (`toymodels.sweeps.spec.code`)."""
INTEGER = Whole(-(2**63), 2**63 - 1)
"""What TOML calls an integer."""


class Refused(ValueError):
    """What a sweep file says of a setting cannot be; the sentence names the setting."""


def read(check: Check, name: str, given: Any) -> Any:
    """The plain value of the setting ``name``, of what is ``given`` in a file; raises `Refused`."""
    of_its_own = READERS.get(type(check))
    if of_its_own is not None:
        return of_its_own(check, name, given)
    try:
        return check(name, given)
    except (TypeError, ValueError):
        raise Refused(f"{name}: expected {_expected(check, given)}, got {short(given)}") from None


def plain(check: Check, value: Any) -> Any:
    """How a sweep file writes a value of a dataclass's field."""
    match check:
        case OneOf():
            return check.name_of(value)
        case NumberOr() if isinstance(value, type(check.instead)):
            return check.instead.name
        case _:
            return value


def made(check: Check, value: Any) -> Any:
    """What a dataclass's field holds for this plain value."""
    match check:
        case OneOf():
            return named(check, value)
        case NumberOr() if isinstance(value, str):
            return check.instead
        case _:
            return value


def named(check: OneOf, word: Any) -> Any:
    """What a word names: an instance or a class in ``check.names``, or code of one's own, found before, as it is."""
    return check.names[word] if isinstance(word, str) else word


def is_own(check: Check, value: Any) -> bool:
    """Whether this may stand there as the name of code of one's own."""
    takes_own = isinstance(check, OneOf) and check.kind in OWN_ROLES
    return takes_own and isinstance(value, str) and OWN_WORD.fullmatch(value) is not None


def unbounded(check: Check) -> Check:
    """The check of a member's own numbers (a law's exponent): their range is refused where the member is made."""
    match check:
        case Number():
            return Number()
        case Each(check=Whole()):
            return Each(INTEGER, check.expected)
        case Each():
            return Each(unbounded(check.check), check.expected)
        case _:
            return check


def described(check: Check) -> str:
    """What a setting may be, as a table of settings has it."""
    match check:
        case OneOf():
            own = ['"module:Name"'] if check.kind in OWN_ROLES else []
            return ", ".join([f'"{name}"' for name in check.names] + own)
        case OrNone():
            return f"{described(check.check)}, or absent"
        case NumberOr():
            return f'{described(check.number)}, or "{check.instead.name}"'
        case Each():
            return f"a list, each {described(check.check)}"
        case Flag():
            return "true, false"
        case Whole():
            most = "2^63 - 1" if check.most == 2**63 - 1 else f"{check.most:,}"
            return f"a whole number from {check.least:,} to {most}"
        case Number():
            return _bounded(check)
    raise TypeError(f"a sweep file has no way to write what {type(check).__name__} allows")


def _word(check: OneOf, name: str, given: Any) -> str:
    if isinstance(given, str) and (given in check.names or is_own(check, given)):
        return given
    if check.kind is Activation:
        if not isinstance(given, str):
            raise Refused(f"{name}: expected valid string, got {short(given)}")
        raise Refused(f"{name}: unknown activation '{given}'{did_you_mean(given, check.names)}")
    hint = did_you_mean(given, check.names) if isinstance(given, str) else ""
    said = hint if "did you" in hint else ""
    raise Refused(f"{name}: expected {one_of(check.names)}, got {short(given)}{said}")


def _number_or_word(check: NumberOr, name: str, given: Any) -> float | str:
    word = check.instead.name
    if isinstance(given, str) and given == word:
        return word
    try:
        return check.number(name, given)
    except (TypeError, ValueError):
        raise Refused(f"{name}: expected {_bounded(check.number)} or '{word}', got {short(given)}") from None


def _or_none(check: OrNone, name: str, given: Any) -> Any:
    return None if given is None else read(check.check, name, given)


def _tuple(check: Each, name: str, given: Any) -> tuple[Any, ...]:
    given = as_tuples(given)
    if not isinstance(given, tuple):
        raise Refused(f"{name}: expected valid tuple, got {short(given)}")
    return tuple(read(check.check, f"{name}.{place}", each) for place, each in enumerate(given))


READERS: Mapping[type, Callable[[Any, str, Any], Any]] = {
    OneOf: _word,
    OrNone: _or_none,
    NumberOr: _number_or_word,
    Each: _tuple,
}
"""How a file writes what is no number and no truth value."""


def _bounded(check: Number) -> str:
    return f"a number {check.bounds}".rstrip()


def _expected(check: Check, given: Any) -> str:
    """What was expected in the place of ``given``, which the check refused."""
    if isinstance(check, Flag):
        return "valid boolean"
    number = isinstance(given, int) if isinstance(check, Whole) else isinstance(given, int | float)
    if not number or isinstance(given, bool):
        return "valid integer" if isinstance(check, Whole) else "valid number"
    if isinstance(check, Number) and not abs(given) <= LARGEST:
        return "finite number" if isinstance(given, float) else "valid number"
    bounds = ((sign, getattr(check, bound, None), holds) for bound, (sign, holds) in BOUNDS.items())
    return next(f"{sign} {bound}" for sign, bound, holds in bounds if bound is not None and not holds(given, bound))
