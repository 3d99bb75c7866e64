"""Runs of every precision recipe, exported and loaded by transformers itself, offline."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

from tests.unit.model.runs import MODELS, Run, Start, load_model, load_tokenizer
from tests.unit.model.small import lively, run_spec, same_bytes, tokens
from trainer import export
from trainer.chat import greedy
from trainer.hf_weights import hf_name
from trainer.precision import RECIPES, keep
from trainer.sizing.memory import held
from trainer.sizing.storage import storage_of

#: precision, mlp_codec: those whose weights are no plain tensors, and which transformers unpacks
UNPACKED = [("w3", "seq2"), ("w2.6", "seq2"), ("w2.6", "ternary"), ("qlora-4bit", "seq2")]
PROMPT = "def shorten(text, width"


def _load_four_bit(directory: Path) -> Any:
    """Without one shortcut: on a CPU with AVX512-BF16 bitsandbytes rounds maxima to bf16."""
    from bitsandbytes.nn import Linear4bit

    model = load_model(directory)
    packed = [each for each in model.modules() if isinstance(each, Linear4bit)]
    assert len(packed) == 6 * model.config.num_hidden_layers
    for layer in packed:
        layer.support_avx512bf16_for_cpu = False
    return model


def _same_answers(run: Run, theirs: Any, directory: Path) -> None:
    """Logits to the last bit, and so the same tokens greedily."""
    ids = tokens(MODELS["d3"], sequences=3)
    with torch.no_grad():
        ours, found = run.model(ids), theirs(ids).logits
    assert theirs.dtype == torch.bfloat16
    assert torch.equal(ours, found.float())
    inputs = load_tokenizer(directory)(PROMPT, return_tensors="pt")
    expected = greedy(run.model, [run.tokenizer.bos, *run.tokenizer.encode(PROMPT)], 30)
    written = theirs.generate(**inputs, max_new_tokens=30, do_sample=False)
    assert written[0, inputs["input_ids"].shape[1] :].tolist() == expected


def test_a_bf16_8bit_run_is_exported_in_bf16_and_answers_alike(
    start: Start, tmp_path: Path
) -> None:
    run = start(MODELS["d3"], precision="bf16-8bit")
    out = run.export(tmp_path / "out")
    _same_answers(run, load_model(out), out)
    parameters = sum(each.numel() for each in run.model.parameters())
    assert (out / "model.safetensors").stat().st_size < 2.1 * parameters


def test_an_int8_run_is_exported_with_its_exact_bf16_weights(
    start: Start, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = start(MODELS["d3"], precision="int8")
    out = run.export(tmp_path / "out")
    assert "rounds its matmuls to int8 besides" in capsys.readouterr().err
    theirs = load_model(out)
    # the same weights without int8 matmuls, which transformers cannot know of
    plain = keep(lively(MODELS["d3"]), run_spec(MODELS["d3"], precision="bf16-8bit"))
    for name, weight in run.keeping.weights():
        assert same_bytes(weight.bfloat16(), theirs.get_parameter(hf_name(name)))
    _same_answers(dataclasses.replace(run, model=plain.model), theirs, out)


def test_an_nf4_run_stays_packed_and_answers_alike(
    start: Start, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = start(MODELS["d3"], precision="nf4")
    out = run.export(tmp_path / "out")
    assert "needs accelerate and bitsandbytes" in capsys.readouterr().err
    _same_answers(run, _load_four_bit(out), out)


def test_an_exported_nf4_file_is_as_small_as_the_plan_says(start: Start, tmp_path: Path) -> None:
    run = start(MODELS["d3"], precision="nf4")
    out = run.export(tmp_path / "out")
    planned = held(MODELS["d3"], storage_of(run_spec(MODELS["d3"], precision="nf4")), "weight")
    with safe_open(out / "model.safetensors", framework="pt") as file:
        names = list(file.keys())
        sizes = {name: file.get_tensor(name).nbytes for name in names}
    # bitsandbytes repeats its sixteen levels and a few words of JSON for every matrix
    beside = sum(
        size for name, size in sizes.items() if name.endswith(("quant_map", "bitsandbytes__nf4"))
    )
    assert sum(sizes.values()) - beside == planned
    assert beside < 250 * 6 * 3


@pytest.mark.parametrize(("precision", "mlp_codec"), UNPACKED)
def test_formats_that_transformers_does_not_know_are_unpacked_and_answer_alike(
    start: Start,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    precision: str,
    mlp_codec: str,
) -> None:
    run = start(MODELS["d3"], precision=precision, mlp_codec=mlp_codec)
    out = run.export(tmp_path / "out")
    assert f"knows no format of {precision}" in capsys.readouterr().err
    assert "quantization_config" not in json.loads((out / "config.json").read_text())
    _same_answers(run, load_model(out), out)


def test_every_recipe_is_tested_here_or_in_float32() -> None:
    tested = {"fp32", "bf16", "bf16-8bit", "int8", "nf4", *(name for name, _ in UNPACKED)}
    assert tested == set(RECIPES)


def test_packed_weights_of_another_kind_are_refused(start: Start, tmp_path: Path) -> None:
    name = "transformer.h.0.mlp.c_fc.maxima"
    run = start(precision="nf4", extra={name: torch.zeros(256, dtype=torch.float16)})
    with pytest.raises(export.ExportError, match=rf"{name} is torch\.float16, which this recipe"):
        run.export(tmp_path / "out")


def test_a_checkpoint_of_another_mixture_is_refused(start: Start, tmp_path: Path) -> None:
    run = start(precision="w2.6", mlp_codec="ternary")
    record = json.loads((run.dir / "run.json").read_text())
    record["spec"]["train"]["mlp_codec"] = "seq2"
    (run.dir / "run.json").write_text(json.dumps(record))
    with pytest.raises(export.ExportError, match=r"codes is \[\d+\] instead of \[\d+\]"):
        run.export(tmp_path / "out")
