"""How many rows are written in one transaction while labellers wait."""

from datetime import timedelta

__all__ = ["PieceSize"]

LEAST, MOST = 100, 5_000


class PieceSize:
    """As many rows as are written in a given time, by what the last ones took: it depends on the disk and on who else writes.

    rows: of the next piece. aim: how long a piece is to take; None: the rows stay what they are at first.
    """

    def __init__(self, rows: int, aim: timedelta | None) -> None:
        self.rows = rows
        self._aim = aim

    def took(self, rows: int, seconds: float) -> None:
        """Note how long a piece of so many rows took. One tells little: sizes grow by a quarter, shrink by a third at most."""
        if self._aim is None or not rows or seconds <= 0:
            return
        fit = round(rows * self._aim.total_seconds() / seconds)
        self.rows = min(max(fit, self.rows * 2 // 3, LEAST), self.rows + self.rows // 4, MOST)
