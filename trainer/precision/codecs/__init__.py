"""Packed low-bit formats: pure functions from a matrix to a few small tensors and back.

base     Codec: what a format offers; sizes and their errors
nf4      4.5 or 4.13 bits: bitsandbytes' NF4
nf3      3.25 bits: eight levels, eight codes in three bytes
seq2     2.25 bits: four levels without a zero, four codes in a byte
ternary  1.73 bits: minus, zero, plus; five codes in a byte
"""

from __future__ import annotations

from trainer.precision.codecs.base import Codec, Packed, bits_per_number, packed_bytes
from trainer.precision.codecs.nf3 import Nf3
from trainer.precision.codecs.nf4 import Nf4
from trainer.precision.codecs.seq2 import Seq2
from trainer.precision.codecs.ternary import Ternary

__all__ = [
    "Codec",
    "Nf3",
    "Nf4",
    "Packed",
    "Seq2",
    "Ternary",
    "bits_per_number",
    "packed_bytes",
]
