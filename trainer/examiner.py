"""Examiner: how good the model is now, in bits per byte and in words."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from trainer import chat, evaluate
from trainer.announce import Announcer
from trainer.clock import Clock
from trainer.contract.messages import Evaluated
from trainer.contract.spec import RunSpec
from trainer.data import Dataset, validation_batches
from trainer.desk import Desk
from trainer.state import State

_SAMPLE_TOKENS = 96
_SAMPLE_TEMPERATURE = 0.8


class Examiner:
    """Validates the state of the last finished step; the desk answers commands meanwhile."""

    def __init__(
        self,
        spec: RunSpec,
        state: State,
        dataset: Dataset,
        desk: Desk,
        announcer: Announcer,
        clock: Clock,
    ) -> None:
        self._spec = spec
        self._state = state
        self._dataset = dataset
        self._desk = desk
        self._announcer = announcer
        self._clock = clock
        self._token_bytes = torch.from_numpy(dataset.token_bytes).to(state.device)

    def evaluate(self) -> float:
        """Bits per byte on the validation split, noted in the state and sent up.

        Raises LeaveError when a command says so; nothing is noted then.
        """
        self._announcer.phase("eval", f"after step {self._state.step}", 0.0)
        begin, away_seconds = self._clock.monotonic(), self._desk.away_seconds
        found = evaluate.bits_per_byte(
            self._state.model,
            _Batches(self._spec, self._dataset),
            self._token_bytes,
            self._state.recipe,
            self._state.device,
            self._between,
        )
        away_seconds = self._desk.away_seconds - away_seconds
        seconds = self._clock.monotonic() - begin - away_seconds
        self._state.evaluated(found.bits_per_byte)
        self._announcer.say(Evaluated(self._state.step, found.bits_per_byte, found.loss, seconds))
        return found.bits_per_byte

    def sample(self) -> str:
        """What the model writes after the spec's prompt; the same on every call."""
        return chat.sample(
            self._state.model,
            self._dataset.tokenizer,
            self._spec.sample_prompt,
            max_tokens=_SAMPLE_TOKENS,
            choice=chat.Choice(_SAMPLE_TEMPERATURE, seed=self._spec.seed),
        )

    def _between(self, fraction: float) -> None:
        self._announcer.phase("eval", f"after step {self._state.step}", fraction)
        self._desk.answer()


class _Batches:
    """The validation batches, which also tell about how many they are."""

    def __init__(self, spec: RunSpec, dataset: Dataset) -> None:
        self._sizes = (spec.train.micro_batch, spec.model.sequence_length)
        self._tokens = min(spec.train.eval_tokens, dataset.validation.tokens)
        self._dataset = dataset

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return validation_batches(self._dataset, *self._sizes, self._tokens)

    def __length_hint__(self) -> int:
        return -(-self._tokens // math.prod(self._sizes))
