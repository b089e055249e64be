"""What tests of the command line share."""

from __future__ import annotations

from eval.cli import main


def status_of(argv: list[str]) -> int:
    """The exit status, also where argparse ends the process itself."""
    try:
        return main(argv)
    except SystemExit as stop:
        return stop.code
