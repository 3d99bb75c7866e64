"""The dense peak that model FLOPs utilisation (MFU) is measured against."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from trainer import sizing
from trainer.clock import Clock

#: rows and columns of the square matrices that a CPU's peak is measured with
_CPU_SIZE = 1024
_GPU_SIZE = 8192
_ROUNDS = 10
#: nobody waits longer for a figure than this
_LIMIT_SECONDS = 0.3


@dataclass(frozen=True)
class Peak:
    """FLOP/s, and where the figure is from."""

    flops: float
    source: str


def peak_of(device: torch.device, precision: str, clock: Clock) -> Peak:
    """The data sheet's figure for a known card, a short measurement for everything else."""
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
        card = sizing.card_named(name)
        if card is not None:
            return of_card(card, precision)
    return measured(device, precision, clock)


def of_card(card: sizing.Card, precision: str) -> Peak:
    """The dense peak of a card at its reference clock in the recipe's number format."""
    flops = card.fp32_flops if precision == "fp32" else card.bf16_flops
    kind = "fp32" if precision == "fp32" else "bf16"
    return Peak(flops, f"{card.name}, dense {kind}, reference clock")


def measured(device: torch.device, precision: str, clock: Clock) -> Peak:
    """The best of a few square matrix products, in the fastest format that the recipe allows."""
    formats = [torch.float32] if precision == "fp32" else [torch.float32, torch.bfloat16]
    flops, best = max(
        ((_matmul_flops(device, dtype, clock), dtype) for dtype in formats),
        key=lambda pair: pair[0],
    )
    kind = str(best).removeprefix("torch.")
    where = "GPU" if device.type == "cuda" else f"{torch.get_num_threads()} CPU threads"
    return Peak(flops, f"measured: {kind} matrix product on {where}")


def _matmul_flops(device: torch.device, dtype: torch.dtype, clock: Clock) -> float:
    size = _GPU_SIZE if device.type == "cuda" else _CPU_SIZE
    left = torch.ones(size, size, device=device, dtype=dtype)
    begin = clock.monotonic()
    shortest = float("inf")
    # the first product also pays for the library's start
    for _ in range(_ROUNDS):
        shortest = min(shortest, _product_seconds(left, clock))
        if clock.monotonic() - begin > _LIMIT_SECONDS:
            break
    return 2.0 * size**3 / max(shortest, 1e-9)


def _product_seconds(square: torch.Tensor, clock: Clock) -> float:
    begin = clock.monotonic()
    torch.mm(square, square)
    if square.is_cuda:
        torch.cuda.synchronize(square.device)
    return clock.monotonic() - begin
