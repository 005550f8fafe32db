"""What outlives a process: the tasks, labels, runs and audit of a store, the fleet log, clouds, and label snapshots."""

from quandary_server.storage.store import Store

__all__ = ["Store"]
