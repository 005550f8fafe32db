"""Memory as the service's replicas allocate it, for what is measured in this process."""

import ctypes
from contextlib import suppress

from quandary_server.cluster import SERVE_VARIABLES

PARAMETERS = {"MALLOC_TRIM_THRESHOLD_": -1, "MALLOC_TOP_PAD_": -2, "MALLOC_MMAP_THRESHOLD_": -3}
"""What mallopt(3) calls what the environment sets when a process starts."""


def allocate_as_served() -> None:
    """Keep freed pages as replicas do; with a C library other than glibc nothing changes."""
    with suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        for variable, parameter in PARAMETERS.items():
            mallopt(parameter, int(SERVE_VARIABLES[variable]))
