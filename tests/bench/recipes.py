"""make bench-recipes: every recipe trains the same small model on the same tokens.

Each cell, one recipe with one seed, is a run of the real trainer in a process of its own; two run
at a time, each on one thread. Cells of one seed begin with the same weights and read the same
tokens in the same order, so recipes are compared seed by seed. Speed and memory are measured at
the end in one process that takes a step of each recipe in turn. What is finished stays in the
working directory: the same command goes on where an interrupted one ended.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests.bench import recipes_report
from tests.bench.machine import header
from trainer.openmp import share_the_cores

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Variant:
    """A recipe with the switches of the spec that make it another one."""

    precision: str
    optimizer: str = "auto"
    mlp_codec: str = "seq2"

    @property
    def name(self) -> str:
        """As the table calls it."""
        switches = (self.optimizer, "auto"), (self.mlp_codec, "seq2")
        return " ".join([self.precision, *(value for value, usual in switches if value != usual)])


#: in the order of the table; bf16-8bit with AdamW is what the other AdamW rows compare with
VARIANTS = (
    Variant("fp32"),
    Variant("bf16"),
    Variant("bf16-8bit"),
    Variant("int8"),
    Variant("nf4"),
    Variant("w3"),
    Variant("w2.6"),
    Variant("w2.6", mlp_codec="ternary"),
    Variant("bf16-8bit", optimizer="adamw8"),
    Variant("nf4", optimizer="adamw8"),
    Variant("w3", optimizer="adamw8"),
    Variant("qlora-4bit"),
)
SPEED_REFERENCE = "bf16"


@dataclass(frozen=True)
class Size:
    """What every cell has in common."""

    depth: int = 2
    #: hardly more than bytes: so few steps must lead well past the frequencies of tokens, or no
    #: two recipes can be told apart
    vocab_size: int = 512
    sequence_length: int = 128
    micro_batch: int = 16
    micro_batches: int = 1
    steps: int = 400
    eval_tokens: int = 65_536
    #: batches this small want lower rates than the classic ones: a bf16 model of depth 3 ended
    #: at 4.38 nats a token with half of them, at 4.50 with all
    lr_scale: float = 0.5
    corpus: str = "default"
    tokenizer_characters: int = 20_000_000
    #: rounds of the speed measurement, the first two of which are not counted
    rounds: int = 12

    def digest(self) -> str:
        """Names the directory of the cells that may be compared with each other."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:12]

    def spec(self, variant: Variant, seed: int) -> dict[str, Any]:
        """The run of one cell, as its TOML file would have it."""
        train: dict[str, Any] = {
            "steps": self.steps,
            "batch_tokens": self.micro_batches * self.micro_batch * self.sequence_length,
            "micro_batch": self.micro_batch,
            "precision": variant.precision,
            "lr_scale": self.lr_scale,
            "eval_every_steps": 0,
            "eval_tokens": self.eval_tokens,
            "device": "cpu",
            "threads": 1,
        }
        if variant.optimizer != "auto":
            train["optimizer"] = variant.optimizer
        if variant.mlp_codec != "seq2":
            train["mlp_codec"] = variant.mlp_codec
        return {
            "name": f"{variant.name.replace(' ', '-')}-{seed}",
            "seed": seed,
            "model": {
                "depth": self.depth,
                "vocab_size": self.vocab_size,
                "sequence_length": self.sequence_length,
            },
            "data": {
                "corpus": self.corpus,
                "allow_repeats": True,
                "tokenizer_characters": self.tokenizer_characters,
            },
            "train": train,
            "checkpoint": {"every_seconds": 60.0},
        }


#: what may be given on the command line
_SIZES = {"steps": "--steps", "depth": "--depth", "vocab_size": "--vocab"}

QUICK = Size(
    depth=1,
    vocab_size=512,
    sequence_length=32,
    micro_batch=2,
    steps=2,
    eval_tokens=64,
    tokenizer_characters=1_000_000,
    rounds=2,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what is missing, write the report; 1 when a cell failed."""
    options = _parser().parse_args(arguments)
    size = _size(options)
    work = options.work.absolute() / size.digest()
    if options.cell:
        return _cell(size, _named(options.cell), options.seeds, work)
    if options.time:
        return _time(size, _chosen(options.recipes), work)
    variants = _chosen(options.recipes)
    machine = header(
        "make bench-recipes" + (f' ARGS="{_given(options)}"' if _given(options) else "")
    )
    print(machine, flush=True)
    seeds = range(1, options.seeds + 1)
    _train_missing(options, [(seed, each) for seed in seeds for each in variants], work)
    results = [
        json.loads(path.read_text(encoding="utf-8"))
        for seed in seeds
        for each in variants
        if (path := _result_file(work, each, seed)).exists()
    ]
    rows = list(dict.fromkeys(cell["variant"] for cell in results))
    if not rows:
        return 1
    _child(options, "--time", "--recipes", *rows)
    timed = json.loads((work / "timed.json").read_text(encoding="utf-8"))
    report = recipes_report.Report(machine, asdict(size), results, timed)
    options.out.mkdir(parents=True, exist_ok=True)
    recipes_report.write(report, options.out)
    print((options.out / "recipes.md").read_text(encoding="utf-8"))
    return int(any(not _result_file(work, e, seed).exists() for seed in seeds for e in variants))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="make bench-recipes", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a few steps of a tiny model")
    parser.add_argument("--seeds", type=int, help="how many (3, or 1 with --quick)")
    parser.add_argument("--steps", type=int, help="optimizer steps of a cell")
    parser.add_argument("--depth", type=int, help="layers of the model")
    parser.add_argument("--vocab", type=int, dest="vocab_size", help="tokens in the vocabulary")
    parser.add_argument("--corpus", help="a directory of texts instead of the default corpus")
    parser.add_argument("--jobs", type=int, default=2, help="cells at a time")
    parser.add_argument("--recipes", nargs="*", default=[], help="only these rows of the table")
    parser.add_argument("--work", type=Path, default=ROOT / "build/bench-recipes")
    parser.add_argument("--out", type=Path, default=ROOT / "deploy/bench")
    parser.add_argument("--cell", help=argparse.SUPPRESS)
    parser.add_argument("--time", action="store_true", help=argparse.SUPPRESS)
    return parser


def _size(options: argparse.Namespace) -> Size:
    plain = asdict(QUICK if options.quick else Size())
    for name in (*_SIZES, "corpus"):
        if getattr(options, name) is not None:
            plain[name] = getattr(options, name)
    options.seeds = options.seeds or (1 if options.quick else 3)
    return Size(**plain)


def _given(options: argparse.Namespace) -> str:
    """The options that change what is measured, as the command has them."""
    words = ["--quick"] if options.quick else []
    for name, option in _SIZES.items():
        value = getattr(options, name)
        words += [option, str(value)] if value is not None else []
    if options.seeds != (1 if options.quick else 3):
        words += ["--seeds", str(options.seeds)]
    if options.recipes:
        words += ["--recipes", *(f"'{each}'" if " " in each else each for each in options.recipes)]
    return " ".join(words)


def _chosen(names: Sequence[str]) -> list[Variant]:
    return [_named(name) for name in names] if names else list(VARIANTS)


def _named(name: str) -> Variant:
    found = next((each for each in VARIANTS if each.name == name), None)
    if found is None:
        known = ", ".join(each.name for each in VARIANTS)
        raise SystemExit(f"bench-recipes: no row {name!r}; there are {known}")
    return found


# --- the cells ------------------------------------------------------------------------------


def _train_missing(
    options: argparse.Namespace, cells: list[tuple[int, Variant]], work: Path
) -> None:
    """Two at a time; in this process when it is quick anyway."""
    missing = [cell for cell in cells if not _result_file(work, cell[1], cell[0]).exists()]
    print(f"{len(cells) - len(missing)} of {len(cells)} cells are there already", flush=True)

    def train(cell: tuple[int, Variant]) -> None:
        seed, variant = cell
        code = _child(options, "--cell", variant.name, "--seeds", str(seed))
        path = _result_file(work, variant, seed)
        if code or not path.exists():
            print(f"{variant.name}, seed {seed}: FAILED, see above", flush=True)
            return
        found = json.loads(path.read_text(encoding="utf-8"))
        print(
            f"{variant.name}, seed {seed}: {found['bits_per_byte']:.4f} bits per byte "
            f"after {found['seconds']:.0f} s",
            flush=True,
        )

    with ThreadPoolExecutor(1 if options.quick else options.jobs) as pool:
        list(pool.map(train, missing))


def _child(options: argparse.Namespace, *what: str) -> int:
    """Do ``what`` with the same size in a process of its own; in this one when it is quick."""
    arguments = [*what, "--work", str(options.work)]
    for name, option in {**_SIZES, "corpus": "--corpus"}.items():
        value = getattr(options, name)
        arguments += [option, str(value)] if value is not None else []
    if options.quick:
        return main(["--quick", *arguments])
    # PyTorch and bitsandbytes bring an OpenMP each; one thread is all that a cell may have
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.bench.recipes", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode


def _cell(size: Size, variant: Variant, seed: int, work: Path) -> int:
    """Train one cell in this process, from its last checkpoint if it has one."""
    share_the_cores()
    from trainer import loop
    from trainer.checkpoint.lease import next_token
    from trainer.clock import SystemClock
    from trainer.contract import spec as run_spec
    from trainer.contract.job import Job
    from trainer.contract.messages import Evaluated, Failed, Finished, Step
    from trainer.link import ScriptedLink

    clock = SystemClock()
    begin = clock.monotonic()
    spec = run_spec.from_dict(size.spec(variant, seed))
    run_dir = work / "runs" / spec.name
    run_dir.mkdir(parents=True, exist_ok=True)
    link = ScriptedLink()
    job = Job(spec, next_token(run_dir), str(run_dir), str(work.parent / "data"))
    loop.train(job, link, clock)
    end = link.events[-1]
    if not isinstance(end, Finished):
        why = end.message if isinstance(end, Failed) else repr(end)
        print(f"{spec.name}: {why}", file=sys.stderr)
        return 1
    evaluated = [event for event in link.events if isinstance(event, Evaluated)][-1]
    steps = [event for event in link.events if isinstance(event, Step)]
    result = {
        "variant": variant.name,
        "seed": seed,
        "bits_per_byte": evaluated.bits_per_byte,
        "nats_per_token": evaluated.loss,
        "training_loss": [step.loss for step in steps],
        "seconds": clock.monotonic() - begin,
        "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "commit": _commit(),
    }
    _write(_result_file(work, variant, seed), result)
    shutil.rmtree(run_dir)
    return 0


def _commit() -> str:
    command = ["git", "describe", "--always", "--dirty", "--exclude", "*"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def _result_file(work: Path, variant: Variant, seed: int) -> Path:
    return work / "cells" / f"{variant.name.replace(' ', '-')}-{seed}.json"


def _write(path: Path, plain: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_suffix(".part")
    half.write_text(json.dumps(plain, indent=1) + "\n", encoding="utf-8")
    half.replace(path)


# --- speed and memory -----------------------------------------------------------------------


def _time(size: Size, variants: list[Variant], work: Path) -> int:
    """A step of each recipe in turn, in one process; what drifts hits all of them alike."""
    share_the_cores()
    from tests.bench.recipes_timing import Timed

    shutil.rmtree(work / "timing", ignore_errors=True)
    timed = [
        Timed(size.spec(each, 1), work / "timing", work.parent / "data", each.name)
        for each in variants
    ]
    for _ in range(size.rounds):
        for each in timed:
            each.step()
    table = {each.name: each.figures(skip=min(2, size.rounds - 1)) for each in timed}
    for each in timed:
        each.close()
    for name, figures in table.items():
        if SPEED_REFERENCE in table:
            other = table[SPEED_REFERENCE]["tokens_per_second"]
            pairs = zip(figures["tokens_per_second"], other, strict=True)
            figures["ratios"] = [mine / theirs for mine, theirs in pairs]
        speed = statistics.median(figures["tokens_per_second"])
        print(f"{name}: {speed:.0f} tokens/s", flush=True)
    _write(work / "timed.json", table)
    shutil.rmtree(work / "timing")
    return 0


if __name__ == "__main__":
    sys.exit(main())
