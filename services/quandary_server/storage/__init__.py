"""What outlives a process: the tasks, labels, runs and audit of a store, the fleet log, clouds, and label snapshots."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from quandary_server.storage.store import Store

__all__ = ["Store"]


def __getattr__(name: str) -> Any:
    # values of tasks and logs are named by all that have settings; SQLAlchemy is for who opens a store
    if name != "Store":
        raise AttributeError(f"module {__name__} has no attribute {name}")
    from quandary_server.storage.store import Store

    return Store
