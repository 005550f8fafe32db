"""The share of its full size that a benchmark is run at."""

from quandary.errors import InvalidArgument

__all__ = ["check_scale"]


def check_scale(share: float) -> None:
    """Raise InvalidArgument unless the share is in (0, 1]."""
    if not 0 < share <= 1:
        raise InvalidArgument.of("scale", share, "in (0, 1]")
