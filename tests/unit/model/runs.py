"""What the tests of exports share: runs with a real checkpoint, and how transformers sees them."""

from __future__ import annotations

import dataclasses
import inspect
import random
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import rustbpe
import torch
from torch import Tensor

from tests.unit.model.small import lively, run_spec
from trainer import export, record
from trainer.checkpoint.lease import Lease
from trainer.checkpoint.writer import save
from trainer.clock import SystemClock
from trainer.contract.spec import ModelSpec
from trainer.data.tokenizer import PATTERN, SPECIAL_TOKENS, Tokenizer
from trainer.model import NanoChat
from trainer.precision import Keeping, keep

DATASET = "0" * 32
MODELS = {
    "d1": ModelSpec(depth=1, vocab_size=1024, sequence_length=48),
    "d3": ModelSpec(depth=3, vocab_size=1024, sequence_length=64),
    "grouped": ModelSpec(depth=4, vocab_size=1024, sequence_length=48, kv_heads=1),
}
TEXTS = [
    "",
    " ",
    "def f(x):\n    return x + 1\n",
    "It's 12345 o'clock, WE'LL see; don't '\u017f 'S",
    "naïve Äpfel Łódź İstanbul ﬁ",
    "日本語の文章。한국어 العربية עברית",
    "👩‍👩‍👧🏽 🏴󠁧󠁢󠁥󠁮󠁧󠁿 e\u0301",
    "\t\t\r\n\n  \n \u00a0\u2003\u3000\u0085\u200b x  ",
    "1 22 333 4444 ²½Ⅷ ٣٤٥ ₁",
    "a" * 300 + " " * 300 + "=" * 300,
    "<|bos|><|user_start|> not special here <|nothing|>",
    "\x00\x01\x7f\ufffd\U0010ffff",
]


@dataclass(frozen=True)
class Run:
    """A run's directory with one checkpoint, and what is in it."""

    dir: Path
    checkpoint: Path
    tokenizer_dir: Path
    tokenizer: Tokenizer
    model: NanoChat
    keeping: Keeping

    def export(self, out: Path) -> Path:
        """Export it as hf."""
        export.export_hf(self.checkpoint, self.tokenizer_dir, out)
        return out


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    trained = rustbpe.Tokenizer()
    corpus = [inspect.getsource(module) for module in (textwrap, inspect, random)] + TEXTS
    trained.train_from_iterator(iter(corpus), 1024 - len(SPECIAL_TOKENS), pattern=PATTERN)
    ranks = sorted(trained.get_mergeable_ranks(), key=lambda entry: entry[1])
    return Tokenizer.of([bytes(token) for token, _ in ranks])


Start = Callable[..., Run]


@pytest.fixture
def start(tmp_path: Path, tokenizer: Tokenizer) -> Start:
    """Makes a run with a real checkpoint of a model with lively weights."""

    def make(
        model: ModelSpec = MODELS["d1"],
        *,
        precision: str = "fp32",
        extra: dict[str, Tensor] | None = None,
        without: str = "",
        mlp_codec: str = "seq2",
    ) -> Run:
        spec = run_spec(model, precision=precision)
        train = dataclasses.replace(spec.train, mlp_codec=mlp_codec)
        spec = dataclasses.replace(spec, train=train)
        made = lively(model)
        keeping = keep(made, spec)
        run_dir, data_dir = tmp_path / "run", tmp_path / "data"
        (data_dir / DATASET).mkdir(parents=True)
        run_dir.mkdir()
        tokenizer.save(data_dir / DATASET)
        pinned = record.first(spec, {"threads": 1})
        pinned = dataclasses.replace(pinned, dataset=DATASET, data_dir=str(data_dir))
        record.write(run_dir, pinned)
        weights = {**made.state_dict(), **(extra or {})}
        weights.pop(without, None)
        checkpoint = save_checkpoint(run_dir, weights, step=5)
        return Run(run_dir, checkpoint, data_dir / DATASET, tokenizer, made, keeping)

    return make


def save_checkpoint(run_dir: Path, weights: dict[str, Tensor], *, step: int) -> Path:
    lease = Lease.take(run_dir, step)
    pinned = record.read(run_dir)
    assert pinned is not None, "the run's record comes first"
    try:
        entry = save(
            run_dir,
            {"model": weights, "optimizer": {"some": torch.ones(3)}},
            {"step": step},
            run="small",
            step=step,
            reason="final",
            lease=lease,
            spec_digest=pinned.spec_digest,
            parent=None,
            clock=SystemClock(),
        )
    finally:
        lease.release()
    return entry.path


def load_model(directory: Path) -> Any:
    from transformers import AutoModelForCausalLM

    loaded: Any = AutoModelForCausalLM.from_pretrained(directory, local_files_only=True)
    return loaded.eval()


def load_tokenizer(directory: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(directory, local_files_only=True)
