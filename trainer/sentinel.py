"""Sentinel: now and then a micro-batch is computed twice, and its gradients compared bit for bit.

Consumer cards have memory without error correction, and some processors compute wrongly now and
then without any sign of it (Hochschild et al., "Cores that don't count", HotOS 2021; Dixit et al.,
"Silent Data Corruptions at Scale", 2021). A flipped bit in a gradient rarely shows in the loss; a
second computation of the same numbers shows it. What is sampled is the hardware: a wrong bit that
is caught once a month was also there uncaught, and the person should know.

When two results differ, a third decides. If it equals one of them, the odd one out was wrong and
is not used. If all three differ, the kernels of this device add up in no fixed order: that is no
fault, and the sentinel says so once and rests until the next start.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from trainer.announce import Announcer
from trainer.contract.spec import GuardSpec
from trainer.precision.kept import Keeping

#: what a result is compared by: the bits of the loss, and of each gradient in turn
Digest = tuple[int, ...]


def interval_steps(ratio: float, micro_batches: int) -> int:
    """Steps between two looks, each at one of a step's ``micro_batches``, for a part of ``ratio``.

    0 when ``ratio`` is 0: never.
    """
    return 0 if ratio <= 0 else max(1, round(1 / (ratio * micro_batches)))


def digest(tensor: Tensor) -> int:
    """The sum of all elements' bit patterns as whole numbers, modulo 2^64.

    Any one flipped bit changes it; it reads the tensor once and allocates nothing of its size.
    """
    whole = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
    bits = tensor.detach().view(whole[tensor.element_size()])
    return int(bits.sum(dtype=torch.int64).item())


class Sentinel:
    """Watches the first micro-batch of some steps."""

    def __init__(
        self, guard: GuardSpec, micro_batches: int, keeping: Keeping, announcer: Announcer
    ) -> None:
        self._every_steps = interval_steps(guard.sentinel_ratio, micro_batches)
        self._keeping = keeping
        self._announcer = announcer

    def is_due(self, step: int) -> bool:
        """Whether the step after ``step`` finished ones is looked at."""
        return self._every_steps > 0 and step % self._every_steps == 0

    def watch(self, step: int, compute: Callable[[], Tensor]) -> Tensor:
        """``compute`` again: the loss of one micro-batch, whose gradients are the only ones kept.

        ``compute`` adds to gradients that are empty, and must do the same each time. Whatever is
        found, one result is in the gradients at the end, and it is the one that was seen twice.
        """
        with _ordered_sums():
            first = self._digest(compute())
            loss, second = self._again(compute)
            if first == second:
                return loss
            loss, third = self._again(compute)
            if third == first:
                self._tell(step, "the second of three results")
            elif third == second:
                self._tell(step, "the first of three results")
            else:
                self._give_up(step)
        return loss

    def _again(self, compute: Callable[[], Tensor]) -> tuple[Tensor, Digest]:
        self._keeping.drop_gradients()
        loss = compute()
        return loss, self._digest(loss)

    def _digest(self, loss: Tensor) -> Digest:
        sums = (each.gradient.sum() for each in self._keeping.trained)
        return (digest(loss), *(0 if one is None else digest(one) for one in sums))

    def _tell(self, step: int, odd: str) -> None:
        self._announcer.notice(
            "sentinel_mismatch",
            f"step {step + 1}: the same micro-batch gave different bits ({odd} was wrong and is "
            "not used); memory or processor of this machine makes mistakes: take back overclocking "
            "and undervolting, look at temperatures, test the memory",
            "error",
        )

    def _give_up(self, step: int) -> None:
        self._every_steps = 0
        self._announcer.notice(
            "sentinel_rests",
            f"step {step + 1}: the same micro-batch gave different bits each of three times, so "
            "the kernels of this device add up in no fixed order; the sentinel rests until the "
            "next start",
        )


@contextlib.contextmanager
def _ordered_sums() -> Iterator[None]:
    """Deterministic kernels where there are any. Training on a GPU does without, for speed."""
    before = torch.get_deterministic_debug_mode()
    with warnings.catch_warnings():
        # where there are none, the comparison itself will tell
        warnings.simplefilter("ignore", UserWarning)
        torch.set_deterministic_debug_mode("warn")
        try:
            yield
        finally:
            torch.set_deterministic_debug_mode(before)
