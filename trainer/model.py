"""Classic nanochat, read top to bottom (karpathy/nanochat at 3a5e0bc, October 2025).

A decoder-only transformer: RMSNorm without weights, rotary positions, normed queries and keys,
relu squared, no biases, an untied head with softcapped logits. Parameter names are nanochat's.

Letters for shapes: B sequences, T tokens, C channels (width), H heads, D channels a head,
V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import cast

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from trainer.contract.spec import ModelSpec
from trainer.loss import IGNORED, mean_loss, token_losses
from trainer.sizing import Shape, shape_of

#: logits never leave (-LOGIT_CAP, LOGIT_CAP)
LOGIT_CAP = 15.0
#: under the root of RMSNorm: float32's machine epsilon
NORM_EPSILON = torch.finfo(torch.float32).eps
ROPE_BASE = 10_000.0

#: token ids [B, T] to what the head reads [B, T, C]
Trunk = Callable[[Tensor], Tensor]


class NanoChat(nn.Module):
    """The whole model. Its weights are undefined until ``init_weights`` or a checkpoint."""

    def __init__(self, model: ModelSpec) -> None:
        super().__init__()
        shape = shape_of(model)
        self.spec = model
        self.shape = shape
        self.transformer = Transformer(shape)
        self.lm_head = Linear(shape.width, shape.vocab_size)
        self.rope = Rope(shape.sequence_length, shape.head_dim)
        #: compute each block again in the backward pass rather than keep what it computed
        self.activation_checkpointing = False

    @torch.no_grad()
    def init_weights(self, seed: int) -> None:
        """Draw all weights anew, as ``initial_weights`` says."""
        parameters = dict(self.named_parameters())
        shapes = {name: parameter.shape for name, parameter in parameters.items()}
        for name, drawn in initial_weights(shapes, seed):
            parameters[name].copy_(drawn)
        self.rope.fill()

    def forward(self, ids: Tensor) -> Tensor:
        """Logits in float32 [B, T, V] for int64 ``ids`` [B, T], at most the context long."""
        return self.logits(self.hidden(ids))

    def loss(
        self, ids: Tensor, targets: Tensor, reduction: str = "mean", trunk: Trunk | None = None
    ) -> Tensor:
        """Cross entropy in nats for int64 ``ids`` and ``targets`` [B, T].

        Targets of -1 are not counted. ``reduction`` "mean" gives the mean over the counted
        tokens, "none" a loss for every token [B, T]. ``trunk`` is ``hidden``, compiled: the head
        and its loss, chunk by chunk, are faster as they are than compiled in one piece.
        """
        hidden = (trunk or self.hidden)(ids).flatten(0, 1)
        if reduction == "none" and torch.is_grad_enabled():
            losses = F.cross_entropy(
                self.logits(hidden), targets.flatten(), ignore_index=IGNORED, reduction=reduction
            )
        else:
            chunked = mean_loss if reduction == "mean" else token_losses
            losses = chunked(hidden, self.lm_head.weight, targets.flatten(), LOGIT_CAP)
        return losses if reduction == "mean" else losses.view_as(targets)

    def hidden(self, ids: Tensor) -> Tensor:
        """What the head reads [B, T, C]."""
        x = self.embed(ids)
        cos, sin = self.rope(ids.size(1))
        again = self.activation_checkpointing and torch.is_grad_enabled()
        for block in self.transformer.blocks():
            x = _twice(block, x, cos, sin) if again else block(x, cos, sin)
        return norm(x)

    def embed(self, ids: Tensor) -> Tensor:
        """The residual stream before the first block [B, T, C], in the dtype of the head."""
        return norm(self.transformer.wte(ids).float()).to(self.lm_head.weight.dtype)

    def logits(self, hidden: Tensor) -> Tensor:
        """The head alone: [B, T, C] to softcapped float32 logits [B, T, V]."""
        logits: Tensor = self.lm_head(hidden)
        return (LOGIT_CAP * torch.tanh(logits / LOGIT_CAP)).float()


class Transformer(nn.Module):
    """Token embedding and blocks."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.wte = Embedding(shape.vocab_size, shape.width)
        self.h = nn.ModuleList(Block(shape) for _ in range(shape.layers))

    def blocks(self) -> Iterable[Block]:
        """The blocks in order."""
        return cast(Iterable[Block], self.h)


class Block(nn.Module):
    """Attention, then the MLP, each on the normed residual stream and added to it."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.attn = Attention(shape)
        self.mlp = Mlp(shape)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        x = x + self.attn(norm(x), cos, sin)
        return x + cast(Tensor, self.mlp(norm(x)))


class Attention(nn.Module):
    """Causal attention; several query heads may share one key/value head."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.head_dim = shape.head_dim
        self.grouped = shape.kv_heads != shape.heads
        self.c_q = Linear(shape.width, shape.heads * shape.head_dim)
        self.c_k = Linear(shape.width, shape.kv_heads * shape.head_dim)
        self.c_v = Linear(shape.width, shape.kv_heads * shape.head_dim)
        self.c_proj = Linear(shape.width, shape.width)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        query = norm(rotate(self._heads(self.c_q(x)), cos, sin))
        key = norm(rotate(self._heads(self.c_k(x)), cos, sin))
        value = self._heads(self.c_v(x))
        mixed = F.scaled_dot_product_attention(
            query.transpose(1, 2),
            key.transpose(1, 2),
            value.transpose(1, 2),
            is_causal=True,
            enable_gqa=self.grouped,
        )
        return cast(Tensor, self.c_proj(mixed.transpose(1, 2).flatten(2)))

    def _heads(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:-1], -1, self.head_dim)


class Mlp(nn.Module):
    """Four times as wide inside, relu squared."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.c_fc = Linear(shape.width, 4 * shape.width)
        self.c_proj = Linear(4 * shape.width, shape.width)

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.c_proj(F.relu(self.c_fc(x)).square()))


class Rope(nn.Module):
    """The tables of rotary positions (RoFormer, arXiv 2104.09864), base 10,000.

    They are no part of a checkpoint. The recipe gives them their dtype: float32, or bf16 as in
    nanochat.
    """

    cos: Tensor
    sin: Tensor

    def __init__(self, sequence_length: int, head_dim: int) -> None:
        super().__init__()
        empty = torch.empty(sequence_length, head_dim)
        self.register_buffer("cos", empty, persistent=False)
        self.register_buffer("sin", empty.clone(), persistent=False)
        self.fill()

    @torch.no_grad()
    def fill(self) -> None:
        """Compute the tables in float32 on the CPU and round them to the dtype they are kept in."""
        length, head_dim = self.cos.shape
        channel = torch.arange(0, head_dim, 2, dtype=torch.float32, device="cpu")
        frequency = 1.0 / (ROPE_BASE ** (channel / head_dim))
        position = torch.arange(length, dtype=torch.float32, device="cpu")
        angle = torch.outer(position, frequency)
        self.cos.copy_(angle.cos().repeat(1, 2))
        self.sin.copy_(torch.cat((angle.sin(), -angle.sin()), dim=-1))

    def forward(self, length: int) -> tuple[Tensor, Tensor]:
        """Cosines and sines of the first ``length`` positions [T, 1, D], as ``rotate`` takes them.

        Raises:
            ValueError: that is more than the context.
        """
        if length > self.cos.size(0):
            raise ValueError(f"{length} tokens do not fit into a context of {self.cos.size(0)}")
        return self.cos[:length, None], self.sin[:length, None]


class Linear(nn.Linear):
    """A matrix without bias that draws nothing from the global generator when it is made."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, bias=False)

    def reset_parameters(self) -> None:
        """Leave the weights undefined; ``NanoChat.init_weights`` draws them."""


class Embedding(nn.Embedding):
    """A table that draws nothing from the global generator when it is made."""

    def reset_parameters(self) -> None:
        """Leave the weights undefined; ``NanoChat.init_weights`` draws them."""


def norm(x: Tensor) -> Tensor:
    """RMSNorm over the last dimension, without weights; under autocast its result is float32."""
    return F.rms_norm(x, (x.size(-1),), eps=NORM_EPSILON)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn each pair of channels (i, i + D/2) of ``x`` [B, T, H, D] by its position's angle.

    The second half of ``sin`` is negated, so that one product turns both channels of a pair.
    """
    turned = x * cos + x.roll(x.size(-1) // 2, dims=-1) * sin
    return turned.to(x.dtype)


def _twice(block: Block, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """The block, of which only the input is kept for the backward pass (arXiv 1604.06174).

    Nothing in a block draws random numbers, so both passes compute the same bytes.
    """
    result: Tensor = checkpoint(block, x, cos, sin, use_reentrant=False, preserve_rng_state=False)
    return result


def initial_weights(shapes: Mapping[str, torch.Size], seed: int) -> Iterator[tuple[str, Tensor]]:
    """The weights before the first step, one float32 tensor on the CPU after the other.

    ``shapes`` are those of a NanoChat's parameters in its own order. The numbers come from a
    private generator, so that they depend on nothing but ``seed`` and the sizes: not on the
    device, not on the format they are rounded to, not on what else draws random numbers.
    """
    generator = torch.Generator().manual_seed(seed)
    for name, shape in shapes.items():
        drawn = torch.empty(shape, dtype=torch.float32, device="cpu")
        if name == "lm_head.weight" or name.endswith(".c_proj.weight"):
            yield name, drawn.zero_()
        else:
            std = 1.0 if name == "transformer.wte.weight" else _linear_std(shape)
            yield name, drawn.normal_(std=std, generator=generator)


def _linear_std(shape: torch.Size) -> float:
    """Spectral scale at the start of training (arXiv 2310.17813)."""
    fan_out, fan_in = shape
    return min(1.0, math.sqrt(fan_out / fan_in)) / math.sqrt(fan_in)
