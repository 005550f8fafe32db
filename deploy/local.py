"""Quandary on this machine: python3 deploy/local.py demo | up | test | bench [arguments].

Standard library only. Makes the virtual environment .venv beside this checkout, installs Quandary and what it needs there (the
versions of deploy/requirements.lock), and runs what is asked. A second call installs nothing unless pyproject.toml or the lock
changed. QUANDARY_VENV names another place for the environment.

    demo   runs the main job to its end on a simulated fleet, or with --kitti DIR on real frames
    up     runs all three services until Ctrl-C
    test   runs all checks: ruff, mypy, import contracts, buf, tests
    bench  runs a benchmark: bench NAME --json FILE
"""

import hashlib
import os
import subprocess
import sys
import venv
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "deploy" / "requirements.lock"
OLDEST_PYTHON = (3, 11)

Check = tuple[str, ...]

NO_TESTS = 5
"""What pytest ends with where it was asked for none that is there."""

E2E = "tests/e2e"
"""Where the tests of the real services are: to collect all others too takes ten seconds in a fresh checkout."""

QUICK_CHECKS: tuple[Check, ...] = (("ruff", "check", "."), ("ruff", "format", "--check", "."))
APART = ("tests/selector", "tests/storage", "tests/streams")
"""Tests that wait for databases, disks and each other more than they compute: a third run beside the others."""

SLOW_CHECKS: tuple[Check, ...] = (
    ("mypy",),
    ("lint-imports",),
    ("buf", "lint", "protos"),
    ("buf", "format", "--diff", "--exit-code", "protos"),
    ("buf", "breaking", "protos", "--against", "tests/contract/baseline.binpb"),
)


def main(arguments: Sequence[str]) -> int:
    """Install what the command needs and run it; return the exit code of the checks."""
    commands = {"demo", "up", "test", "bench"}
    if not arguments or arguments[0] not in commands:
        print(__doc__)
        return 0 if arguments and arguments[0] in ("-h", "--help") else 2
    if sys.version_info < OLDEST_PYTHON:
        print(f"Python {OLDEST_PYTHON[0]}.{OLDEST_PYTHON[1]} or newer is needed, this is {sys.version.split()[0]}")
        return 2
    command, *rest = arguments
    binaries = install("dev" if command == "test" else "server")
    if command == "test":
        return run_checks(binaries, rest)
    return become(binaries, ["quandary", command, *rest])


def install(extra: str) -> Path:
    """Return the folder of the environment's programs, with Quandary and the extra installed."""
    home = Path(os.environ.get("QUANDARY_VENV", ROOT / ".venv"))
    binaries = home / "bin"
    stamp = home / f"quandary-{extra}.sha256"
    wanted = hashlib.sha256((ROOT / "pyproject.toml").read_bytes() + LOCK.read_bytes()).hexdigest()
    if stamp.is_file() and stamp.read_text() == wanted:
        return binaries
    if not (binaries / "python").exists():
        say(f"making {home}")
        venv.create(home, with_pip=True)
    say(f"installing Quandary with the extra {extra}; the first time takes a minute or two")
    # what is imported is compiled then; to compile all of torch and Ray takes most of a minute
    pip = [str(binaries / "python"), "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-compile"]
    subprocess.run([*pip, "--constraint", str(LOCK), "--editable", f"{ROOT}[{extra}]"], check=True)
    stamp.write_text(wanted)
    return binaries


def run_checks(binaries: Path, pytest_arguments: Sequence[str]) -> int:
    """Run every check, also after one has failed; return 0 where all passed.

    What takes long and mostly waits, as the tests of the real services do, runs beside the other tests and is shown after them.
    """
    failed = [check[0] for check in QUICK_CHECKS if told(binaries, check)]
    rest = pytest_arguments or [f"--ignore={folder}" for folder in APART]
    with ThreadPoolExecutor(1) as services, ThreadPoolExecutor(1) as stores:
        slow = [*SLOW_CHECKS, ("pytest", "-m", "e2e", *(pytest_arguments or [E2E]))]
        beside = [(check, services.submit(quietly, binaries, check)) for check in slow]
        if not pytest_arguments:
            apart: Check = ("pytest", "-m", "not e2e", *APART)
            beside.insert(0, (apart, stores.submit(quietly, binaries, apart)))
        codes = [("pytest", told(binaries, ("pytest", "-m", "not e2e", *rest)))]
        for check, running in beside:
            done = running.result()
            say(" ".join(check))
            print(done.stdout, end="", flush=True)
            codes.append((check[0], done.returncode))
    failed += [f"{name} (exit code {code})" for name, code in codes if code and (name, code) != ("pytest", NO_TESTS)]
    say(f"failed: {', '.join(failed)}" if failed else "all checks passed")
    return 1 if failed else 0


def told(binaries: Path, check: Check) -> int:
    """Say which check runs and run it in the open; return its exit code."""
    say(" ".join(check))
    return run(binaries, check)


def quietly(binaries: Path, check: Check) -> subprocess.CompletedProcess[str]:
    """Run a check and keep what it prints."""
    command = [str(binaries / check[0]), *check[1:]]
    return subprocess.run(
        command, cwd=ROOT, env=environment(binaries), text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def run(binaries: Path, command: Sequence[str]) -> int:
    """Run a program of the environment in the checkout; return its exit code."""
    return subprocess.run([str(binaries / command[0]), *command[1:]], cwd=ROOT, env=environment(binaries)).returncode


def become(binaries: Path, command: Sequence[str]) -> NoReturn:
    """Turn into a program of the environment, so that signals reach it and nothing is left behind."""
    os.execve(binaries / command[0], [str(binaries / command[0]), *command[1:]], environment(binaries))


def environment(binaries: Path) -> dict[str, str]:
    """Return the environment variables of this process, with the programs of the environment first.

    Compiled modules are kept, whatever is asked: Ray is a dozen processes, which would compile the same modules at every start.
    """
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, "PATH": f"{binaries}{os.pathsep}{os.environ.get('PATH', '')}"}


def say(text: str) -> None:
    """Tell what is going on."""
    print(f"-- {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
