"""bf16: classic nanochat's own mixture."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch

from trainer.model import NanoChat


@dataclass(frozen=True)
class Bf16:
    """float32 weights whose matmuls run in bf16 by autocast; embedding and RoPE tables in bf16."""

    name: str = "bf16"
    orthogonalize_dtype: torch.dtype = torch.bfloat16

    def prepare(self, model: NanoChat) -> None:
        """The embedding, and with it its gradient and moments, as well as the tables in bf16."""
        model.float()
        model.transformer.wte.to(torch.bfloat16)
        model.rope.to(torch.bfloat16)

    def autocast(self, device: torch.device) -> AbstractContextManager[None]:
        return torch.autocast(device.type, dtype=torch.bfloat16)
