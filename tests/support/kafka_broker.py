"""librdkafka's mock cluster in a process of its own: groups, commits and rebalances over TCP, a few MB a partition."""

import subprocess
import sys

BROKER = """
import sys
from confluent_kafka import Producer

cluster = Producer({"bootstrap.servers": "none", "test.mock.num.brokers": 3, "log_level": 0})
print(",".join(f"{b.host}:{b.port}" for b in cluster.list_topics(timeout=30).brokers.values()), flush=True)
sys.stdin.read()
"""


class KafkaBroker:
    """The cluster, until `stop`; topics come into being when they are touched."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", BROKER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        assert self._process.stdout is not None
        self.servers = self._process.stdout.readline().strip()

    def settings(self, topic: str) -> dict[str, object]:
        """Return the settings of a log in a topic here, whose group notices soon that a member died."""
        quick = {"session.timeout.ms": "4500", "heartbeat.interval.ms": "500"}
        return {"servers": self.servers, "topic": topic, "consumer_options": quick}

    def stop(self) -> None:
        self._process.communicate(timeout=60)
