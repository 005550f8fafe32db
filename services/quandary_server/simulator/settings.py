"""What a simulated fleet is to be."""

from dataclasses import dataclass

from quandary.errors import InvalidArgument

MAX_DRIVES = 1000
MAX_FRAMES = 1000


@dataclass(frozen=True, slots=True)
class FleetSettings:
    """Drives per split, frames per drive, time between frames in seconds (whole sweeps of 0.1 s), and the seed.

    Raises InvalidArgument for a negative count, more than 1000 drives or frames per drive, an interval that is no multiple of
    0.1 s in [0.1, 10].
    """

    pool_drives: int = 8
    control_drives: int = 3
    evaluation_drives: int = 6
    frames_per_drive: int = 24
    frame_interval_s: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("pool_drives", "control_drives", "evaluation_drives"):
            if not 0 <= getattr(self, name) <= MAX_DRIVES:
                raise InvalidArgument.of(name, getattr(self, name), f"0 to {MAX_DRIVES}")
        if not 1 <= self.drives <= MAX_DRIVES:
            raise InvalidArgument.of("drives", self.drives, f"1 to {MAX_DRIVES} in all")
        if not 1 <= self.frames_per_drive <= MAX_FRAMES:
            raise InvalidArgument.of("frames_per_drive", self.frames_per_drive, f"1 to {MAX_FRAMES}")
        sweeps = self.frame_interval_s * 10
        if not (1 <= sweeps <= 100 and abs(sweeps - round(sweeps)) < 1e-6):
            raise InvalidArgument.of("frame_interval_s", self.frame_interval_s, "a multiple of 0.1 s in [0.1, 10]")
        if self.seed < 0:
            raise InvalidArgument.of("seed", self.seed, ">= 0")

    @property
    def drives(self) -> int:
        """Drives in all."""
        return self.pool_drives + self.control_drives + self.evaluation_drives

    @property
    def sweeps_between_frames(self) -> int:
        """Sweeps of 0.1 s from one frame to the next."""
        return round(self.frame_interval_s * 10)

    def place(self, drive: int) -> tuple[str, int]:
        """Return the split of a drive, numbered from 0, and its number within it: first the pool, then control, evaluation."""
        number = drive
        for split, drives in (("pool", self.pool_drives), ("control", self.control_drives)):
            if number < drives:
                return split, number
            number -= drives
        return "evaluation", number
