"""Roles: what an experiment is put together from, each a class with members that have a name.

A role is an abstract class (`Activation`, `Law`, `Values`, `Firing`, `Target`, `Loss`, `Optimizer`, `Schedule`); its
members are frozen dataclasses. Beside each stands the table of the members that a sweep file can name: instances where
a name says all, classes where a member has settings of its own (a Zipf law its exponent). A member of one's own needs
no entry there: any instance of the role is taken in the Python API.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from toymodels.checks import Part

Member = TypeVar("Member")


def by_name(*members: Member) -> dict[str, Member]:
    """A table of members by their names."""
    return {member.name: member for member in members}  # pyright: ignore[reportAttributeAccessIssue]


class Absent:
    """Mixed into what stands in the place of a member whose code is not there: it can be named, and not asked."""


@dataclass(frozen=True, eq=False, kw_only=True)
class OneOf(Part):
    """An instance of a role; a sweep file writes it as its name in ``names``, of instances or of classes."""

    names: Mapping[str, Any]

    def name_of(self, member: Any) -> str:
        """What a sweep file calls this member; raises ``ValueError`` where it has no name for it."""
        for name, each in self.names.items():
            if each == member or each is type(member):
                return name
        raise ValueError(f"expected one of {', '.join(self.names)}, got {member!r:.60}")
