"""What can go wrong when a person asks for a model."""

from __future__ import annotations


class AskError(Exception):
    """``message`` says what is wrong, ``fix`` what to do about it."""

    def __init__(self, message: str, fix: str = "") -> None:
        self.message = message
        self.fix = fix
        super().__init__(f"{message}; {fix}" if fix else message)
