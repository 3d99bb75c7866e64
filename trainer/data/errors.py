"""What can go wrong with a corpus in a way that a person should read."""

from __future__ import annotations


class DataError(Exception):
    """A corpus or dataset that is missing, empty, unreadable or damaged.

    ``message`` says what is wrong and where, ``fix`` what to do about it; the text has both.
    """

    def __init__(self, message: str, fix: str) -> None:
        self.message = message
        self.fix = fix
        super().__init__(f"{message}; {fix}")
