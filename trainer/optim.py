"""Muon for the matrices of the blocks, AdamW for embedding and head: classic nanochat's optimizer.

Learning rate and momentum are pure functions of the step's index, so the state is tensors only.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from trainer.contract.spec import RunSpec
from trainer.model import NanoChat
from trainer.precision.base import Recipe

MATRIX_LR = 0.02
EMBEDDING_LR = 0.2
HEAD_LR = 0.004
#: AdamW's rates were tuned at this width and scale with width^-0.5
_TUNED_WIDTH = 768
_BETAS = (0.8, 0.95)
_EPSILON = 1e-10
#: what Newton-Schulz makes of a singular value x in each step: a x + b x^3 + c x^5
#: (Keller Jordan, "Muon", 2024)
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
NEWTON_SCHULZ_STEPS = 5
_NORM_FLOOR = 1e-7
#: added to the norm before the clipping factor is taken, as torch does
_CLIP_FLOOR = 1e-6
#: matrices of equal shape go through Newton-Schulz together up to so many numbers
_BATCH_NUMBERS = 1 << 24


def lr_multiplier(step: int, steps: int, warmdown_ratio: float) -> float:
    """1, then linearly down to 0 over the last ``warmdown_ratio`` of ``steps``; no warm-up.

    ``step`` is the 0-based index of the step to be made.
    """
    warmdown_steps = round(warmdown_ratio * steps)
    if step <= steps - warmdown_steps:
        return 1.0
    return max(0, steps - step) / max(1, warmdown_steps)


def muon_momentum(step: int) -> float:
    """0.85 at step 0, linearly up to 0.95 at step 300 and constant from there."""
    fraction = min(step / 300, 1.0)
    return (1 - fraction) * 0.85 + fraction * 0.95


class Optimizer:
    """One update of all weights from their accumulated gradients.

    Build it when the model has its dtypes and its device: the state takes both over.
    """

    def __init__(self, model: NanoChat, spec: RunSpec, recipe: Recipe) -> None:
        self._model = model
        self._clip = spec.train.gradient_clip
        self._lr_scale = spec.train.lr_scale
        self._warmdown_ratio = spec.train.warmdown_ratio
        matrices = {
            f"transformer.h.{name}": weight
            for name, weight in model.transformer.h.named_parameters()
        }
        by_width = (model.shape.width / _TUNED_WIDTH) ** -0.5
        self._muon = Muon(matrices, recipe.orthogonalize_dtype)
        self._adamw = AdamW(
            {
                "lm_head.weight": (model.lm_head.weight, HEAD_LR * by_width),
                "transformer.wte.weight": (model.transformer.wte.weight, EMBEDDING_LR * by_width),
            }
        )

    @torch.no_grad()
    def step(self, step: int, steps: int) -> float:
        """Make the update of 0-based step ``step`` out of ``steps`` and drop the gradients.

        Returns the norm of all gradients before they were clipped. When it is not finite,
        weights and state stay as they are.

        Raises:
            ValueError: a weight has no gradient.
        """
        norm = self._clip_gradients()
        if math.isfinite(norm):
            lr = self._lr_scale * lr_multiplier(step, steps, self._warmdown_ratio)
            self._adamw.step(step, lr)
            self._muon.step(muon_momentum(step), lr * MATRIX_LR)
        self._model.zero_grad(set_to_none=True)
        return norm

    def state_tensors(self) -> dict[str, Tensor]:
        """The live tensors of the state by stable names; they change with the next step."""
        return {**self._muon.state, **self._adamw.state}

    @torch.no_grad()
    def load_state_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Copy a saved state, byte for byte.

        Raises:
            ValueError: a tensor is missing, is too many, or has another shape or dtype; names
                all of them, and nothing has been copied.
        """
        state = self.state_tensors()
        problems = list(_misfits(tensors, state))
        if problems:
            raise ValueError("this is no state of this optimizer: " + "; ".join(problems))
        for name, tensor in state.items():
            tensor.copy_(tensors[name])

    def _clip_gradients(self) -> float:
        gradients = [_gradient(name, weight) for name, weight in self._model.named_parameters()]
        norms = [torch.linalg.vector_norm(each, dtype=torch.float32) for each in gradients]
        norm = float(torch.linalg.vector_norm(torch.stack(norms)))
        factor = self._clip / (norm + _CLIP_FLOOR) if self._clip else 1.0
        if factor < 1.0:
            for gradient in gradients:
                gradient.mul_(factor)
        return norm


class AdamW:
    """Adam (arXiv 1412.6980) without weight decay, each weight with a learning rate of its own.

    The arithmetic is torch's fused kernel. Moments have the dtype of their weight.
    """

    def __init__(self, weights: dict[str, tuple[Tensor, float]]) -> None:
        groups = [{"params": [weight], "base_lr": lr} for weight, lr in weights.values()]
        self._torch = torch.optim.AdamW(
            groups, betas=_BETAS, eps=_EPSILON, weight_decay=0.0, fused=True
        )
        self._steps: list[Tensor] = []
        self.state: dict[str, Tensor] = {}
        for name, (weight, _) in weights.items():
            moments = {key: torch.zeros_like(weight) for key in ("exp_avg", "exp_avg_sq")}
            count = torch.zeros((), device=weight.device)
            self._torch.state[weight] = {"step": count, **moments}
            self._steps.append(count)
            self.state |= {f"adamw.{key}.{name}": moment for key, moment in moments.items()}

    def step(self, step: int, lr: float) -> None:
        """Update all weights; ``lr`` scales their rates, ``step`` (from 0) corrects the bias."""
        for count in self._steps:
            count.fill_(step)
        for group in self._torch.param_groups:
            group["lr"] = lr * group["base_lr"]
        self._torch.step()


class Muon:
    """Momentum whose direction is orthogonalised (Keller Jordan, 2024), Nesterov's variant.

    torch.optim.Muon makes the same update, always in bf16 and one matrix at a time.
    """

    def __init__(self, weights: Mapping[str, Tensor], dtype: torch.dtype) -> None:
        self._weights = weights
        self._dtype = dtype
        self.state = {_momentum(name): torch.zeros_like(each) for name, each in weights.items()}
        self._batches = list(_batches(weights))

    def step(self, momentum: float, lr: float) -> None:
        """Update all weights."""
        for names in self._batches:
            directions = torch.stack([self._direction(name, momentum) for name in names])
            for name, update in zip(names, orthogonalize(directions), strict=True):
                weight = self._weights[name]
                rows, columns = weight.shape
                scaled_lr = lr * max(1.0, rows / columns) ** 0.5
                weight.add_(update.T if rows > columns else update, alpha=-scaled_lr)

    def _direction(self, name: str, momentum: float) -> Tensor:
        """What to orthogonalise, with at least as many columns as rows."""
        weight = self._weights[name]
        gradient = _gradient(name, weight)
        mean = self.state[_momentum(name)].lerp_(gradient, 1 - momentum)
        direction = gradient.lerp(mean, momentum).to(self._dtype)
        return direction.T if weight.size(0) > weight.size(1) else direction


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


def _batches(weights: Mapping[str, Tensor]) -> Iterator[list[str]]:
    by_shape: dict[tuple[int, ...], list[str]] = {}
    for name, weight in weights.items():
        by_shape.setdefault(tuple(sorted(weight.shape)), []).append(name)
    for shape, names in by_shape.items():
        size = max(1, _BATCH_NUMBERS // math.prod(shape))
        for start in range(0, len(names), size):
            yield names[start : start + size]


def _misfits(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> Iterator[str]:
    for name in sorted(found.keys() ^ wanted.keys()):
        yield f"{name} is {'missing' if name in wanted else 'unknown'}"
    for name in sorted(found.keys() & wanted.keys()):
        given, kept = _kind(found[name]), _kind(wanted[name])
        if given != kept:
            yield f"{name} is {given} instead of {kept}"


def _kind(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"


def _momentum(name: str) -> str:
    return f"muon.momentum.{name}"


def _gradient(name: str, weight: Tensor) -> Tensor:
    if weight.grad is None:
        raise ValueError(f"{name} has no gradient; run backward before the step")
    gradient: Tensor = weight.grad
    return gradient
