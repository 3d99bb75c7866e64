"""The exported directory, loaded by transformers itself, offline."""

from __future__ import annotations

import dataclasses
import inspect
import json
import random
import shutil
import unicodedata
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.unit.model.runs import (
    MODELS,
    TEXTS,
    Run,
    Start,
    load_model,
    load_tokenizer,
    save_checkpoint,
)
from tests.unit.model.small import lively, tokens
from trainer import export
from trainer.chat import greedy
from trainer.contract.spec import ModelSpec


@pytest.mark.parametrize("shape", MODELS)
def test_transformers_computes_our_logits_to_the_last_bit(
    start: Start, tmp_path: Path, shape: str
) -> None:
    run = start(MODELS[shape])
    theirs = load_model(run.export(tmp_path / "out"))
    ids = tokens(MODELS[shape], sequences=3)
    with torch.no_grad():
        difference = run.model(ids) - theirs(ids).logits
    assert theirs.dtype == torch.float32
    assert difference.abs().max().item() == 0.0


def test_the_exported_weights_are_all_used_and_none_is_missing(
    start: Start, tmp_path: Path
) -> None:
    from transformers import AutoModelForCausalLM

    out = start(MODELS["d3"]).export(tmp_path / "out")
    loaded: Any = AutoModelForCausalLM.from_pretrained(
        out, local_files_only=True, output_loading_info=True
    )
    info = loaded[1]
    assert not any(info[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))


def test_transformers_writes_the_same_tokens_greedily(start: Start, tmp_path: Path) -> None:
    run = start(MODELS["d3"])
    out = run.export(tmp_path / "out")
    theirs, their_tokenizer = load_model(out), load_tokenizer(out)
    prompt = "def shorten(text, width"
    inputs = their_tokenizer(prompt, return_tensors="pt")
    expected = greedy(run.model, [run.tokenizer.bos, *run.tokenizer.encode(prompt)], 30)
    written = theirs.generate(**inputs, max_new_tokens=30, do_sample=False)
    assert written[0, inputs["input_ids"].shape[1] :].tolist() == expected
    assert run.tokenizer.bos not in expected


def test_a_bf16_run_is_exported_with_its_exact_numbers(start: Start, tmp_path: Path) -> None:
    run = start(precision="bf16")
    theirs = load_model(run.export(tmp_path / "out"))
    assert theirs.dtype == torch.float32
    embedding = run.model.transformer.wte.weight
    assert embedding.dtype == torch.bfloat16
    assert torch.equal(theirs.model.embed_tokens.weight, embedding.float())


def test_the_exported_tokenizer_encodes_and_decodes_like_ours(start: Start, tmp_path: Path) -> None:
    run = start()
    theirs, ours = load_tokenizer(run.export(tmp_path / "out")), run.tokenizer
    rng = random.Random(1)
    letters = "abeost'STL\u017fßİé中字한👩 \u200d\t\n\r\u00a0\u3000\u0085019²Ⅷ٣_-=#.()<|>"
    mixed = ["".join(rng.choices(letters, k=rng.randint(1, 30))) for _ in range(2000)]
    for text in (*TEXTS, *mixed, inspect.getsource(random)):
        ids = ours.encode(text)
        plain = theirs.encode(text, add_special_tokens=False, split_special_tokens=True)
        assert plain == ids, text
        assert theirs.decode(ids) == ours.decode(ids) == text


def test_every_character_of_unicode_is_split_like_ours(start: Start, tmp_path: Path) -> None:
    run = start()
    theirs, ours = load_tokenizer(run.export(tmp_path / "out")), run.tokenizer
    # one of each 37, and all of the first four thousand with their odd cases
    points = [*range(0x1000), *range(0x1000, 0x110000, 37)]
    letters = [chr(point) for point in points if unicodedata.category(chr(point)) != "Cs"]
    text = "".join(f"a{letter}b 1{letter}2 '{letter} {letter}\n" for letter in letters)
    for begin in range(0, len(text), 20_000):
        part = text[begin : begin + 20_000]
        assert theirs._tokenizer.encode(part, add_special_tokens=False).ids == ours.encode(part)


def test_broken_utf8_decodes_like_ours(start: Start, tmp_path: Path) -> None:
    run = start()
    theirs, ours = load_tokenizer(run.export(tmp_path / "out")), run.tokenizer
    rng = random.Random(2)
    for _ in range(500):
        ids = rng.choices(range(ours.vocab_size), k=rng.randint(1, 8))
        assert theirs.decode(ids) == ours.decode(ids)


def test_special_tokens_have_our_ids_and_bos_comes_first(start: Start, tmp_path: Path) -> None:
    run = start()
    theirs, ours = load_tokenizer(run.export(tmp_path / "out")), run.tokenizer
    assert theirs.encode("hello") == [ours.bos, *ours.encode("hello")]
    assert theirs.bos_token_id == ours.bos
    assert len(theirs) == ours.vocab_size
    for text, token in ours.special.items():
        assert theirs.encode(text, add_special_tokens=False) == [token]
        assert theirs.convert_ids_to_tokens(token) == text


def test_the_command_exports_the_newest_whole_checkpoint(
    start: Start, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = start()
    newer = save_checkpoint(run.dir, lively(MODELS["d1"], seed=40).state_dict(), step=9)
    damaged = save_checkpoint(run.dir, lively(MODELS["d1"], seed=41).state_dict(), step=12)
    _flip_a_bit(damaged / "model.safetensors")
    out = tmp_path / "deep" / "out"
    assert export.main([str(run.dir), str(out), "--to", "hf"]) == 0
    said = capsys.readouterr()
    assert newer.name in said.out
    assert f"{damaged.name} is damaged" in said.err
    embedding = lively(MODELS["d1"], seed=40).transformer.wte.weight
    assert torch.equal(load_model(out).model.embed_tokens.weight, embedding)
    assert sorted(path.name for path in out.parent.iterdir()) == ["out"]


def test_an_empty_directory_may_be_filled(start: Start, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    assert (start().export(out) / "config.json").is_file()


def _flip_a_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def _complaint(run: Run, out: Path, capsys: pytest.CaptureFixture[str], *more: str) -> str:
    """What the command says when it fails; it must fail with exit code 1 and write nothing."""
    before = sorted(out.iterdir()) if out.is_dir() else out.exists()
    assert export.main([str(run.dir), str(out), *more]) == 1
    assert (sorted(out.iterdir()) if out.is_dir() else out.exists()) == before
    said = capsys.readouterr()
    assert said.out == ""
    last = said.err.splitlines()[-1]
    assert last.startswith("cannot export: ")
    return last


def test_an_unknown_format_is_named(
    start: Start, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = _complaint(start(), tmp_path / "out", capsys, "--to", "gguf")
    assert "unknown format 'gguf'; there is hf" in said


@pytest.mark.parametrize("kind", ["directory", "file"])
def test_what_is_already_there_is_never_touched(
    start: Start, tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    out = tmp_path / "out"
    if kind == "directory":
        out.mkdir()
    precious = out / "precious" if kind == "directory" else out
    precious.write_text("mine")
    assert "is not an empty directory" in _complaint(start(), out, capsys)
    assert precious.read_text() == "mine"


@pytest.mark.parametrize("damaged", [False, True], ids=["none", "only a damaged one"])
def test_a_run_without_a_checkpoint_says_so(
    start: Start, tmp_path: Path, capsys: pytest.CaptureFixture[str], damaged: bool
) -> None:
    run = start()
    if damaged:
        _flip_a_bit(run.checkpoint / "model.safetensors")
    else:
        shutil.rmtree(run.checkpoint)
    said = _complaint(run, tmp_path / "out", capsys)
    assert "has no checkpoint that is whole" in said


def test_a_directory_that_is_no_run_says_so(
    start: Start, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = dataclasses.replace(start(), dir=tmp_path / "elsewhere")
    assert "elsewhere is no run that was ever started" in _complaint(run, tmp_path / "out", capsys)


def test_a_missing_tokenizer_says_so_and_can_be_given(
    start: Start, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = start()
    moved = tmp_path / "moved"
    run.tokenizer_dir.rename(moved)
    assert "no tokenizer" in _complaint(run, tmp_path / "out", capsys)
    assert export.main([str(run.dir), str(tmp_path / "out"), "--tokenizer", str(moved)]) == 0


def test_a_damaged_checkpoint_is_not_exported(start: Start, tmp_path: Path) -> None:
    run = start()
    _flip_a_bit(run.checkpoint / "model.safetensors")
    with pytest.raises(export.ExportError, match="is damaged"):
        run.export(tmp_path / "out")


def test_what_the_target_cannot_express_is_refused(start: Start, tmp_path: Path) -> None:
    run = start(extra={"value_embeds.0.weight": torch.ones(2, 2)})
    with pytest.raises(export.ExportError, match=r"not.* classic nanochat.*value_embeds\.0"):
        run.export(tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_missing_matrix_is_refused(start: Start, tmp_path: Path) -> None:
    run = start(without="transformer.h.0.mlp.c_fc.weight")
    with pytest.raises(export.ExportError, match=r"transformer\.h\.0\.mlp\.c_fc\.weight"):
        run.export(tmp_path / "out")


@pytest.mark.parametrize(
    ("weight", "complaint"),
    [
        (torch.ones(1024, 65), r"lm_head\.weight is \[1024, 65\] instead of \[1024, 64\]"),
        (torch.ones(1024, 64, dtype=torch.int8), r"lm_head\.weight is torch\.int8"),
        (torch.ones(1024, 64, dtype=torch.float64), r"lm_head\.weight is torch\.float64"),
    ],
)
def test_a_weight_of_another_shape_or_kind_is_refused(
    start: Start, tmp_path: Path, weight: Tensor, complaint: str
) -> None:
    run = start(extra={"lm_head.weight": weight})
    with pytest.raises(export.ExportError, match=complaint):
        run.export(tmp_path / "out")


def test_a_tokenizer_of_another_model_is_refused(start: Start, tmp_path: Path) -> None:
    run = start(ModelSpec(depth=1, vocab_size=512, sequence_length=48))
    with pytest.raises(export.ExportError, match="has 1024 tokens, the model only 512"):
        run.export(tmp_path / "out")


def test_a_full_disk_leaves_nothing_half_written(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = start()

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(export, "save_file", full)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(OSError, match="No space"):
        run.export(tmp_path / "out")
    assert sorted(tmp_path.iterdir()) == before


def test_exporting_needs_no_transformers(start: Start, tmp_path: Path) -> None:
    config = json.loads((start().export(tmp_path / "out") / "config.json").read_text())
    assert config["max_position_embeddings"] == 48
    source = Path(inspect.getfile(export)).read_text()
    assert "import transformers" not in source
    assert "from transformers" not in source
