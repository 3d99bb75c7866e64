"""``python -m trainer run.toml``: train a run alone, without any daemon.

The run lives in DIR (default ``runs/NAME`` here); prepared corpora lie beside it, in
``DIR/../data``, and are shared by all runs there. The same command again goes on from the last
checkpoint. Ctrl-C or SIGTERM saves and leaves; a second one leaves at once.
"""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType

from trainer.checkpoint import retention
from trainer.checkpoint.catalog import checkpoints_dir
from trainer.checkpoint.lease import next_token
from trainer.clock import SystemClock
from trainer.console import ConsoleLink
from trainer.contract import spec as run_spec
from trainer.contract import toml
from trainer.contract.job import Job
from trainer.contract.messages import Failed, Finished, Saved, Stop, Stopped
from trainer.openmp import share_the_cores

_EXIT_SPEC = 78


def main(arguments: Sequence[str] | None = None) -> int:
    """Train as told on the command line; the exit code."""
    options = _parser().parse_args(arguments)
    try:
        spec = run_spec.load(options.spec)
    except toml.InvalidFileError as error:
        sys.stderr.write(f"{error}\n")
        return _EXIT_SPEC
    run_dir = (options.dir or Path("runs") / spec.name).absolute()
    try:
        job = Job(spec, next_token(run_dir), str(run_dir), str(run_dir.parent / "data"))
    except OSError as error:
        sys.stderr.write(f"{run_dir} cannot be used: {error}\n")
        return 1
    return _train(job, as_json=options.json)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m trainer",
        description="Train a run alone, without any daemon. The same command goes on.",
    )
    parser.add_argument("spec", type=Path, metavar="run.toml", help="the run")
    parser.add_argument(
        "--dir",
        type=Path,
        help="the run's directory (default: runs/NAME); data goes to DIR/../data",
    )
    parser.add_argument("--json", action="store_true", help="print every event as a line of JSON")
    return parser


def _train(job: Job, *, as_json: bool) -> int:
    # PyTorch takes seconds; a wrong spec is told at once
    share_the_cores()
    from trainer import loop

    clock = SystemClock()
    link = ConsoleLink(sys.stdout, clock, as_json=as_json, on_saved=_thin_out(job))
    with _signals(link):
        code = loop.train(job, link, clock)
    link.finish_line()
    if not as_json:
        _tell(job, link)
    return code


def _thin_out(job: Job) -> Callable[[Saved], None]:
    """Retention, which is the daemon's where there is one."""

    def thin_out(_saved: Saved) -> None:
        # an old checkpoint that cannot be deleted only costs space
        with contextlib.suppress(OSError):
            retention.retain(Path(job.run_dir), retention.Policy(job.spec.checkpoint.keep, 0, 0))

    return thin_out


@contextlib.contextmanager
def _signals(link: ConsoleLink) -> Iterator[None]:
    def stop(number: int, _frame: FrameType | None) -> None:
        link.inject(Stop())
        signal.signal(number, signal.SIG_DFL)

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _tell(job: Job, link: ConsoleLink) -> None:
    match link.end:
        case Finished():
            sys.stdout.write(_finished(job, link.end))
        case Stopped(step, _, 0):
            sys.stdout.write(
                f"run {job.spec.name} stands at step {step}; the same command goes on from there\n"
            )
        case Stopped(step, _, memory_step):
            sys.stdout.write(
                f"run {job.spec.name} stands at step {memory_step}, but only in memory; the disk "
                f"has step {step}: make room on it, and go on before a reboot\n"
            )
        case Failed(_, message):
            sys.stderr.write(f"run {job.spec.name} failed: {message}\n")


def _finished(job: Job, end: Finished) -> str:
    run_dir = Path(job.run_dir)
    where = checkpoints_dir(run_dir) / end.checkpoint
    return (
        f"\nrun {job.spec.name} is finished at step {end.step:,}\n"
        f"  validation  {end.bits_per_byte_before:.4f} bits per byte before, "
        f"{end.bits_per_byte:.4f} after\n"
        f"  sample      {end.sample!r}\n"
        f"  model       {where / 'model.safetensors'}\n"
        f"  next        python -m trainer.export {run_dir} DIR --to hf\n"
    )


if __name__ == "__main__":
    sys.exit(main())
