"""A checkpoint's weights as transformers' NanoChat keeps them, whatever recipe made them.

What is exported is what the run's own forward pass multiplies with, to the last bit:
- float32 where a recipe has weights in float32;
- bf16 where every weight is bf16;
- NF4 stays packed: bitsandbytes' own layout, which transformers loads as 4-bit layers;
- formats that transformers does not know (three bits, two bits, ternary, adapters) are unpacked
  to the bf16 numbers that forward computes with.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from trainer.contract.spec import RunSpec
from trainer.model import NanoChat
from trainer.precision import recipe, settle
from trainer.precision.codecs import nf4
from trainer.precision.kept import Unpackable
from trainer.precision.packed_linear import PackedLinear

_EXACT_IN_FLOAT32 = (torch.float32, torch.bfloat16, torch.float16)
_HF_NAMES = {
    "attn.c_q": "self_attn.q_proj",
    "attn.c_k": "self_attn.k_proj",
    "attn.c_v": "self_attn.v_proj",
    "attn.c_proj": "self_attn.o_proj",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}


class ExportError(Exception):
    """What cannot be exported, and why."""


@dataclass(frozen=True)
class HfWeights:
    """The tensors of transformers' model file, and what its configuration must say of them."""

    tensors: dict[str, Tensor]
    #: of everything that is not packed
    dtype: torch.dtype
    #: transformers' ``quantization_config``; None when nothing is packed
    quantization: dict[str, Any] | None
    #: what a person should know of it; mostly nothing
    note: str = ""


def hf_weights(path: Path, spec: RunSpec) -> HfWeights:
    """Read the file ``model`` of a checkpoint that a run of ``spec`` made.

    Raises:
        ExportError: it cannot be read, or does not hold this model as the run's recipe keeps it.
    """
    model = _model(path, spec)
    shapes = _weight_names(spec)
    layers = {name: model.get_submodule(name.removesuffix(".weight")) for name in shapes}
    packed = {name: each for name, each in layers.items() if not _is_plain(each)}
    if packed and all(_is_nf4(each) for each in packed.values()):
        return _four_bit(layers)
    weights = {hf_name(name): _as_computed_with(each) for name, each in layers.items()}
    dtypes = {weight.dtype for weight in weights.values()}
    dtype = torch.bfloat16 if dtypes == {torch.bfloat16} else torch.float32
    tensors = {name: each.to(dtype) for name, each in weights.items()}
    return HfWeights(tensors, dtype, None, _note(spec.train.precision, packed=bool(packed)))


def _note(precision: str, *, packed: bool) -> str:
    if packed:
        return (
            f"transformers knows no format of {precision}: the weights are unpacked to the bf16 "
            "numbers that the run computes with"
        )
    if precision == "int8":
        return "the weights are the run's own; the run rounds its matmuls to int8 besides"
    return ""


def _four_bit(layers: Mapping[str, nn.Module]) -> HfWeights:
    """bitsandbytes' layout: the codes as the weight, what scales them beside it."""
    tensors: dict[str, Tensor] = {}
    for name, layer in layers.items():
        if not isinstance(layer, PackedLinear):
            tensors[hf_name(name)] = _as_computed_with(layer)
            continue
        packed = dict(layer.named_buffers())
        state = nf4.quant_state(packed, layer.shape, torch.bfloat16)
        tensors[hf_name(name)] = packed["codes"].view(-1, 1)
        for part, tensor in state.as_dict(packed=True).items():
            tensors[f"{hf_name(name)}.{part}"] = tensor
    double = any(each.endswith("nested_absmax") for each in tensors)
    quantization = {
        "quant_method": "bitsandbytes",
        "load_in_4bit": True,
        "load_in_8bit": False,
        "bnb_4bit_quant_type": "nf4",
        "bnb_4bit_quant_storage": "uint8",
        "bnb_4bit_compute_dtype": "bfloat16",
        "bnb_4bit_use_double_quant": double,
        "llm_int8_skip_modules": ["lm_head"],
    }
    note = "the blocks' weights stay packed: transformers needs accelerate and bitsandbytes"
    return HfWeights(tensors, torch.bfloat16, quantization, note)


def _is_plain(layer: nn.Module) -> bool:
    return isinstance(layer, nn.Linear | nn.Embedding)


def _is_nf4(layer: nn.Module) -> bool:
    return isinstance(layer, PackedLinear) and isinstance(layer.codec, nf4.Nf4)


def _as_computed_with(layer: nn.Module) -> Tensor:
    if isinstance(layer, nn.Linear | nn.Embedding):
        return layer.weight.detach()
    return cast(Unpackable, layer).unpacked(torch.bfloat16)


def _model(path: Path, spec: RunSpec) -> NanoChat:
    """The model as its recipe keeps it, with the tensors of the file and no other memory."""
    chosen = recipe(spec.train.precision)
    meta = torch.device("meta")
    with meta:
        model = NanoChat(spec.model)
    model = chosen.prepare(model, settle(spec, chosen, meta)).model
    model.load_state_dict(_tensors(path, model.state_dict()), assign=True)
    return model


def _weight_names(spec: RunSpec) -> list[str]:
    with torch.device("meta"):
        return [name for name, _ in NanoChat(spec.model).named_parameters()]


def _tensors(path: Path, expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of the file, if they are those of this model and of nothing else."""
    try:
        with safe_open(path, framework="pt") as file:
            found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no dict
    except (OSError, SafetensorError) as error:
        raise ExportError(f"{path} cannot be read: {error}") from error
    odd = sorted(found.keys() ^ expected.keys())
    if odd:
        names = ", ".join(odd[:5]) + (", …" if len(odd) > 5 else "")
        raise ExportError(f"{path} does not hold a classic nanochat of this size: {names}")
    for name, tensor in found.items():
        wanted = expected[name]
        if tensor.shape != wanted.shape:
            shapes = f"{list(tensor.shape)} instead of {list(wanted.shape)}"
            raise ExportError(f"{path}: {name} is {shapes}")
        is_weight = name.endswith(".weight") and wanted.is_floating_point()
        if tensor.dtype not in (_EXACT_IN_FLOAT32 if is_weight else (wanted.dtype,)):
            raise ExportError(
                f"{path}: {name} is {tensor.dtype}, which "
                + ("float32 cannot express" if is_weight else "this recipe does not pack into")
            )
    return found


def hf_name(name: str) -> str:
    """Where transformers keeps one of our weights."""
    if name == "transformer.wte.weight":
        return "model.embed_tokens.weight"
    if name == "lm_head.weight":
        return name
    layer, _, matrix = name.removeprefix("transformer.h.").partition(".")
    return f"model.layers.{layer}.{_HF_NAMES[matrix.removesuffix('.weight')]}.weight"
