"""make gpu-check: memory, speed and exactness of every recipe on the CUDA device of this machine.

Needs the trainer's packages only, no ray and no pytest. Exit code 0: everything is as promised;
1: something is not; 3: there is no CUDA device, and nothing was measured.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from tests.gpu import table
from tests.gpu.table import ExactnessCheck, MemoryCheck, Report, SpeedCheck
from trainer.contract.spec import MemorySpec, ModelSpec, RunSpec, TrainSpec
from trainer.precision import RECIPES
from trainer.sizing import card_named, flops_per_token
from trainer.sizing.memory import memory
from trainer.sizing.speed import assumed_speed
from trainer.sizing.storage import storage_of

ROOT = Path(__file__).resolve().parents[2]
NO_DEVICE = 3
_GIB = 1 << 30
_SMALL = ModelSpec(depth=4, vocab_size=2048, sequence_length=256)
#: recipes whose speeds are compared; fp32 would take minutes and say nothing new
_TIMED = ("bf16", "bf16-8bit", "int8", "nf4")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the table, write it into deploy/bench."""
    options = _options(arguments)
    if not torch.cuda.is_available():
        print("no CUDA device: nothing was measured", file=sys.stderr)
        return NO_DEVICE
    torch.cuda.init()
    total = torch.cuda.get_device_properties(0).total_memory
    limit = min(int(options.limit_gib * _GIB), total)
    recipes = options.recipe or [name for name in RECIPES if name not in options.without]
    report = Report(
        device=torch.cuda.get_device_name(0),
        driver=_driver(),
        torch=str(torch.__version__),
        command=" ".join(["make gpu-check", *(arguments or sys.argv[1:])]),
        limit_bytes=limit,
        exactness=tuple(exactness(recipes)),
        memory=tuple(memories(recipes, options.depth, limit)),
        speed=tuple(speeds(recipes, options.depth, limit)),
    )
    print(table.markdown(report))
    for path in table.write(report, options.out):
        print(f"written: {path}")
    return 0 if report.good else 1


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="gpu-check", description=__doc__)
    parser.add_argument("--limit-gib", type=float, default=12.0, help="of the device's memory")
    parser.add_argument("--depth", type=int, nargs="+", default=[20, 32])
    parser.add_argument("--recipe", nargs="+", choices=list(RECIPES))
    parser.add_argument("--without", nargs="+", default=[], choices=list(RECIPES))
    parser.add_argument("--out", type=Path, default=ROOT / "deploy" / "bench")
    return parser.parse_args(arguments)


def memories(recipes: Sequence[str], depths: Sequence[int], limit: int) -> Iterator[MemoryCheck]:
    """Each recipe at the largest depth that the model says to fit, with the largest batch."""
    for recipe in recipes:
        spec = next(iter(_fitting(recipe, sorted(depths, reverse=True), limit)), None)
        if spec is None:
            continue
        expected = memory(spec.model, storage_of(spec), spec.train.micro_batch)
        check = MemoryCheck(recipe, spec.model.depth, spec.train.micro_batch, expected.allocated)
        answer = _ask("memory", spec, limit)
        _say(f"memory {recipe} d{spec.model.depth}: {answer}")
        yield dataclasses.replace(check, **answer)


def speeds(recipes: Sequence[str], depths: Sequence[int], limit: int) -> Iterator[SpeedCheck]:
    """Eager and compiled."""
    card = card_named(torch.cuda.get_device_name(0))
    for recipe in (name for name in _TIMED if name in recipes):
        for spec in _fitting(recipe, depths, limit):
            for compiled in (False, True):
                train = dataclasses.replace(spec.train, compile=compiled)
                wanted = dataclasses.replace(spec, train=train)
                answer = _ask("speed", wanted, limit)
                _say(f"speed {recipe} d{spec.model.depth} compiled={compiled}: {answer}")
                yield _speed_check(wanted, answer, card)


def exactness(recipes: Sequence[str]) -> Iterator[ExactnessCheck]:
    """A small model of each recipe."""
    for recipe in recipes:
        train = TrainSpec(
            steps=4, batch_tokens=2048, micro_batch=2, precision=recipe, device="cuda"
        )
        spec = RunSpec(name="exact", model=_SMALL, train=train)
        answer = _ask("exactness", spec, None)
        _say(f"exactness {recipe}: {answer}")
        yield dataclasses.replace(ExactnessCheck(recipe), **answer)


def _speed_check(spec: RunSpec, answer: dict[str, Any], card: Any) -> SpeedCheck:
    speed = answer.get("tokens_per_second")
    train = spec.train
    assumed = None
    if card is not None:
        assumed = assumed_speed(
            spec.model, storage_of(spec), card, train.micro_batch, train.batch_tokens
        ).tokens_per_second
    return SpeedCheck(
        train.precision,
        spec.model.depth,
        train.micro_batch,
        train.compile,
        flops_per_second=speed * flops_per_token(spec.model) if speed else None,
        assumed=assumed,
        **answer,
    )


def _fitting(recipe: str, depths: Sequence[int], limit: int) -> Iterator[RunSpec]:
    """For each depth the largest micro-batch that the model says to fit; none: nothing."""
    for depth in depths:
        for micro_batch in (8, 4, 2, 1):
            train = TrainSpec(steps=1000, micro_batch=micro_batch, precision=recipe, device="cuda")
            model = ModelSpec(depth=depth)
            spec = RunSpec(name="gpu", model=model, train=train, memory=MemorySpec())
            if memory(model, storage_of(spec), micro_batch).peak <= limit:
                yield spec
                break


def _ask(kind: str, spec: RunSpec, limit: int | None) -> dict[str, Any]:
    """One measurement by ``tests.gpu.probe``."""
    request = json.dumps({"kind": kind, "spec": spec.to_dict(), "limit_bytes": limit})
    done = subprocess.run(
        [sys.executable, "-m", "tests.gpu.probe"],
        input=request,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        answer: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    except (IndexError, ValueError):
        last = (done.stderr.strip().splitlines() or ["no output"])[-1]
        return {"error": f"the probe died ({done.returncode}): {last}"}
    return answer


def _driver() -> str:
    try:
        done = subprocess.run(
            ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError:
        return "unknown"
    return (done.stdout.strip().splitlines() or ["unknown"])[0]


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
