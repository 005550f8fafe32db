"""python -m quandary_server.cli."""

from quandary_server.cli import main

main()
