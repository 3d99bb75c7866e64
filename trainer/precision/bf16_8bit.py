"""bf16-8bit: bf16 weights with stochastic rounding, optimizer state in eight bits.

d32 in about 10 GB with nothing lost: 2 bytes of weight and 2 of gradient a parameter on the
card, 1 to 2 of state, which may be parked on the host.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch

from trainer.model import NanoChat
from trainer.precision.base import Setting
from trainer.precision.kept import Keeping, place
from trainer.precision.rounded import Rounded


@dataclass(frozen=True)
class Bf16With8Bit:
    """All that forward reads and computes is bf16, as in nanochat since 2026; the loss is float32.

    No full-precision copy of anything is kept.
    """

    name: str = "bf16-8bit"
    orthogonalize_dtype: torch.dtype = torch.bfloat16
    state_bits: int = 8
    optimizers: tuple[str, ...] = ("muon", "adamw8")
    sums_in_bf16: bool = True
    frugal: bool = True

    def prepare(self, model: NanoChat, setting: Setting) -> Keeping:
        """Weights and tables in bf16."""
        place(model, setting.device, torch.bfloat16)
        model.rope.fill()
        trained = [
            Rounded(name, parameter, setting) for name, parameter in model.named_parameters()
        ]
        return Keeping(model, self, setting, trained)

    def autocast(self, device: torch.device) -> AbstractContextManager[None]:
        """None: with weights and residual stream in bf16 there is nothing to cast."""
        return nullcontext()
