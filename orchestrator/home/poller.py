"""Poller: something slow asked again and again, in a thread of its own, so that no tick waits."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Poller:
    """Calls ``ask`` at once and then at a steady interval until it is closed."""

    def __init__(self, name: str, ask: Callable[[], None], every_seconds: float) -> None:
        self._ask = ask
        self._every_seconds = every_seconds
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._keep_asking, name=name, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Ask no more; an answer under way is waited for."""
        self._closed.set()
        self._thread.join()

    def _keep_asking(self) -> None:
        self._ask()
        while not self._closed.wait(self._every_seconds):
            self._ask()
