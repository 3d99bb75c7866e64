"""One optimizer step of the real d32 in a process of its own; prints what it found as JSON."""

from __future__ import annotations

import json
import resource
import sys

import torch

from trainer.contract.spec import ModelSpec, RunSpec, TrainSpec
from trainer.precision.kept import Keeping
from trainer.state import State

SEQUENCE_LENGTH = 16
_WATCHED = (
    "transformer.wte.weight",
    "lm_head.weight",
    "transformer.h.0.attn.c_proj.weight",
    "transformer.h.31.mlp.c_proj.weight",
)


def main(precision: str) -> None:
    spec = RunSpec(
        name="d32",
        model=ModelSpec(depth=32, sequence_length=SEQUENCE_LENGTH),
        train=TrainSpec(steps=1, batch_tokens=SEQUENCE_LENGTH, micro_batch=1, precision=precision),
    )
    state = State(spec, torch.device("cpu"))
    shape = state.model.lm_head.weight.shape
    # nanochat's head begins as zeros, and then no gradient comes past it in the first step
    state.keeping.fill("lm_head.weight", torch.randn(shape).mul_(0.01))
    built = _peak_bytes()
    before = _some_rows(state.keeping)
    text = torch.randint(256, (1, SEQUENCE_LENGTH + 1))
    loss = state.model.loss(text[:, :-1], text[:, 1:])
    torch.autograd.backward(loss)
    backward, live = _peak_bytes(), state.live_bytes()
    norm = state.optimizer.step(0, 1)
    after = _some_rows(state.keeping)
    found = {
        "parameters": sum(kept.shape.numel() for kept in state.keeping.trained),
        "loss": loss.item(),
        "gradient_norm": norm,
        "moved": [name for name in _WATCHED if not torch.equal(before[name], after[name])],
        "peak_bytes": {"built": built, "backward": backward, "step": _peak_bytes()},
        "live_bytes": vars(live),
    }
    print(json.dumps(found))


def _some_rows(keeping: Keeping) -> dict[str, torch.Tensor]:
    masters = {kept.name: kept for kept in keeping.trained}
    return {name: masters[name].master(slice(0, 256)).clone() for name in _WATCHED}


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    main(sys.argv[1])
