"""Low-rank training of a quantised matrix: the mathematics of LoQT (arXiv 2405.16528).

A weight is W = Q + P B: a packed base Q, a projection P with orthonormal columns and an adapter B,
the only part that is trained. From time to time P B is merged into the base, P is drawn anew from
the leading singular vectors of the gradient, and B starts as what of the base's quantisation
error lies within P's span, so that a merge changes W as little as four bits allow.

Letters for shapes: S the shorter side of a weight, L the longer one, R the rank. All functions
see a weight lying down [S, L]; ``lying`` turns one that stands.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

#: columns of a sketch beyond the rank, as a part of the rank: the singular vectors that a sketch
#: mixes up are those next to its own edge (Halko, Martinsson and Tropp, arXiv 0909.4061)
OVERSAMPLING = 1 / 8
#: rounds of quantising what the adapter does not hold and refitting it; LoQT takes five
COMPENSATION_ROUNDS = 5


def default_rank(width: int) -> int:
    """A quarter of the model's width: 512 for d32, as in LoQT's largest model from scratch."""
    return max(1, width // 4)


def sketch_columns(rank: int, short: int) -> int:
    """Columns of the sketch that a projection of ``rank`` is taken from; never more than S."""
    return min(short, rank + max(8, round(OVERSAMPLING * rank)))


def lying(weight: Tensor) -> Tensor:
    """The weight itself or its transpose, whichever is not higher than wide [S, L]."""
    return weight.mT if weight.size(-2) > weight.size(-1) else weight


def random_projection(short: int, rank: int, seed: int) -> Tensor:
    """Orthonormal columns [S, R] float32 in random directions, for when no gradient is known."""
    generator = torch.Generator().manual_seed(seed)
    return orthonormal(torch.randn(short, rank, generator=generator))


def probes(long: int, columns: int, seed: int, device: torch.device) -> Tensor:
    """Gaussian columns [L, columns] bf16 that a gradient is multiplied with for its sketch.

    Drawn anew for every micro-batch rather than kept, and so on ``device``: at d32 a CPU would
    take a minute for those of one micro-batch.
    """
    generator = torch.Generator(device).manual_seed(seed)
    return torch.randn(long, columns, generator=generator, device=device, dtype=torch.bfloat16)


def projection(sketch: Tensor, rank: int) -> Tensor:
    """Orthonormal basis [S, R] float32 of the sketch's leading left singular vectors.

    ``sketch`` is a gradient [S, L], or a gradient times ``probes`` [S, columns]: the range of a
    random sketch is nearly that of the leading singular vectors. Signs are chosen so that the
    largest number of each column is positive, whatever the library's taste.

    Raises:
        ValueError: the sketch is not finite, or is all zero and so names no direction.
    """
    numbers = sketch.float()
    if not bool(torch.isfinite(numbers).all()) or not bool(numbers.any()):
        raise ValueError("no projection can be taken from a gradient that is zero or not finite")
    left = torch.linalg.svd(numbers, full_matrices=False).U[:, :rank]
    return _with_signs(left)


def orthonormal(columns: Tensor) -> Tensor:
    """An orthonormal basis of the span of ``columns`` [S, R], with signs as in ``projection``."""
    return _with_signs(torch.linalg.qr(columns).Q)


def merged(base: Tensor, projection: Tensor, adapter: Tensor) -> Tensor:
    """The weight Q + P B that the parts stand for, lying down like ``base`` [S, L]."""
    return torch.addmm(base, projection.to(base.dtype), adapter.to(base.dtype))


def compensated(
    weight: Tensor, projection: Tensor, quantised: Callable[[Tensor], Tensor]
) -> tuple[Tensor, Tensor]:
    """What to pack and the adapter, so that base + P B is as near to ``weight`` as it gets.

    ``quantised`` gives what is left of a matrix [S, L] after packing. Alternates between packing
    what the adapter does not hold and giving the adapter the part of the error that P can
    express, as LoQT's algorithm 2 does; keeps the best round, so that more rounds never harm.
    Returns the matrix to be packed and the adapter [R, L], both float32.
    """
    target, basis = weight.float(), projection.float()
    adapter = torch.zeros(basis.size(1), target.size(1), device=target.device)
    best, best_error = (target, adapter), torch.inf
    for _ in range(COMPENSATION_ROUNDS):
        to_pack = torch.addmm(target, basis, adapter, alpha=-1)
        missing = target - quantised(to_pack)
        adapter = basis.mT @ missing
        error = float(torch.linalg.matrix_norm(missing - basis @ adapter))
        if error < best_error:
            best, best_error = (to_pack, adapter), error
    return best


def _with_signs(columns: Tensor) -> Tensor:
    rows = columns.abs().argmax(dim=0, keepdim=True)
    signs = columns.gather(0, rows).sign()
    return columns * torch.where(signs == 0, torch.ones_like(signs), signs)
