"""Muon for the matrices of the blocks."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence

import torch
from torch import Tensor

from trainer.moments import FloatMomentum, Int8Momentum, Momentum
from trainer.precision.kept import Kept, Moment
from trainer.precision.resting import Resting, Shelf

MATRIX_LR = 0.02
#: what Newton-Schulz makes of a singular value x in each step: a x + b x^3 + c x^5
#: (Keller Jordan, "Muon", 2024)
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
NEWTON_SCHULZ_STEPS = 5
_NORM_FLOOR = 1e-7
#: matrices of equal shape go through Newton-Schulz together up to so many numbers: small models
#: gain by it, and at d32 the large matrices go one by one
_BATCH_NUMBERS = 1 << 24


def muon_momentum(step: int) -> float:
    """0.85 at step 0, linearly up to 0.95 at step 300 and constant from there."""
    fraction = min(step / 300, 1.0)
    return (1 - fraction) * 0.85 + fraction * 0.95


class Muon:
    """Momentum whose direction is orthogonalised (Keller Jordan, 2024), Nesterov's variant.

    torch.optim.Muon makes the same update, always in bf16 and one matrix at a time.
    """

    def __init__(
        self, matrices: Sequence[Kept], dtype: torch.dtype, shelf: Shelf, state_bits: int
    ) -> None:
        self._dtype = dtype
        self._momenta: dict[str, Momentum] = {
            each.name: Int8Momentum(each.shape, shelf)
            if state_bits == 8
            else FloatMomentum(each.shape, torch.float32, shelf)
            for each in matrices
        }
        self._batches = list(_batches(matrices))

    def step(self, moment: Moment, lr: float, clip_factor: float) -> None:
        """Update all matrices from their gradients times ``clip_factor``."""
        momentum = muon_momentum(moment.step)
        for batch in self._batches:
            directions = torch.stack([self._direction(e, momentum, clip_factor) for e in batch])
            for each, update in zip(batch, orthogonalize(directions), strict=True):
                rows, columns = each.shape
                scaled_lr = each.lr_factor * lr * MATRIX_LR * max(1.0, rows / columns) ** 0.5
                master = each.master()
                master.add_(update.T if rows > columns else update, alpha=-scaled_lr)
                each.store(master, moment)

    def forget(self, names: Collection[str]) -> None:
        """Start the momenta of these matrices from zero."""
        for name in names & self._momenta.keys():
            self._momenta[name].clear()

    def resting(self) -> dict[str, Resting]:
        """The state's tensors by stable names."""
        return {
            f"muon.momentum{'_' * bool(kind)}{kind}.{name}": tensor
            for name, momentum in self._momenta.items()
            for kind, tensor in momentum.resting().items()
        }

    def _direction(self, kept: Kept, momentum: float, clip_factor: float) -> Tensor:
        """What to orthogonalise, with at least as many columns as rows."""
        summed = kept.gradient.sum()
        assert summed is not None
        gradient = summed.float()
        if clip_factor < 1.0:
            gradient.mul_(clip_factor)
        mean = self._momenta[kept.name].fetch().lerp_(gradient, 1 - momentum)
        self._momenta[kept.name].put_back(mean)
        direction = gradient.lerp(mean, momentum).to(self._dtype)
        return direction.T if kept.shape[0] > kept.shape[1] else direction


def orthogonalize(matrices: Tensor) -> Tensor:
    """Nearly the nearest semi-orthogonal matrix to each of ``matrices`` [N, rows, columns].

    Newton-Schulz in the dtype that comes in; singular values end between about 0.5 and 1.5.
    """
    a, b, c = NEWTON_SCHULZ
    x: Tensor = matrices / (torch.linalg.matrix_norm(matrices, keepdim=True) + _NORM_FLOOR)
    for _ in range(NEWTON_SCHULZ_STEPS):
        gram = x @ x.mT
        polynomial = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        x = torch.baddbmm(x, polynomial, x, beta=a)
    return x


def _batches(matrices: Sequence[Kept]) -> Iterator[list[Kept]]:
    by_shape: dict[tuple[int, ...], list[Kept]] = {}
    for each in matrices:
        by_shape.setdefault(tuple(sorted(each.shape)), []).append(each)
    for shape, alike in by_shape.items():
        size = max(1, _BATCH_NUMBERS // math.prod(shape))
        for start in range(0, len(alike), size):
            yield alike[start : start + size]
