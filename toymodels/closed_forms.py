"""Closed forms: a constant that was worked out for a function belongs to that function.

A class that gives the function anew has what it says of it itself, or what is measured; never what its parent said of
another function.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar


class ClosedForms:
    """A class whose ``closed_forms`` names, for each function, the constants and methods that were worked out for it.

    In the class that declares it, these are what holds of any function: a measurement. A subclass that defines the
    function and does not state one of them has that one.
    """

    closed_forms: ClassVar[Mapping[str, tuple[str, ...]]] = {}

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        declaring = next(base for base in cls.__mro__ if "closed_forms" in vars(base))
        own = {*vars(cls), *vars(cls).get("__annotations__", {})}
        for function, constants in cls.closed_forms.items():
            if function in own and cls is not declaring:
                for constant in constants:
                    if constant not in own:
                        setattr(cls, constant, getattr(declaring, constant))
