"""Rounded: a bf16 weight that is rounded stochastically, with eight more bits when they matter."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import torch
from torch import Tensor, nn

from trainer.precision import rounding
from trainer.precision.base import Setting
from trainer.precision.gradients import of_parameter
from trainer.precision.kept import ALL_ROWS, Moment
from trainer.precision.resting import Resting, Shelf


class Rounded:
    """The parameter is bf16; its master is a float32 copy, or a 24-bit one beside a residual.

    While the learning rate is high, stochastic rounding alone keeps the mean of the updates. In
    the warm-down they get small against a bf16's last place and the noise of rounding would
    outweigh them: a signed 8-bit residual makes it 256 times smaller (the idea of FlashOptim,
    arXiv 2602.23349).
    """

    lr_factor = 1.0

    def __init__(self, name: str, parameter: nn.Parameter, setting: Setting) -> None:
        self.name = name
        self.shape = parameter.shape
        self.gradient = of_parameter(parameter, on_host=setting.host_gradients)
        self._weight = parameter.detach()
        self._seed = setting.seed
        self._mode = setting.residual
        # reserved from the start: a run must not find out in its last week that there is no room
        self._room: Resting | None = None
        if self._mode != "off":
            shelf = Shelf(setting.device, setting.parked)
            self._room = shelf.zeros(self.shape, torch.int8)
        self._residual = self._room if self._mode == "always" else None

    def age(self, step: int) -> int:
        return step

    def master(self, rows: slice = ALL_ROWS) -> Tensor:
        if self._residual is None:
            return self._weight[rows].float()
        return rounding.join_24_bits(self._weight[rows], self._residual.fetch(rows))

    def store(self, values: Tensor, moment: Moment, rows: slice = ALL_ROWS) -> None:
        key = rounding.stream_key(self._seed, moment.step, self.name)
        first = (rows.start or 0) * self.shape[1]
        if self._residual is None and self._mode == "warmdown" and moment.lr_multiplier < 1.0:
            self._begin_residual()
        if self._residual is None:
            rounding.round_to_bf16(values, key, first, self._weight[rows])
            return
        residual = torch.empty(values.shape, dtype=torch.int8, device=values.device)
        rounding.split_to_24_bits(values, key, first, self._weight[rows], residual)
        self._residual.put_back(residual, rows)

    def fill(self, values: Tensor) -> None:
        self._weight.copy_(values)

    def resting(self) -> Mapping[str, Resting]:
        return {} if self._residual is None else {f"residual.{self.name}": self._residual}

    def expect(self, names: Collection[str]) -> None:
        if self._mode != "warmdown":
            return
        wanted = any(name.startswith("residual.") for name in names)
        if not wanted:
            self._residual = None
        elif self._residual is None:
            self._begin_residual()

    def _begin_residual(self) -> None:
        assert self._room is not None
        self._room.tensor.zero_()
        self._residual = self._room
