"""make bench-peer DIR=...: our trainer against karpathy's nanochat, interleaved step by step.

DIR is a checkout of nanochat at 3a5e0bc (October 2025), the architecture that homerun trains;
nothing of it is needed otherwise. Each side lives in a process of its own and computes one
optimizer step when it is told to, in turn, so that a drift of the machine hits both. Ours is the
real trainer with its checkpoints, events and commands; theirs is their model and their
optimizers, fed with the very same batches in the order of operations of their training script.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.bench.machine import header, spread
from trainer.openmp import share_the_cores

CLASSIC = "3a5e0bc"
SPEC = """
name = "peer"
[model]
depth = {depth}
vocab_size = {vocab}
sequence_length = {sequence}
[data]
tokenizer_characters = 5000000
allow_repeats = true
[train]
steps = 100000
batch_tokens = {batch_tokens}
micro_batch = {micro}
precision = "{precision}"
compile = {compile}
device = "{device}"
eval_every_steps = 0
eval_tokens = 512
[checkpoint]
every_seconds = 1e6
"""


class Side:
    """One child that computes a step whenever it is told to."""

    def __init__(self, name: str, *arguments: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.bench.peer", name, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def step(self) -> dict[str, float]:
        """Let it go, wait for its figures: seconds, tokens, loss."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()
        for line in self._process.stdout:
            if line.startswith('{"seconds"'):
                figures: dict[str, float] = json.loads(line)
                return figures
        raise SystemExit("bench-peer: a side ended early; its message stands above")

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.communicate()


# --- the two children -----------------------------------------------------------------------


def _gate() -> None:
    if not sys.stdin.readline():
        os._exit(0)


def _report(seconds: float, tokens: int, loss: float) -> None:
    print(json.dumps({"seconds": seconds, "tokens": tokens, "loss": loss}), flush=True)


def ours(spec_file: str, root: str) -> None:
    """The real trainer; its link is the gate."""
    share_the_cores()
    from trainer import loop
    from trainer.clock import SystemClock
    from trainer.contract import spec as run_spec
    from trainer.contract.job import Job
    from trainer.contract.messages import Event, Failed, Phase, Step
    from trainer.link import Mailbox

    class Gate(Mailbox):
        """Holds the trainer at every step's end until the parent lets it go."""

        def __init__(self) -> None:
            super().__init__()
            self._opened = False

        def send(self, event: Event) -> None:
            match event:
                case Phase(phase="train") if not self._opened:
                    self._opened = True
                    _gate()
                case Step():
                    _report(
                        event.seconds, round(event.tokens_per_second * event.seconds), event.loss
                    )
                    _gate()
                case Failed():
                    print(event.message, file=sys.stderr)

    spec = run_spec.load(Path(spec_file))
    run_dir = Path(root) / "ours" / "run"
    run_dir.mkdir(parents=True, exist_ok=True)
    loop.train(Job(spec, 1, str(run_dir), str(Path(root) / "data")), Gate(), SystemClock())


def theirs(spec_file: str, root: str, checkout: str) -> None:
    """nanochat's model and optimizers on the same batches."""
    share_the_cores()
    import torch

    from trainer import data, environment, sizing
    from trainer.clock import SystemClock
    from trainer.contract import spec as run_spec
    from trainer.data import Loader

    sys.path.insert(0, checkout)
    spec = run_spec.load(Path(spec_file))
    device = environment.device_for(spec.train.device)
    torch.set_num_threads(environment.threads_for(spec.train, 0))
    dataset = data.prepare(spec.data, spec.model.vocab_size, Path(root) / "data", lambda *_: None)
    loader = Loader(dataset.train, spec.seed, spec.train.micro_batch, spec.model.sequence_length)
    shape = sizing.shape_of(spec.model)
    torch.manual_seed(spec.seed)
    model, optimizers = _their_parts(shape, device, spec.train.precision)
    compiled = torch.compile(model, dynamic=False) if spec.train.compile else model
    cast = spec.train.precision == "bf16"
    clock = SystemClock()
    for step in range(spec.train.steps):
        _gate()
        begin = clock.monotonic()
        total = torch.zeros((), device=device)
        for micro in range(spec.micro_batches):
            ids, targets = loader.batch(step * spec.micro_batches + micro)
            with torch.autocast(device.type, torch.bfloat16) if cast else contextlib.nullcontext():
                loss = compiled(ids.to(device), targets.to(device))
            total += loss.detach()
            (loss / spec.micro_batches).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), spec.train.gradient_clip)
        for optimizer in optimizers:
            optimizer.step()
        model.zero_grad(set_to_none=True)
        mean = total.item() / spec.micro_batches
        _report(clock.monotonic() - begin, spec.train.batch_tokens, mean)


def _their_parts(shape: Any, device: Any, precision: str) -> tuple[Any, Any]:
    try:
        from nanochat.gpt import GPT, GPTConfig  # type: ignore[import-not-found]
    except ImportError as error:
        raise SystemExit(
            f"bench-peer: DIR is no nanochat checkout that runs here: {error}"
        ) from None
    fields = set(GPTConfig.__dataclass_fields__)
    if "window_pattern" in fields:
        raise SystemExit(
            f"bench-peer: this nanochat is another architecture than homerun's; take {CLASSIC}"
        )
    config = GPTConfig(
        sequence_len=shape.sequence_length,
        vocab_size=shape.vocab_size,
        n_layer=shape.layers,
        n_head=shape.heads,
        n_kv_head=shape.kv_heads,
        n_embd=shape.width,
    )
    model = GPT(config)
    model.to(device)
    model.init_weights()
    if precision == "fp32":
        model.transformer.wte.float()
    with contextlib.redirect_stdout(sys.stderr):
        return model, model.setup_optimizers()


# --- the measurement ------------------------------------------------------------------------


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="make bench-peer", description=__doc__)
    parser.add_argument("checkout", type=Path, help=f"a nanochat checkout at {CLASSIC}")
    parser.add_argument("--depth", type=int, default=4)
    parser.add_argument("--vocab", type=int, default=8192)
    parser.add_argument("--sequence", type=int, default=512)
    parser.add_argument("--micro", type=int, default=8)
    parser.add_argument("--micro-batches", type=int, default=2)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--warmup", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--eager", action="store_true", help="without torch.compile as well")
    return parser


@contextlib.contextmanager
def _sides(spec: Path, root: Path, checkout: Path) -> Iterator[tuple[Side, Side]]:
    sides = Side("ours", str(spec), str(root)), Side("theirs", str(spec), str(root), str(checkout))
    try:
        yield sides
    finally:
        for side in sides:
            side.close()


def measure(options: argparse.Namespace, precision: str, compiled: bool, base: Path) -> list[str]:
    """Table rows of one precision."""
    root = base / f"{precision}-{compiled}"
    root.mkdir()
    (base / "data").mkdir(exist_ok=True)
    (root / "data").symlink_to(base / "data")
    spec = root / "peer.toml"
    spec.write_text(
        SPEC.format(
            depth=options.depth,
            vocab=options.vocab,
            sequence=options.sequence,
            micro=options.micro,
            batch_tokens=options.micro * options.sequence * options.micro_batches,
            precision=precision,
            compile=str(compiled).lower(),
            device=options.device,
        ),
        encoding="utf-8",
    )
    speeds: tuple[list[float], list[float]] = ([], [])
    losses = [math.nan, math.nan]
    with _sides(spec, root, options.checkout) as sides:
        for number in range(options.warmup + options.rounds):
            for index, side in enumerate(sides):
                figures = side.step()
                losses[index] = figures["loss"]
                if number >= options.warmup:
                    speeds[index].append(figures["tokens"] / figures["seconds"])
    ratios = [mine / other for mine, other in zip(*speeds, strict=True)]
    mode = "compiled" if compiled else "eager"
    return [
        f"| {precision} | {mode} | {statistics.median(speeds[0]):.0f} "
        f"| {statistics.median(speeds[1]):.0f} | {spread(ratios)} "
        f"| {losses[0]:.3f} / {losses[1]:.3f} |"
    ]


def main() -> int:
    """Print the table."""
    if sys.argv[1:2] == ["ours"]:
        ours(*sys.argv[2:])
        return 0
    if sys.argv[1:2] == ["theirs"]:
        theirs(*sys.argv[2:])
        return 0
    options = _parser().parse_args()
    options.checkout = options.checkout.resolve()
    print(header(f"make bench-peer DIR=<nanochat at {CLASSIC}>"))
    print(
        f"depth {options.depth}, vocabulary {options.vocab}, {options.micro_batches} micro-batches "
        f"of {options.micro} x {options.sequence} tokens, {options.rounds} rounds\n"
    )
    print("| precision | mode | ours, tokens/s | nanochat, tokens/s | ratio | last loss |")
    print("|---|---|---|---|---|---|", flush=True)
    modes = [True, False] if options.eager else [True]
    with tempfile.TemporaryDirectory(prefix="hr-") as folder:
        for compiled in modes:
            for precision in ("fp32", "bf16"):
                for row in measure(options, precision, compiled, Path(folder)):
                    print(row, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
