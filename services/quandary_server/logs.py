"""Logging of the service processes: one line an event, time, level, place, event and its fields."""

import logging
import sys


def configure_logging(level: int = logging.INFO) -> None:
    """Log to stderr."""
    logging.basicConfig(level=level, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s %(message)s", force=True)
    for noisy in ("ray", "ray.serve", "asyncio", "grpc"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
