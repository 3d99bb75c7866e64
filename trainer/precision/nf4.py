"""nf4: quantisation-aware training with blocks of 4.5 bits a weight on the card."""

from __future__ import annotations

from dataclasses import dataclass

from trainer.model import NanoChat
from trainer.precision.base import Setting
from trainer.precision.bf16_8bit import Bf16With8Bit
from trainer.precision.codecs import Nf4
from trainer.precision.kept import Keeping
from trainer.precision.quantized import keep_quantized


@dataclass(frozen=True)
class Nf4Recipe(Bf16With8Bit):
    """bitsandbytes' NF4 in all matrices of the blocks; the rest as bf16-8bit keeps it.

    Published and measured losses of such training: 0.01 to 0.03 nats (QuEST's raw runs, and
    250 small steps of ours).
    """

    name: str = "nf4"

    def prepare(self, model: NanoChat, setting: Setting) -> Keeping:
        """Packed matrices on the device, their masters where state rests."""
        return keep_quantized(model, self, setting, lambda name: Nf4())
