"""What the keys of a run's spec may say, where that is a choice."""

from __future__ import annotations

DEFAULT_CORPUS = "default"
#: the recipes of trainer.precision; "auto" is settled and pinned at the first start
PRECISIONS = ("auto", "fp32", "bf16", "bf16-8bit", "int8", "nf4", "qlora-4bit", "w3", "w2.6")
OPTIMIZERS = ("auto", "muon", "adamw8")
DEVICES = ("auto", "cpu", "cuda")
PLACES = ("auto", "device", "host")
SWITCH = ("auto", "on", "off")
MLP_CODECS = ("seq2", "ternary")
RESIDUALS = ("warmdown", "always", "off")
RAM_TIERS = ("auto", "off")
WRITERS = ("auto", "process", "trainer")
#: gradients summed up in bf16 lose more with each micro-batch, and beyond so many more than
#: sampling noise hides (measured at 128: an error of 1.1 %, and after Muon's orthogonalisation a
#: cosine of 0.93 to the float32 update)
MOST_BF16_MICRO_BATCHES = 64
