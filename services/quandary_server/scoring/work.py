"""What has been done for a request."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Work:
    """What has been measured of one request: crops scored, and escalated, frames scored and refused, seconds of compute."""

    crops: int = 0
    escalated: int = 0
    scored: int = 0
    refused: int = 0
    seconds: float = 0.0

    def __add__(self, other: "Work") -> "Work":
        return Work(
            self.crops + other.crops,
            self.escalated + other.escalated,
            self.scored + other.scored,
            self.refused + other.refused,
            self.seconds + other.seconds,
        )
