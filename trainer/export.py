"""A trained model in other programs' formats.

``hf``: a directory that transformers (5.0 or newer) loads as NanoChatForCausalLM, offline. Its
logits are ours, bit for bit, on a CPU in float32. Runs in bf16 are exported in bf16, and NF4 stays
packed (transformers then wants accelerate and bitsandbytes to load it).
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from trainer import record
from trainer.checkpoint import catalog
from trainer.contract import spec as run_spec
from trainer.contract.spec import ModelSpec, RunSpec
from trainer.contract.toml import InvalidFileError
from trainer.data import DataError
from trainer.data.tokenizer import Tokenizer
from trainer.hf_tokenizer import tokenizer_config, tokenizer_json
from trainer.hf_weights import ExportError, HfWeights, hf_weights
from trainer.model import LOGIT_CAP, NORM_EPSILON, ROPE_BASE
from trainer.sizing import shape_of


def main(arguments: Sequence[str] | None = None) -> int:
    """``python -m trainer.export RUN_DIR OUT --to hf``; 0, or 1 with a message on stderr."""
    parser = argparse.ArgumentParser(prog="python -m trainer.export", description=__doc__)
    parser.add_argument("run_dir", type=Path, help="the run's directory, with its run.json")
    parser.add_argument("out", type=Path, help="the directory to make; must not hold anything")
    parser.add_argument("--to", default="hf", help=f"the format: {', '.join(_FORMATS)}")
    parser.add_argument("--tokenizer", type=Path, help="the prepared corpus, if it was moved")
    given = parser.parse_args(arguments)
    try:
        checkpoint = export_run(given.run_dir, given.out, given.to, given.tokenizer)
    except (ExportError, OSError) as error:
        sys.stderr.write(f"cannot export: {error}\n")
        return 1
    sys.stdout.write(f"{given.out}: checkpoint {checkpoint} as {given.to}\n")
    return 0


def export_run(run_dir: Path, out: Path, to: str, tokenizer_dir: Path | None = None) -> str:
    """Export a run's newest whole checkpoint; returns its name.

    Raises:
        ExportError: unknown format, nothing to export, or something ``to`` cannot express.
        OSError: reading or writing failed.
    """
    if to not in _FORMATS:
        raise ExportError(f"unknown format {to!r}; there is {', '.join(_FORMATS)}")
    _refuse_occupied(out)
    pinned = _record(run_dir)
    checkpoint = _newest_whole(run_dir)
    _FORMATS[to](checkpoint, tokenizer_dir or Path(pinned.data_dir) / pinned.dataset, out)
    return checkpoint.name


def export_hf(checkpoint_dir: Path, tokenizer_dir: Path, out: Path) -> None:
    """Write model, configuration and tokenizer for transformers; all of it or nothing.

    The checkpoint lies in its run's directory, whose run.json says which model it is.

    Raises:
        ExportError: the checkpoint is damaged, ``out`` is not empty, or transformers' NanoChat
            cannot express what is in the checkpoint.
        OSError: reading or writing failed.
    """
    _refuse_occupied(out)
    verdict = catalog.verify(checkpoint_dir)
    if not verdict.ok:
        raise ExportError(f"{checkpoint_dir} is damaged: {'; '.join(verdict.problems)}")
    _write_hf(checkpoint_dir, tokenizer_dir, out)


def _write_hf(checkpoint_dir: Path, tokenizer_dir: Path, out: Path) -> None:
    spec = _spec(checkpoint_dir.resolve().parents[1])
    model = spec.model
    tokenizer = _tokenizer(tokenizer_dir, model)
    weights = hf_weights(checkpoint_dir / "model.safetensors", spec)
    texts = {
        "config.json": _config(model, tokenizer.bos, weights),
        "generation_config.json": _generation_config(tokenizer.bos),
        "tokenizer.json": tokenizer_json(tokenizer),
        "tokenizer_config.json": tokenizer_config(model.sequence_length),
    }

    def write(directory: Path) -> None:
        save_file(weights.tensors, directory / "model.safetensors", metadata={"format": "pt"})
        for name, plain in texts.items():
            text = json.dumps(plain, indent=1, ensure_ascii=False) + "\n"
            (directory / name).write_text(text, encoding="utf-8")

    _write_whole(out, write)
    if weights.note:
        sys.stderr.write(f"{weights.note}\n")


_FORMATS: dict[str, Callable[[Path, Path, Path], None]] = {"hf": _write_hf}


def _config(model: ModelSpec, bos: int, weights: HfWeights) -> dict[str, Any]:
    shape = shape_of(model)
    quantization = {"quantization_config": weights.quantization} if weights.quantization else {}
    return quantization | {
        "architectures": ["NanoChatForCausalLM"],
        "model_type": "nanochat",
        "dtype": str(weights.dtype).removeprefix("torch."),
        "vocab_size": shape.vocab_size,
        "hidden_size": shape.width,
        "intermediate_size": 4 * shape.width,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "max_position_embeddings": shape.sequence_length,
        "hidden_act": "relu2",
        "attention_bias": False,
        "attention_dropout": 0.0,
        "rms_norm_eps": NORM_EPSILON,
        "rope_parameters": {"rope_type": "default", "rope_theta": ROPE_BASE},
        "final_logit_softcapping": LOGIT_CAP,
        "tie_word_embeddings": False,
        "use_cache": True,
        "bos_token_id": bos,
        "eos_token_id": bos,
        # a padding token's embedding would get no gradient in fine-tuning
        "pad_token_id": None,
    }


def _generation_config(bos: int) -> dict[str, Any]:
    return {"bos_token_id": bos, "eos_token_id": bos, "pad_token_id": bos}


def _tokenizer(directory: Path, model: ModelSpec) -> Tokenizer:
    try:
        tokenizer = Tokenizer.load(directory)
    except DataError as error:
        raise ExportError(f"no tokenizer: {error}") from error
    if tokenizer.vocab_size > model.vocab_size:
        raise ExportError(
            f"{directory}: its tokenizer has {tokenizer.vocab_size} tokens, "
            f"the model only {model.vocab_size}"
        )
    return tokenizer


def _spec(run_dir: Path) -> RunSpec:
    pinned = _record(run_dir)
    try:
        return pinned.settled(run_spec.from_dict(pinned.spec, file=record.FILE))
    except InvalidFileError as error:
        raise ExportError(f"{run_dir / record.FILE} cannot be used: {error}") from error


def _record(run_dir: Path) -> record.Record:
    try:
        pinned = record.read(run_dir)
    except record.RecordError as error:
        raise ExportError(str(error)) from error
    if pinned is None:
        raise ExportError(f"{run_dir} is no run that was ever started: it has no {record.FILE}")
    return pinned


def _newest_whole(run_dir: Path) -> Path:
    """The newest checkpoint whose checksums hold; says which ones it passes over."""
    for entry in catalog.list_checkpoints(run_dir):
        verdict = catalog.verify(entry.path)
        if verdict.ok:
            return entry.path
        sys.stderr.write(f"{entry.name} is damaged, trying an older one\n")
    raise ExportError(f"{run_dir} has no checkpoint that is whole")


def _refuse_occupied(out: Path) -> None:
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise ExportError(f"{out} exists and is not an empty directory; choose another one")


def _write_whole(out: Path, write: Callable[[Path], None]) -> None:
    """Make ``out`` appear with everything in it, or not at all."""
    out = out.resolve()
    out.parent.mkdir(parents=True, exist_ok=True)
    beside = out.with_name(f".{out.name}-{os.getpid()}")
    beside.mkdir()
    try:
        write(beside)
        beside.rename(out)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise


if __name__ == "__main__":
    sys.exit(main())
