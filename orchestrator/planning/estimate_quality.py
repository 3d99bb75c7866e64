"""Which of several runs is expected to end better. Pure; for ordering, not for promises.

The loss of a model of N parameters after D tokens is taken as E + A / N^a + B / D^b, with E, A, a
and b from the re-analysis of Chinchilla's data (Besiroglu et al., arXiv 2404.10102) and N without
the embedding, as nanochat counts it. B is scaled so that the best use of a given compute falls
where nanochat measured it: about 10.5 tokens for each such parameter (its dev/LOG.md, January
2026; Muon needs fewer tokens than the AdamW of the original fit).

A recipe adds what it lost in the ranking of ``facts``: four layers, 256 wide, one seed, with a
spread of 0.0035 nats. Recipes that give up Muon learn as from 52 % of their tokens: "Muon is
scalable for LLM training" (arXiv 2502.16982) reached AdamW's loss with that part of its FLOPs.
"""

from __future__ import annotations

from trainer.contract.spec import ModelSpec
from trainer.sizing import scaling_parameters
from trainer.sizing.storage import Storage

_E, _A, _ALPHA, _BETA = 1.8172, 482.01, 0.3478, 0.3658
#: tokens for each scaling parameter at which a given compute is used best
BEST_RATIO = 10.5
#: the size at which nanochat measured it
_MEASURED_AT = 1e9
_B: float = (_ALPHA * _A / _BETA) * _MEASURED_AT ** (_BETA - _ALPHA) * BEST_RATIO**_BETA
#: part of its tokens that AdamW instead of Muon makes use of
_ADAMW_TOKENS = 0.52
#: nats over bf16 with stochastic rounding, measured on a small model
PENALTY_NATS = {
    "int8": 0.001,
    "nf4": 0.008,
    "nf4 adamw8": 0.008,
    "qlora-4bit": 0.008,
    "w3": 0.041,
    "w2.6": 0.035,
    "w2.6 ternary": 0.088,
}


def expected_loss(model: ModelSpec, storage: Storage, tokens: float) -> float:
    """Nats a token at the end, by the law above."""
    effective = tokens if storage.muon else _ADAMW_TOKENS * tokens
    size: float = _A / scaling_parameters(model) ** _ALPHA
    data: float = _B / effective**_BETA
    return _E + size + data + PENALTY_NATS.get(storage.name, 0.0)
