"""Where things lie below the state directory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Paths:
    """Pure names; nothing is created here."""

    state: Path

    @property
    def runs(self) -> Path:
        """One directory a run: its record, lock, log and checkpoints."""
        return self.state / "runs"

    @property
    def data(self) -> Path:
        """Prepared corpora and tokenizers."""
        return self.state / "data"

    @property
    def corpora(self) -> Path:
        """Fetched corpora, one directory each."""
        return self.state / "corpora"

    @property
    def store(self) -> Path:
        """The embedded database."""
        return self.state / "homerun.sqlite"

    @property
    def backup(self) -> Path:
        """The daily copy of the embedded database."""
        return self.state / "homerun-backup.sqlite"

    @property
    def older_backup(self) -> Path:
        """The copy before that one."""
        return self.state / "homerun-backup-older.sqlite"

    @property
    def roster(self) -> Path:
        """What of the store must outlive the store."""
        return self.state / "roster.json"

    @property
    def mirror_mark(self) -> Path:
        """By which the copies in a mirror are known as this daemon's."""
        return self.state / "mirror-mark"

    @property
    def gpu_lost(self) -> Path:
        """Left by a daemon that ended because the card was lost."""
        return self.state / "gpu-lost"

    @property
    def lock(self) -> Path:
        """Held by the daemon that owns this directory."""
        return self.state / "daemon.lock"

    @property
    def address(self) -> Path:
        """Tells clients where the daemon listens."""
        return self.state / "daemon.json"

    @property
    def log(self) -> Path:
        """The daemon's own log."""
        return self.state / "homerun.log"

    def run(self, name: str) -> Path:
        """The directory of one run."""
        return self.runs / name
