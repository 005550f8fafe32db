"""A generation that tells what it computes, whatever becomes of the answer."""

from collections.abc import Callable, Sequence

from quandary_server.frustum.raster import Rasters
from quandary_server.inference.generation import Generation, LoadedGeneration
from quandary_server.inference.member import MemberDraws
from quandary_server.scoring.keeper import Load


class Drawn:
    """How many crops each draw was of. A gate that is set holds the next draw."""

    def __init__(self) -> None:
        self.crops: list[int] = []
        self.gate: Callable[[], object] | None = None

    def note(self, rasters: Rasters) -> None:
        """Take note of a draw that begins."""
        self.crops.append(len(rasters))
        if self.gate is not None:
            gate, self.gate = self.gate, None
            gate()


class CountedGeneration(Generation):
    """The members of another one."""

    def __init__(self, loaded: LoadedGeneration, drawn: Drawn) -> None:
        super().__init__(loaded.manifest)
        self._loaded, self._drawn = loaded, drawn

    @property
    def members(self) -> int:
        """Number of members."""
        return self._loaded.members

    def only(self, member: int) -> "CountedGeneration":
        """Return the generation with one of its members (from 0) and no other."""
        return CountedGeneration(self._loaded.only(member), self._drawn)

    def draw_members(self, rasters: Rasters, mc_samples: int | None, seed: int) -> Sequence[MemberDraws]:
        """Return the draws of every member, in their order."""
        self._drawn.note(rasters)
        return self._loaded.draw_members(rasters, mc_samples, seed)

    def draw_first(self, rasters: Rasters, mc_samples: int | None, seed: int) -> MemberDraws:
        """Return the draws of the first member."""
        self._drawn.note(rasters)
        return self._loaded.draw_first(rasters, mc_samples, seed)


def counted(load: Load[LoadedGeneration], drawn: Drawn) -> Load[Generation]:
    """Return what loads as `load` does, and counts what is drawn from then on."""
    return lambda generation, digest: CountedGeneration(load(generation, digest), drawn)
