"""fp32: everything in float32, RoPE tables included. The reference."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch

from trainer.model import NanoChat


@dataclass(frozen=True)
class Fp32:
    """The recipe whose logits other implementations can be compared with, bit for bit."""

    name: str = "fp32"
    orthogonalize_dtype: torch.dtype = torch.float32

    def prepare(self, model: NanoChat) -> None:
        """All weights and tables in float32.

        nanochat keeps its RoPE tables in bf16; in float32 the logits differ by up to 1.2e-3.
        """
        model.float()

    def autocast(self, device: torch.device) -> AbstractContextManager[None]:
        return nullcontext()
