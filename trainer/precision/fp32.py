"""fp32: everything in float32, RoPE tables included. The reference."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch

from trainer.model import NanoChat
from trainer.precision import gradients
from trainer.precision.base import Recipe, Setting
from trainer.precision.kept import Keeping, Whole, place


@dataclass(frozen=True)
class Fp32:
    """The recipe whose logits other implementations can be compared with, bit for bit."""

    name: str = "fp32"
    orthogonalize_dtype: torch.dtype = torch.float32
    state_bits: int = 32
    optimizers: tuple[str, ...] = ("muon",)
    sums_in_bf16: bool = False
    frugal: bool = False

    def prepare(self, model: NanoChat, setting: Setting) -> Keeping:
        """All weights and tables in float32.

        nanochat keeps its RoPE tables in bf16; in float32 the logits differ by up to 1.2e-3.
        """
        place(model, setting.device, torch.float32)
        return keep_whole(model, self, setting)

    def autocast(self, device: torch.device) -> AbstractContextManager[None]:
        return nullcontext()


def keep_whole(model: NanoChat, recipe: Recipe, setting: Setting) -> Keeping:
    """Every parameter is trained as it is stored."""
    model.rope.fill()
    on_host = setting.host_gradients
    return Keeping(
        model,
        recipe,
        setting,
        [
            Whole(name, parameter, gradients.of_parameter(parameter, on_host=on_host))
            for name, parameter in model.named_parameters()
        ],
    )
