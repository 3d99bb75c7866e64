"""Stepper: one optimizer step out of its micro-batches."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from trainer import sizing
from trainer.announce import Announcer
from trainer.clock import Clock
from trainer.contract.messages import Step
from trainer.contract.spec import RunSpec
from trainer.data import Loader
from trainer.desk import Desk
from trainer.optim import lr_multiplier
from trainer.peak import Peak
from trainer.portion import Portion, is_out_of_memory
from trainer.sentinel import Sentinel
from trainer.state import State


class Stepper:
    """Computes steps. Between two of its micro-batches the desk answers commands."""

    def __init__(
        self,
        spec: RunSpec,
        state: State,
        loader: Loader,
        desk: Desk,
        announcer: Announcer,
        clock: Clock,
        peak: Peak,
        portion: Portion,
        before_update: Callable[[], None] = lambda: None,
    ) -> None:
        """``before_update`` returns when weights and optimizer state may change."""
        self._spec = spec
        self._state = state
        self._loader = loader
        self._desk = desk
        self._announcer = announcer
        self._watch = Stopwatch(clock)
        self._pace = Pace(state.device)
        self._portion = portion
        self._before_update = before_update
        self._peak_flops = peak.flops
        self._flops_per_token = sizing.flops_per_token(spec.model)
        self._steps = sizing.horizon_steps(spec)
        self._micro_batches = spec.micro_batches
        self._sentinel = Sentinel(spec.guard, spec.micro_batches, state.keeping, announcer)
        self._loss: Callable[[Tensor, Tensor], Tensor] = state.model.loss
        if spec.train.compile:
            self._loss = partial(state.model.loss, trunk=torch.compile(state.model.hidden))

    def run(self) -> Step:
        """One step. A loss or gradient that is not finite leaves the weights as they are.

        Raises:
            LeaveError: a command said so.
            TooLargeError: not even one sequence at a time fits into memory.
        """
        self._watch.start()
        away_seconds = self._desk.away_seconds
        loss = self._accumulate()
        norm = self._apply(loss)
        self._watch.lap("optimizer")
        seconds = self._watch.total_seconds() - (self._desk.away_seconds - away_seconds)
        event = self._event(loss, norm, max(seconds, 1e-9))
        self._tell_of_trouble(self._state.finished_step(loss, norm), norm)
        return event

    def epoch(self) -> float:
        """How often the corpus has been seen when the last finished step is over."""
        return self._epoch_after(self._state.step)

    def _accumulate(self) -> float:
        """The mean loss over all micro-batches, whose gradients are summed up then.

        When memory runs out, the whole step begins again in smaller portions: what a backward
        pass that was cut short has added to the sums cannot be taken out of them.
        """
        while (loss := self._sum_up_if_it_fits()) is None:
            # only here, where no traceback holds on to the tensors of the failed pass any more
            self._state.keeping.drop_gradients()
            if self._state.device.type == "cuda":
                torch.cuda.empty_cache()
            self._portion.shrink(self._spec.model.sequence_length)
        return loss

    def _sum_up_if_it_fits(self) -> float | None:
        try:
            return self._sum_up()
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        return None

    def _sum_up(self) -> float:
        """Sum up the gradients of all micro-batches; the mean loss in nats per token.

        Each micro-batch is scaled before it is added, in the order of their numbers, so that the
        sum is the same whoever computes them and however often the work was interrupted.
        """
        first = self._state.batch_after(self._state.step) * self._micro_batches
        total = torch.zeros((), device=self._state.device)
        for index in range(self._micro_batches):
            if index:
                self._announcer.beat(self._state.step, index, self._micro_batches)
                self._desk.answer()
                self._watch.skip()
            ids, targets = self._batch(first + index)
            self._watch.lap("data")
            total += self._watched(ids, targets) if index == 0 else self._backward(ids, targets)
            self._pace.keep()
            self._watch.lap("compute")
        loss = total.item() / self._micro_batches
        self._watch.lap("compute")
        return loss

    def _watched(self, ids: Tensor, targets: Tensor) -> Tensor:
        """The first micro-batch of a step, which the sentinel may want more than once."""
        if not self._sentinel.is_due(self._state.step):
            return self._backward(ids, targets)
        loss = self._sentinel.watch(self._state.step, lambda: self._backward(ids, targets))
        self._watch.lap("sentinel")
        return loss

    def _batch(self, index: int) -> tuple[Tensor, Tensor]:
        ids, targets = self._loader.batch(index)
        return ids.to(self._state.device), targets.to(self._state.device)

    def _backward(self, ids: Tensor, targets: Tensor) -> Tensor:
        """Add a micro-batch's gradients, portion by portion; its mean loss."""
        total = torch.zeros((), device=self._state.device)
        for first in range(0, len(ids), self._portion.size):
            own = slice(first, first + self._portion.size)
            share = len(ids[own]) / len(ids)
            with self._state.recipe.autocast(self._state.device):
                loss = self._loss(ids[own], targets[own])
            # the share of a whole micro-batch is 1.0 and changes no bit
            scaled = loss * share / self._micro_batches
            scaled.backward()  # type: ignore[no-untyped-call] # torch's own
            total += loss.detach() * share
        return total

    def _apply(self, loss: float) -> float:
        if not math.isfinite(loss):
            self._state.keeping.drop_gradients()
            return math.nan
        self._before_update()
        return self._state.optimizer.step(self._state.step, self._steps)

    def _tell_of_trouble(self, why: str, norm: float) -> None:
        if not why:
            return
        step = self._state.step
        if math.isfinite(norm):
            self._announcer.notice("loss_spike", f"step {step} is out of proportion: {why}")
            return
        self._announcer.notice(
            "loss_not_finite",
            f"step {step} was left out, the weights are unchanged: {why}",
            "error",
        )

    def _epoch_after(self, steps: int) -> float:
        return self._loader.epoch(self._state.batch_after(steps) * self._micro_batches)

    def _event(self, loss: float, norm: float, seconds: float) -> Step:
        finished = self._state.step + 1
        tokens_per_second = self._spec.train.batch_tokens / seconds
        flops = tokens_per_second * self._flops_per_token
        # A peak measured while the machine was busy is too low; what was reached corrects it.
        self._peak_flops = max(self._peak_flops, flops)
        return Step(
            step=finished,
            steps=self._steps,
            tokens=finished * self._spec.train.batch_tokens,
            epoch=self._epoch_after(finished),
            loss=loss,
            gradient_norm=norm,
            lr_multiplier=lr_multiplier(
                self._state.step, self._steps, self._spec.train.warmdown_ratio
            ),
            seconds=seconds,
            tokens_per_second=tokens_per_second,
            mfu=flops / self._peak_flops,
            phases=self._watch.laps(),
        )


class Stopwatch:
    """Seconds of one step, by what they were spent on."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.start()

    def start(self) -> None:
        """Begin a new step."""
        self._begin = self._last = self._clock.monotonic()
        self._laps = {"data": 0.0, "compute": 0.0, "optimizer": 0.0}

    def lap(self, phase: str) -> None:
        """Count the time since the last mark as ``phase``."""
        now = self._clock.monotonic()
        self._laps[phase] = self._laps.get(phase, 0.0) + now - self._last
        self._last = now

    def skip(self) -> None:
        """Count the time since the last mark as nothing."""
        self._last = self._clock.monotonic()

    def total_seconds(self) -> float:
        """Seconds from the start to the last mark."""
        return self._last - self._begin

    def laps(self) -> dict[str, float]:
        """The seconds of each phase."""
        return dict(self._laps)


class Pace:
    """Keeps a GPU at most one micro-batch behind, so that commands act within one.

    A GPU computes on while the program already prepares what follows; unchecked, a pause would
    be answered many micro-batches before it is true.
    """

    def __init__(self, device: torch.device) -> None:
        self._on_gpu = device.type == "cuda"
        self._before: torch.cuda.Event | None = None

    def keep(self) -> None:
        """Call after each micro-batch: waits until the one before it is done."""
        if not self._on_gpu:
            return
        if self._before is not None:
            self._before.synchronize()
        self._before = torch.cuda.Event()  # type: ignore[no-untyped-call] # torch's own
        self._before.record()
