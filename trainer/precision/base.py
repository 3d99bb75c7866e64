"""What a precision recipe decides."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol

import torch

from trainer.model import NanoChat


class Recipe(Protocol):
    """How weights, optimizer state and matmuls are stored and computed."""

    @property
    def name(self) -> str:
        """As the spec names it."""

    @property
    def orthogonalize_dtype(self) -> torch.dtype:
        """What Muon's Newton-Schulz iteration computes in."""

    def prepare(self, model: NanoChat) -> None:
        """Give the freshly initialised weights and tables their dtypes, in place.

        Optimizer state takes the dtype of the weight it belongs to, so prepare first.
        """

    def autocast(self, device: torch.device) -> AbstractContextManager[None]:
        """The context of every forward pass; enter a new one each time."""
