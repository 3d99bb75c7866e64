"""The command line: a thin HTTP client that imports nothing heavy."""

from __future__ import annotations


def main() -> None:
    """The entry point of ``homerun``; ends the process with the command's exit code."""
    from orchestrator.cli.root import root

    root(prog_name="homerun")
