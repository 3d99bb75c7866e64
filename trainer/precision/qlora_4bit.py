"""qlora-4bit: a frozen NF4 base and trained adapters that are merged into it: LoQT.

What QLoRA does for fine-tuning (arXiv 2305.14314) cannot pretrain: from random weights a frozen
base is noise. With merges it does learn from scratch (LoQT, arXiv 2405.16528): d32 in less than
8 GB of the card, no full gradient, no master and no host memory at all. The price is quality: a
step moves each matrix in a quarter of its directions, and whatever a merge moves by less than
four bits can tell is lost outside of them.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Collection
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import Tensor

from trainer.model import Linear, NanoChat
from trainer.precision import lowrank
from trainer.precision.adapted import DTYPE, AdaptedLinear
from trainer.precision.base import Setting
from trainer.precision.blocks import replace_linears
from trainer.precision.codecs.nf4 import Nf4
from trainer.precision.kept import Keeping, Kept, Moment, place
from trainer.precision.merges import Merges
from trainer.precision.resting import Resting
from trainer.precision.rounded import Rounded

_BEFORE_ALL_STEPS = -1


@dataclass(frozen=True)
class QLora4Bit:
    """NF4 matrices with bf16 adapters, trained by 8-bit AdamW; the rest as in bf16-8bit."""

    name: str = "qlora-4bit"
    orthogonalize_dtype: torch.dtype = torch.bfloat16
    state_bits: int = 8
    optimizers: tuple[str, ...] = ("adamw8",)
    sums_in_bf16: bool = True
    frugal: bool = True

    def prepare(self, model: NanoChat, setting: Setting) -> Keeping:
        """Matrices of the blocks replaced by packed ones with adapters; tables in bf16."""
        rank = setting.adapter_rank or lowrank.default_rank(model.shape.width)
        layers: dict[str, AdaptedLinear] = {}

        def make(name: str, linear: Linear) -> AdaptedLinear:
            shape = (linear.out_features, linear.in_features)
            layers[name] = AdaptedLinear(shape, rank, Nf4(), setting.device)
            return layers[name]

        replace_linears(model, make)
        for whole in (model.transformer.wte, model.lm_head, model.rope):
            place(whole, setting.device, torch.bfloat16)
        model.rope.fill()
        return AdaptedKeeping(model, self, setting, layers)

    def autocast(self, device: torch.device) -> AbstractContextManager[None]:
        return torch.autocast(device.type, dtype=DTYPE)


class Progress:
    """How far the merges are. Its one tensor is in the checkpoint, and nothing else is needed."""

    def __init__(self, merges: Merges, seed: int) -> None:
        self._merges = merges
        self._seed = seed
        #: the step to come, merges made
        self.tensor = torch.zeros(2, dtype=torch.int64, device="cpu")

    def due(self, step: int) -> bool:
        """Whether a merge should follow ``step``; one that could not be made is made up for."""
        made = int(self.tensor[1])
        return self._merges.until(step + 1) > made

    def sketch_seed(self, name: str) -> int | None:
        """What draws the probes for a matrix in the step to come; None unless a merge is due."""
        step = int(self.tensor[0])
        return stream_seed(self._seed, step, name) if self.due(step) else None

    def next(self, step: int) -> None:
        """``step`` is over."""
        self.tensor[0] = step + 1

    def merged(self, step: int) -> None:
        """The merges that were due with ``step`` are made."""
        self.tensor[1] = self._merges.until(step + 1)


class Adapter(Rounded):
    """The trained part of an AdaptedLinear, bf16 as embedding and head are."""

    def __init__(self, name: str, layer: AdaptedLinear, setting: Setting) -> None:
        super().__init__(name, layer.adapter, setting)
        self._layer = layer
        self._first_seed = stream_seed(setting.seed, _BEFORE_ALL_STEPS, name)
        # P spreads an adapter's change over S rows: so much more of it changes a weight's numbers
        # as much as AdamW on the weight itself would
        self.lr_factor = (layer.short / layer.adapter.size(0)) ** 0.5

    def fill(self, values: Tensor) -> None:
        layer = self._layer
        basis = lowrank.random_projection(layer.short, layer.adapter.size(0), self._first_seed)
        adapter = self._rebase(lowrank.lying(values.to(layer.adapter.device)), basis)
        super().fill(adapter)

    @torch.no_grad()
    def merge(self, moment: Moment) -> None:
        """Add the adapter to the base and begin a new one along the step's gradient.

        The old directions stay when the gradient has none.
        """
        layer = self._layer
        basis = layer.projection
        sketch = layer.sketch.sum()
        if sketch is not None and bool(sketch.isfinite().all()) and bool(sketch.any()):
            basis = lowrank.projection(sketch, basis.size(1))
        base = lowrank.lying(layer.base(torch.float32))
        weight = lowrank.merged(base, layer.projection, self.master())
        self.store(self._rebase(weight, basis), moment)

    def _rebase(self, weight: Tensor, basis: Tensor) -> Tensor:
        """Pack a weight [S, L] and take new directions; the adapter that makes up for packing."""
        layer = self._layer
        layer.projection.copy_(basis)
        to_pack, adapter = lowrank.compensated(weight, layer.projection, layer.packed)
        layer.pack(to_pack)
        return adapter.contiguous()


class AdaptedKeeping(Keeping):
    """Merges all adapters when it is time."""

    def __init__(
        self,
        model: NanoChat,
        recipe: QLora4Bit,
        setting: Setting,
        layers: dict[str, AdaptedLinear],
    ) -> None:
        self._layers = layers
        self._progress = Progress(Merges(setting.merge_interval_steps), setting.seed)
        self._adapters: list[Adapter] = []
        trained: list[Kept] = []
        for name, parameter in model.named_parameters():
            module, _, kind = name.rpartition(".")
            if kind != "adapter":
                trained.append(Rounded(name, parameter, setting))
                continue
            weight = f"{module}.weight"
            layer = layers[weight]
            layer.sketch_seed = functools.partial(self._progress.sketch_seed, weight)
            self._adapters.append(Adapter(weight, layer, setting))
            trained.append(self._adapters[-1])
        super().__init__(model, recipe, setting, trained)

    def after_step(self, moment: Moment) -> Collection[str]:
        """Merge if it is time.

        The adapters' moments go on as they are, though they belong to other directions now:
        singular vectors come in order of size, so the scales stay about right. From zero, a run
        of 160 steps and eight merges ended 0.02 nats a token worse; turned into the new
        directions, which needs the moments in full precision, 0.02 worse to 0.03 better.
        """
        if self._progress.due(moment.step) and self._sketched():
            for adapter in self._adapters:
                adapter.merge(moment)
            self._progress.merged(moment.step)
        self._progress.next(moment.step)
        return ()

    def drop_gradients(self) -> None:
        super().drop_gradients()
        for layer in self._layers.values():
            layer.sketch.drop()

    def resting(self) -> dict[str, Resting]:
        found = super().resting()
        progress = Resting(self._progress.tensor, torch.device("cpu"), parked=False)
        return found | {"merges.progress": progress}

    def _sketched(self) -> bool:
        return any(layer.sketch.sum() is not None for layer in self._layers.values())


def stream_seed(seed: int, step: int, name: str) -> int:
    """What draws the random numbers of one matrix in one step: a pure function of the three."""
    digest = hashlib.sha256(f"lowrank/{seed}/{step}/{name}".encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1
