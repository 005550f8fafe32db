"""What the demo is to do."""

from dataclasses import dataclass, field
from pathlib import Path

from quandary_server.datasets.sources import ProposalSource
from quandary_server.simulator.settings import FleetSettings


@dataclass(frozen=True)
class DemoSettings:
    """Budgets are in labelled crops: one label is one crop, Background included (science: the annotator looked at it).

    first_crops: the random set that both arms begin with. round_crops: what each arm adds per round. control_crops: labelled
    once on the control drives, for the gates. kitti: a folder of real frames in place of the simulated fleet.
    """

    out: Path
    kitti: Path | None = None
    proposals: ProposalSource = ProposalSource.LABELS
    fleet: FleetSettings = field(default_factory=FleetSettings)
    rounds: int = 4
    first_crops: int = 100
    round_crops: int = 100
    control_crops: int = 200
    members: int = 3
    steps: int = 150
    seed: int = 0
