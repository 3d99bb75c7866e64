"""bf16: classic nanochat's own mixture."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch

from trainer.model import NanoChat
from trainer.precision.base import Setting
from trainer.precision.fp32 import keep_whole
from trainer.precision.kept import Keeping, place


@dataclass(frozen=True)
class Bf16:
    """float32 weights whose matmuls run in bf16 by autocast; embedding and RoPE tables in bf16."""

    name: str = "bf16"
    orthogonalize_dtype: torch.dtype = torch.bfloat16
    state_bits: int = 32
    optimizers: tuple[str, ...] = ("muon",)
    sums_in_bf16: bool = False
    frugal: bool = False

    def prepare(self, model: NanoChat, setting: Setting) -> Keeping:
        """The embedding, and with it its gradient and moments, as well as the tables in bf16."""
        place(model.transformer.wte, setting.device, torch.bfloat16)
        place(model.rope, setting.device, torch.bfloat16)
        for part in (model.transformer.h, model.lm_head):
            place(part, setting.device, torch.float32)
        return keep_whole(model, self, setting)

    def autocast(self, device: torch.device) -> AbstractContextManager[None]:
        return torch.autocast(device.type, dtype=torch.bfloat16)
