"""One measurement in a process of its own, so that none leaves memory behind for the next.

Reads a request as JSON on standard input, prints the answer as the last line of its output.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from trainer import environment
from trainer.clock import SystemClock
from trainer.contract.spec import RunSpec, from_dict
from trainer.state import State

CLOCK = SystemClock()
_WARM_UPS = 2
_TIMED = 6


def main() -> int:
    """Answer one request."""
    request = json.load(sys.stdin)
    device = torch.device(request.get("device", "cuda"))
    limit = request.get("limit_bytes")
    if device.type == "cuda" and limit:
        total = torch.cuda.get_device_properties(device).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, limit / total), device)
    spec = from_dict(request["spec"])
    environment.settle(device, environment.available_cores(), spec.train.compile)
    measure = {"memory": memory, "speed": speed, "exactness": exactness}[request["kind"]]
    try:
        answer = measure(spec, device)
    except torch.cuda.OutOfMemoryError:
        answer = {"error": "out of memory"}
    except Exception as error:
        answer = {"error": f"{type(error).__name__}: {error}".splitlines()[0]}
    print("\n" + json.dumps(answer))
    return 0


def memory(spec: RunSpec, device: torch.device) -> dict[str, Any]:
    """Peaks of two micro-batches and a step; the second one finds gradients there."""
    state = State(spec, device)
    loss_of = _loss(state, spec)
    torch.cuda.reset_peak_memory_stats(device)
    for index in range(2):
        _micro_batch(state, spec, loss_of, index)
    forward_backward = torch.cuda.max_memory_allocated(device)
    live = state.live_bytes()
    torch.cuda.reset_peak_memory_stats(device)
    state.optimizer.step(0, 1000)
    torch.cuda.synchronize(device)
    step = torch.cuda.max_memory_allocated(device)
    free, total = torch.cuda.mem_get_info(device)
    reserved = torch.cuda.memory_reserved(device)
    return {
        "allocated": max(forward_backward, step),
        "reserved": torch.cuda.max_memory_reserved(device),
        "context": max(0, total - free - reserved),
        "host": live.optimizer_on_host + live.gradients_on_host,
    }


def speed(spec: RunSpec, device: torch.device) -> dict[str, Any]:
    """Tokens a second of whole steps: timed micro-batches, and one timed optimizer step."""
    state = State(spec, device)
    loss_of = _loss(state, spec)
    for index in range(_WARM_UPS):
        _micro_batch(state, spec, loss_of, index)
    micro_seconds = _seconds(
        device, lambda: [_micro_batch(state, spec, loss_of, index) for index in range(_TIMED)]
    )
    state.optimizer.step(0, 1000)
    _micro_batch(state, spec, loss_of, 0)
    step_seconds = _seconds(device, lambda: state.optimizer.step(1, 1000))
    whole = spec.micro_batches * micro_seconds / _TIMED + step_seconds
    return {"tokens_per_second": spec.train.batch_tokens / whole, "step_seconds": step_seconds}


def exactness(spec: RunSpec, device: torch.device) -> dict[str, Any]:
    """Four steps in one go, twice; and two, a load into a new state, two more."""
    whole, again = _trained(State(spec, device), spec, 4), _trained(State(spec, device), spec, 4)
    first = State(spec, device)
    _trained(first, spec, 2)
    files = {
        name: {key: tensor.detach().cpu().clone() for key, tensor in tensors.items()}
        for name, tensors in first.files().items()
    }
    second = State(spec, device)
    second.load(files, first.meta())
    resumed = _trained(second, spec, 4)
    return {"resumed_equal": resumed == whole, "repeated_equal": again == whole}


def _trained(state: State, spec: RunSpec, until: int) -> str:
    """Train up to step ``until``; the digest of all that a checkpoint would hold."""
    loss_of = _loss(state, spec)
    while state.step < until:
        losses = [
            _micro_batch(state, spec, loss_of, state.step * spec.micro_batches + index)
            for index in range(spec.micro_batches)
        ]
        norm = state.optimizer.step(state.step, 4)
        state.finished_step(float(sum(losses)), norm)
    digest = hashlib.sha256()
    for tensors in state.files().values():
        for name in sorted(tensors):
            digest.update(name.encode())
            digest.update(tensors[name].detach().cpu().contiguous().view(torch.uint8).numpy())
    return digest.hexdigest()


def _loss(state: State, spec: RunSpec) -> Callable[[Tensor, Tensor], Tensor]:
    """As the trainer's stepper computes it."""
    if not spec.train.compile:
        return state.model.loss
    return partial(state.model.loss, trunk=torch.compile(state.model.hidden))


def _micro_batch(
    state: State, spec: RunSpec, loss_of: Callable[[Tensor, Tensor], Tensor], index: int
) -> float:
    """Forward and backward on random tokens that hang on ``index`` alone."""
    generator = torch.Generator().manual_seed(index)
    size = (spec.train.micro_batch, spec.model.sequence_length + 1)
    tokens = torch.randint(spec.model.vocab_size, size, generator=generator).to(state.device)
    with state.recipe.autocast(state.device):
        loss = loss_of(tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous())
    (loss / spec.micro_batches).backward()  # type: ignore[no-untyped-call] # torch's own
    return float(loss.detach())


def _seconds(device: torch.device, work: Callable[[], Any]) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    begin = CLOCK.monotonic()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return CLOCK.monotonic() - begin


if __name__ == "__main__":
    sys.exit(main())
