"""Poller: something slow asked again and again, in a thread of its own, so that no tick waits."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

log = logging.getLogger(__name__)


class Poller:
    """Calls ``ask`` at once and then at a steady interval until it is closed.

    An exception that ``ask`` did not expect is logged, and it is asked again: a thread that died
    of it would leave nobody who looks at the UPS or at the card, without a word.
    """

    def __init__(self, name: str, ask: Callable[[], None], every_seconds: float) -> None:
        self._ask = ask
        self._every_seconds = every_seconds
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._keep_asking, name=name, daemon=True)
        self._thread.start()

    def close(self, patience_seconds: float | None = None) -> bool:
        """Ask no more; an answer under way is waited for, at most so long.

        Returns whether nobody asks any more.
        """
        self._closed.set()
        self._thread.join(patience_seconds)
        return not self._thread.is_alive()

    def _keep_asking(self) -> None:
        self._ask_once()
        while not self._closed.wait(self._every_seconds):
            self._ask_once()

    def _ask_once(self) -> None:
        try:
            self._ask()
        except Exception:
            log.exception("%s: a mistake while asking; it is asked again", self._thread.name)
