"""Cross entropy of the softcapped head, a few rows at a time.

Written out, the head's logits and their gradients are the largest tensors of a training step and
on a CPU the slowest part of it. Here a chunk of rows goes from its hidden vectors to its
gradients while it is in the cache, so neither memory nor time is spent on the whole matrix.

The softcap c tanh(z/c) equals 2c s(2z/c) - c with the logistic function s. The softmax does not
see the constant, and s is several times cheaper than tanh; d/dz is 4 s (1 - s).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

#: targets of this value are not counted
IGNORED = -1
#: rows at a time: they fit a CPU's cache, keep a GPU busy, and their logits at d32 take 0.3 GiB
#: (trainer/sizing/memory.py counts with as many)
_ROWS = 256


def mean_loss(hidden: Tensor, weight: Tensor, targets: Tensor, cap: float) -> Tensor:
    """Mean cross entropy in nats over the counted ``targets`` [N]; NaN when none is counted.

    Its gradients for ``hidden`` [N, C] and ``weight`` [V, C] are computed with it, so it costs a
    forward pass what a backward pass would. Under autocast the matmuls run in its dtype, all
    else in float32.
    """
    loss: Tensor = _MeanLoss.apply(hidden, weight, targets, cap)  # type: ignore[no-untyped-call] # torch leaves Function.apply untyped
    return loss


@torch.no_grad()
def token_losses(hidden: Tensor, weight: Tensor, targets: Tensor, cap: float) -> Tensor:
    """Cross entropy in nats of each row [N], 0 where the target is not counted; no gradients."""
    losses = hidden.new_empty(targets.shape, dtype=torch.float32)
    dtype = _matmul_dtype(weight)
    cast_hidden, cast_weight = hidden.to(dtype), weight.to(dtype)
    for rows in _chunks(hidden):
        chunk = targets[rows]
        _, _, loss = _softmax_loss(cast_hidden[rows], cast_weight, chunk, cap)
        losses[rows] = loss.where(chunk != IGNORED, 0.0)
    return losses


class _MeanLoss(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, cap: float) -> Tensor:
        dtype = _matmul_dtype(weight)
        cast_hidden, cast_weight = hidden.to(dtype), weight.to(dtype)
        share = (targets != IGNORED).float()
        share /= share.sum()
        total = share.new_zeros(())
        hidden_grad = torch.empty_like(hidden)
        # summed up in float32 whatever the weight is: in bf16 each chunk would round the sum, and
        # training diverges late (Liger-Kernel#512)
        weight_grad = torch.zeros_like(weight, dtype=torch.float32)
        for rows in _chunks(hidden):
            capped, probability, loss = _softmax_loss(
                cast_hidden[rows], cast_weight, targets[rows], cap
            )
            total += loss.dot(share[rows])
            logit_grad = _logit_grad(capped, probability, targets[rows], share[rows]).to(dtype)
            hidden_grad[rows] = logit_grad @ cast_weight
            _add_product(weight_grad, logit_grad.T, cast_hidden[rows])
        ctx.save_for_backward(hidden_grad, weight_grad)
        ctx.dtype = weight.dtype
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None, None]:
        hidden_grad, weight_grad = ctx.saved_tensors
        return hidden_grad * gradient, _scaled(weight_grad, gradient, ctx.dtype), None, None


def _scaled(total: Tensor, factor: Tensor, dtype: torch.dtype) -> Tensor:
    """``total`` times ``factor``, rounded once, without a second float32 tensor of its size."""
    return torch.mul(total, factor, out=torch.empty_like(total, dtype=dtype))


def _softmax_loss(
    hidden: Tensor, weight: Tensor, targets: Tensor, cap: float
) -> tuple[Tensor, Tensor, Tensor]:
    """s(2z/c) [R, V], the softmax [R, V], the loss [R] that is garbage where nothing counts."""
    logistic = (hidden @ weight.T).float().mul_(2 / cap).sigmoid_()
    probability = torch.softmax(logistic * (2 * cap), dim=-1)
    loss = probability.gather(1, targets.clamp_min(0)[:, None]).squeeze(1).log().neg_()
    return logistic, probability, loss


def _logit_grad(logistic: Tensor, probability: Tensor, targets: Tensor, share: Tensor) -> Tensor:
    """Gradient of the mean loss for the logits before the cap; both inputs are used up."""
    index = targets.clamp_min(0)[:, None]
    probability.scatter_(1, index, probability.gather(1, index) - 1)
    probability.mul_((4 * share)[:, None])
    return probability.mul_(logistic.addcmul_(logistic, logistic, value=-1))


def _add_product(total: Tensor, left: Tensor, right: Tensor) -> None:
    if left.dtype == total.dtype:
        total.addmm_(left, right)
    else:
        total += left @ right


def _matmul_dtype(weight: Tensor) -> torch.dtype:
    device = weight.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else weight.dtype


def _chunks(hidden: Tensor) -> Iterator[slice]:
    for start in range(0, hidden.size(0), _ROWS):
        yield slice(start, start + _ROWS)
