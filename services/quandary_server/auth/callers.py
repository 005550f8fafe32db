"""Roles, and whether a caller has the one that a call needs."""

from dataclasses import dataclass
from enum import StrEnum

from quandary.errors import PermissionDenied


class Role(StrEnum):
    """What a token allows; ADMIN allows everything."""

    FLEET = "fleet"
    LABELLER = "labeller"
    TRAINER = "trainer"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls."""

    subject: str
    roles: frozenset[Role]


def require(caller: Caller, role: Role) -> None:
    """Raise PermissionDenied unless the caller has the role, or is admin."""
    if not caller.roles & {role, Role.ADMIN}:
        has = ", ".join(sorted(caller.roles)) or "none"
        raise PermissionDenied(f"{caller.subject} has the roles {has}; this call needs {role}")
