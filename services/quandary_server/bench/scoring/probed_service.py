"""The scoring service with replicas that measure themselves: run as a module, in place of `quandary scoring`."""

import sys

from quandary_server.bench.changed_service import serve_changed
from quandary_server.bench.scoring.probe import ProbedIngress, add_probe
from quandary_server.scoring.registration import SERVICERS

if __name__ == "__main__":
    probe = f"{add_probe.__module__}.{add_probe.__name__}"
    serve_changed(int(sys.argv[-1]), ProbedIngress, servicers=[*SERVICERS, probe])
