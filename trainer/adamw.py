"""AdamW for embedding and head, or for everything: in full precision, or with 8-bit state."""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterator, Sequence

import torch
from torch import Tensor
from torch.optim.adamw import adamw

from trainer.bnb import functional
from trainer.moments import BLOCK
from trainer.precision.kept import Kept, Moment
from trainer.precision.resting import Resting, Shelf

EMBEDDING_LR = 0.2
HEAD_LR = 0.004
#: for the matrices of the blocks, which classic nanochat leaves to Muon; about what GPT-3 took
#: at these widths (arXiv 2005.14165, table 2.1)
BLOCK_LR = 6e-4
#: the rates were tuned at this width and scale with width^-0.5
_TUNED_WIDTH = 768
_BETAS = (0.8, 0.95)
_EPSILON = 1e-10
#: numbers updated at a time in float32: a whole embedding would take a GB of temporaries
_CHUNK_NUMBERS = 1 << 24


def base_lr(name: str, width: int) -> float:
    """The rate of a weight of a model ``width`` channels wide, before schedule and scale."""
    rates = {"lm_head.weight": HEAD_LR, "transformer.wte.weight": EMBEDDING_LR}
    by_width: float = (width / _TUNED_WIDTH) ** -0.5
    return rates.get(name, BLOCK_LR) * by_width


class AdamW:
    """Adam (arXiv 1412.6980) without weight decay, each weight with a learning rate of its own.

    The arithmetic is torch's fused kernel. Moments have the dtype of their weight.
    """

    def __init__(self, weights: Sequence[Kept], width: int, shelf: Shelf) -> None:
        self._weights = weights
        self._width = width
        self._moments = {
            each.name: tuple(shelf.zeros(each.shape, each.master().dtype) for _ in range(2))
            for each in weights
        }

    def step(self, moment: Moment, lr: float, clip_factor: float) -> None:
        """Update all weights from their gradients times ``clip_factor``; ``lr`` scales rates."""
        for each in self._weights:
            master = each.master()
            summed = each.gradient.sum()
            assert summed is not None
            gradient = summed.to(master.dtype)
            if clip_factor < 1.0:
                gradient.mul_(clip_factor)
            mean, square = (kept.fetch() for kept in self._moments[each.name])
            adamw(
                [master], [gradient], [mean], [square], [],
                [torch.full((), float(each.age(moment.step)), device=master.device)],
                fused=True, amsgrad=False, beta1=_BETAS[0], beta2=_BETAS[1],
                lr=lr * each.lr_factor * base_lr(each.name, self._width),
                weight_decay=0.0, eps=_EPSILON, maximize=False,
            )  # fmt: skip
            for kept, values in zip(self._moments[each.name], (mean, square), strict=True):
                kept.put_back(values)
            each.store(master, moment)

    def forget(self, names: Collection[str]) -> None:
        """Start the moments of these weights from zero."""
        for name in names & self._moments.keys():
            for kept in self._moments[name]:
                kept.tensor.zero_()

    def resting(self) -> dict[str, Resting]:
        """The state's tensors by stable names."""
        return {
            f"adamw.{kind}.{name}": kept
            for name, pair in self._moments.items()
            for kind, kept in zip(("exp_avg", "exp_avg_sq"), pair, strict=True)
        }


class AdamW8:
    """The same with both moments in eight bits, by bitsandbytes (arXiv 2110.02861).

    bitsandbytes rounds a bf16 weight to the nearest, where small updates are lost. So it updates
    a float32 copy of some rows, which the recipe then stores as it does.
    """

    def __init__(self, weights: Sequence[Kept], width: int, shelf: Shelf) -> None:
        self._weights = weights
        self._width = width
        self._states = {each.name: _State8(each.shape, shelf) for each in weights}

    def step(self, moment: Moment, lr: float, clip_factor: float) -> None:
        """Update all weights from their gradients times ``clip_factor``; ``lr`` scales rates."""
        for each in self._weights:
            summed = each.gradient.sum()
            assert summed is not None
            state = self._states[each.name].fetch()
            scaled_lr = lr * each.lr_factor * base_lr(each.name, self._width)
            for rows in _chunks(each.shape):
                gradient = summed[rows].float()
                if clip_factor < 1.0:
                    gradient.mul_(clip_factor)
                master = each.master(rows)
                _update(master, gradient, state, rows, scaled_lr, each.age(moment.step) + 1)
                each.store(master, moment, rows)
            self._states[each.name].put_back(state)

    def forget(self, names: Collection[str]) -> None:
        """Start the moments of these weights from zero."""
        for name in names & self._states.keys():
            self._states[name].clear()

    def resting(self) -> dict[str, Resting]:
        """The state's tensors by stable names."""
        return {
            f"adamw8.{kind}.{name}": kept
            for name, state in self._states.items()
            for kind, kept in state.resting.items()
        }


class _State8:
    """Codes [rows, columns] and scales [blocks] of both moments."""

    def __init__(self, shape: torch.Size, shelf: Shelf) -> None:
        blocks = -(-shape.numel() // BLOCK)
        self.resting = {
            "exp_avg": shelf.zeros(shape, torch.uint8),
            "exp_avg_scale": shelf.zeros((blocks,), torch.float32),
            "exp_avg_sq": shelf.zeros(shape, torch.uint8),
            "exp_avg_sq_scale": shelf.zeros((blocks,), torch.float32),
        }

    def fetch(self) -> list[Tensor]:
        return [kept.fetch() for kept in self.resting.values()]

    def put_back(self, state: list[Tensor]) -> None:
        for kept, values in zip(self.resting.values(), state, strict=True):
            kept.put_back(values)

    def clear(self) -> None:
        for kept in self.resting.values():
            kept.tensor.zero_()


def _update(
    master: Tensor, gradient: Tensor, state: list[Tensor], rows: slice, lr: float, count: int
) -> None:
    columns = master.size(1)
    blocks = slice(rows.start * columns // BLOCK, -(-rows.stop * columns // BLOCK))
    mean, mean_scale, square, square_scale = state
    functional().optimizer_update_8bit_blockwise(
        "adam", gradient, master, mean[rows], square[rows],
        *_BETAS, 0.0, 0.0, _EPSILON, count, lr,
        _map(master.device, signed=True), _map(master.device, signed=False),
        mean_scale[blocks], square_scale[blocks],
    )  # fmt: skip


def _chunks(shape: torch.Size) -> Iterator[slice]:
    """Rows at a time that begin on the border of a block of state."""
    rows, columns = shape
    step = max(1, _CHUNK_NUMBERS // columns // BLOCK) * BLOCK
    for start in range(0, rows, step):
        yield slice(start, min(rows, start + step))


@functools.cache
def _map(device: torch.device, *, signed: bool) -> Tensor:
    table: Tensor = functional().create_dynamic_map(signed=signed)
    return table.to(device)
