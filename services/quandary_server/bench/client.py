"""quandary bench client: what the light client costs."""

import resource
import statistics
import subprocess
import sys
from importlib.metadata import requires

from quandary_server.bench.figures import Figure, at_most

RUNS = 9
MAX_IMPORT_S = 0.3


def client_figures() -> list[Figure]:
    """Return the CPU time of `import quandary` and of importing its scoring client, each in a fresh process."""
    light, clients = _import_seconds("import quandary"), _import_seconds("from quandary import ScoringClient")
    names = sorted(r.split(";")[0] for r in requires("quandary") or () if "extra ==" not in r)
    return [
        at_most("import_cpu_s", statistics.median(light), "s", MAX_IMPORT_S, light),
        at_most("import_client_cpu_s", statistics.median(clients), "s", MAX_IMPORT_S, clients),
        at_most("base_dependencies", float(len(names)), "packages", 3, names),
    ]


def _import_seconds(statement: str) -> list[float]:
    found = []
    for _ in range(RUNS):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-c", statement], check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        found.append(round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 4))
    return found
