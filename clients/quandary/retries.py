"""Which calls are tried again where the service cannot be reached: gRPC's own retry policy (gRFC A6), as a service config.

What is overloaded says when to come back; see quandary.patience.
"""

import json

from google.protobuf.descriptor import FileDescriptor

from quandary.patience import FACTOR, FIRST_PAUSE_S, LONGEST_PAUSE_S
from quandary.v1 import labels_pb2, queue_pb2, scoring_pb2, training_pb2

__all__ = ["NOT_RETRIED", "service_config"]

NOT_RETRIED = frozenset(
    {
        "StreamScores",  # resumed with the frames that have no answer, see quandary.score_stream
        "LeaseTasks",  # a lost answer would lease twice, and the first tasks would wait for their lease to run out
        "StartRun",  # a lost answer would train twice
        "PromoteGeneration",  # a lost answer would make its own success look like somebody else's promotion
        "RollbackGeneration",  # a lost answer would go back two generations
    }
)
"""Calls that are made once. SkipTask and ReleaseTask are retried: the lease token fences a second one off."""

# Five attempts are gRPC's ceiling, 7 s in all: about what a replica takes to come back. A call's deadline ends them early.
# Where a replica dies, HAProxy says CANCELLED and Ray's own proxy INTERNAL. A service that answers one of these itself forbids
# the retry (grpc-retry-pushback-ms < 0); what the caller cancels is never retried.
RETRY_POLICY = {
    "maxAttempts": 5,
    "initialBackoff": f"{FIRST_PAUSE_S}s",
    "backoffMultiplier": FACTOR,
    "maxBackoff": f"{LONGEST_PAUSE_S}s",
    "retryableStatusCodes": ["UNAVAILABLE", "CANCELLED", "INTERNAL", "UNKNOWN"],
}

CONTRACT: tuple[FileDescriptor, ...] = (
    scoring_pb2.DESCRIPTOR,
    queue_pb2.DESCRIPTOR,
    labels_pb2.DESCRIPTOR,
    training_pb2.DESCRIPTOR,
)


def service_config() -> str:
    """Return the service config as JSON: RETRY_POLICY for every call of the contract that is not in NOT_RETRIED.

    A stream that only the server sends on (WatchRun) is in it too: gRPC retries such a call up to the first message.
    """
    retried = [
        {"service": service.full_name, "method": method.name}
        for file in CONTRACT
        for service in file.services_by_name.values()
        for method in service.methods
        if method.name not in NOT_RETRIED
    ]
    return json.dumps({"methodConfig": [{"name": retried, "retryPolicy": RETRY_POLICY}]})
