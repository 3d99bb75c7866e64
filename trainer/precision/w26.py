"""w2.6: quantisation-aware training with two kinds of packed matrices. Experimental.

Two thirds of a block's numbers are its MLP's, which bears fewer bits than attention does.
"""

from __future__ import annotations

from dataclasses import dataclass

from trainer.model import NanoChat
from trainer.precision.base import Setting
from trainer.precision.bf16_8bit import Bf16With8Bit
from trainer.precision.blocks import is_mlp
from trainer.precision.codecs import Codec, Nf4, Seq2, Ternary
from trainer.precision.kept import Keeping
from trainer.precision.quantized import keep_quantized

_MLP: dict[str, Codec] = {"seq2": Seq2(), "ternary": Ternary()}


@dataclass(frozen=True)
class W26(Bf16With8Bit):
    """Attention in NF4 with quantised maxima (4.13 bits); the MLP as the spec's ``mlp_codec``.

    "seq2": two bits, 2.67 bits of codes a weight over the block, 2.88 with all scales.
    "ternary": 1.73 bits, 2.53 over the block with all scales.
    """

    name: str = "w2.6"

    def prepare(self, model: NanoChat, setting: Setting) -> Keeping:
        """Packed matrices on the device, their masters where state rests."""
        attention, mlp = Nf4(double=True), _MLP[setting.mlp_codec]
        keeping = keep_quantized(
            model, self, setting, lambda name: mlp if is_mlp(name) else attention
        )
        keeping.warning = (
            "recipe w2.6 is experimental: expect a worse model than with nf4 from the same "
            "tokens, and watch the loss for jumps"
        )
        return keeping
