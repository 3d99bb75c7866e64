"""What can go wrong with the store itself."""

from __future__ import annotations

from orchestrator.errors import HomerunError, Misconfigured


class StoreDamaged(Misconfigured):
    """The database is not whole. ``problem`` says how, to follow "the store PATH"."""

    problem = "is damaged"

    @classmethod
    def at(cls, place: str, problem: str) -> StoreDamaged:
        """``place`` is the database's file, ``problem`` what is wrong with it."""
        error = cls(
            f"the store {place} is damaged: {problem}",
            "keep the file for a look at it and put the newest daily backup in its place; without "
            "a backup move it away and submit the runs again: their checkpoints are still in the "
            "run directories",
        )
        error.problem = f"is damaged: {problem}"
        return error


class StoreFailed(HomerunError):
    """A transaction did not happen, nothing of it: disk full, I/O error, database unreachable."""

    http_status = 503
