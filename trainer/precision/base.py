"""What a precision recipe decides."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

import torch

from trainer.model import NanoChat
from trainer.precision.kept import Keeping


@dataclass(frozen=True)
class Setting:
    """What a recipe may need to know of the run, every "auto" of the spec settled."""

    #: of the run; keys the streams of stochastic rounding
    seed: int
    #: where forward, backward and the updates compute
    device: torch.device
    #: "muon" or "adamw8": what updates the matrices of the blocks
    optimizer: str
    #: optimizer state, residuals and masters rest in host memory between steps
    parked: bool
    #: gradients are summed up in float32 in host memory, else on the device
    host_gradients: bool
    #: blocks are computed again in the backward pass instead of keeping their activations
    activation_checkpointing: bool
    #: when an 8-bit residual sharpens bf16 weights: "warmdown", "always" or "off"
    residual: str
    #: of low-rank adapters; 0: the recipe's own
    adapter_rank: int
    #: between the first merge of adapters and the second
    merge_interval_steps: int
    #: what recipe w2.6 packs the MLP's matrices to: "seq2" or "ternary"
    mlp_codec: str = "seq2"


class Recipe(Protocol):
    """How weights, gradients, optimizer state and matmuls are stored and computed."""

    @property
    def name(self) -> str:
        """As the spec names it."""

    @property
    def orthogonalize_dtype(self) -> torch.dtype:
        """What Muon's Newton-Schulz iteration computes in."""

    @property
    def state_bits(self) -> int:
        """Of a number of optimizer state: 32 (the master's own dtype) or 8 (blockwise)."""

    @property
    def optimizers(self) -> tuple[str, ...]:
        """What the spec may ask for, the default first."""

    @property
    def sums_in_bf16(self) -> bool:
        """Whether gradients on the device are sums in bf16, which bears 64 micro-batches."""

    @property
    def frugal(self) -> bool:
        """Whether "auto" chooses less memory on a GPU: parked state, recomputed activations."""

    def prepare(self, model: NanoChat, setting: Setting) -> Keeping:
        """Give the model its tensors on the device, each as the recipe keeps it.

        ``model`` may be on the meta device or hold float32 weights; modules may be replaced.
        Values are not taken over: ``trainer.precision.keep`` and ``build`` fill them in after.
        """

    def autocast(self, device: torch.device) -> AbstractContextManager[None]:
        """The context of every forward pass; enter a new one each time."""
