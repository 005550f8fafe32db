"""How much `quandary bench queue` measures with."""

from dataclasses import dataclass, fields

from quandary_server.bench.scale import check_scale

AT_LEAST = 100


@dataclass(frozen=True)
class Sizes:
    """rows: tasks that wait, where labellers lease or ranks change. grown, small: rows that `lease_growth` compares.

    fenced: tasks that are done under short leases. calls: leases of each of the rows that `lease_growth` compares. lease_s: how
    long labellers lease in a round, in seconds.
    """

    rows: int = 200_000
    grown: int = 5_000_000
    small: int = 100_000
    fenced: int = 4_000
    calls: int = 2_000
    lease_s: float = 4.0

    def scaled(self, share: float) -> "Sizes":
        """Return this share of each, at least 100 of what is counted. Raises InvalidArgument unless 0 < share <= 1."""
        check_scale(share)
        counts = {f.name: max(round(getattr(self, f.name) * share), AT_LEAST) for f in fields(self) if f.name != "lease_s"}
        return Sizes(**counts, lease_s=self.lease_s * share)
