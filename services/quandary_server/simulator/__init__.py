"""A simulated fleet: ray-cast drives through made-up streets, written in the KITTI object layout."""

from quandary_server.simulator.fleet import simulate_drive, simulate_fleet
from quandary_server.simulator.settings import FleetSettings

__all__ = ["FleetSettings", "simulate_drive", "simulate_fleet"]
