"""The command `quandary`."""

import sys


def main() -> None:
    """Run the command; without the extra `server`, say how to get it."""
    try:
        from quandary_server.cli.app import run
    except ModuleNotFoundError as error:
        sys.exit(f"quandary: {error.name} is not installed; the command needs: pip install 'quandary[server]'")
    run()
