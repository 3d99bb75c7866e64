"""What a power cut leaves of everybody's checkpoints: real cuts on real file systems.

``make bench-powercut``, as root. Each round gives every writer a fresh ext4 and a fresh xfs of
its own, lets it save twice, makes those two as durable as they are after some minutes, lets it
save once more, and cuts the power: half of the rounds in the middle of that save, half at a
random moment of the twenty seconds after it had returned. Then the file system is mounted again
and the tool resumes as it does by itself.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import sys
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from orchestrator.home.clock import SystemClock
from tests.bench.machine import header
from tests.bench.powercut_loops import available
from tests.bench.powercut_writers import NothingThere, Writer, WrongState
from tests.powercut import loopdisk
from tests.powercut.loopdisk import LoopDisk, loop_disk

CLOCK = SystemClock()
BEFORE = 2
AFTER_SECONDS = 20.0
_PATIENCE_SECONDS = 120
_WRONG = "wrong state"
OUTCOMES = ("newest", "older", "stuck", "nothing", "wrong")
LEGEND = """\
- **newest**: the restart goes on from the newest checkpoint whose save had returned, or from a
  newer one, every number right
- **older**: by itself it goes on from an older one, every number right
- **stuck**: the restart fails or begins from scratch; an older whole one is there, and a person
  has to find it
- **nothing**: no checkpoint on the disk can be loaded: all work is lost
- **wrong**: a restart goes on with numbers that are not those of its step
"""


@dataclass
class Child:
    """A writer at work in a process of its own."""

    writer: Writer
    disk: LoopDisk
    pid: int
    go: int
    said: int
    acknowledged: int = 0

    def step(self) -> None:
        """Let it save once more."""
        os.write(self.go, b"g")

    def wait_saved(self) -> None:
        """Wait until the save has returned."""
        line = b""
        while not line.endswith(b"\n"):
            more = os.read(self.said, 1)
            if not more:
                raise RuntimeError(f"{self.writer.name} ended before its save")
            line += more
        self.acknowledged = int(line)

    def close(self) -> None:
        os.close(self.go)
        os.close(self.said)


def start(writer: Writer, disk: LoopDisk, log: Path) -> Child:
    """Fork a process that saves whenever it is told to."""
    go_out, go_in = os.pipe()
    said_out, said_in = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(go_in)
        os.close(said_out)
        with _quietly(log):
            _write(writer, disk.root / "work", go_out, said_in)
    os.close(go_out)
    os.close(said_in)
    return Child(writer, disk, pid, go_in, said_out)


def _write(writer: Writer, root: Path, go: int, said: int) -> None:
    def wait() -> None:
        if not os.read(go, 1):
            os._exit(0)

    def saved(step: int) -> None:
        os.write(said, f"{step}\n".encode())

    writer.write(root, wait, saved)


def outcome(child: Child, log: Path) -> tuple[str, str]:
    """What the restart of the tool made of what is left, and its error."""
    step, error = _in_a_fork(child, log, by_hand=False)
    if step >= child.acknowledged:
        return "newest", ""
    if step > 0:
        return "older", ""
    if error.startswith(_WRONG):
        return "wrong", error
    step, _ = _in_a_fork(child, log, by_hand=True)
    return ("stuck", error) if step > 0 else ("nothing", error)


def _in_a_fork(child: Child, log: Path, *, by_hand: bool) -> tuple[int, str]:
    out, into = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(out)
        signal.alarm(_PATIENCE_SECONDS)
        with _quietly(log):
            os.write(into, json.dumps(load_now(child, by_hand=by_hand)).encode())
    os.close(into)
    with os.fdopen(out, "rb") as answer:
        text = answer.read()
    _, status = os.waitpid(pid, 0)
    step, error = json.loads(text) if text else (0, f"ended with status {status}")
    return int(step), str(error)


def load_now(child: Child, *, by_hand: bool) -> tuple[int, str]:
    """The step that was loaded, or 0 and what went wrong."""
    root = child.disk.root / "work"
    attempts = child.writer.by_hand(root) if by_hand else [lambda: child.writer.resume(root)]
    error = ""
    for attempt in attempts:
        try:
            return attempt(), ""
        except NothingThere:
            error = "no checkpoint"
        except WrongState as wrong:
            error = f"{_WRONG}: {wrong}"
        except BaseException as failed:  # torch's CheckpointException is no Exception
            error = f"{type(failed).__name__}: {str(failed).splitlines()[0] if str(failed) else ''}"
    return 0, error


@contextlib.contextmanager
def _quietly(log: Path) -> Iterator[None]:
    """In a forked process: say everything into ``log``, and never come back."""
    try:
        with log.open("a") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        warnings.simplefilter("ignore")
        yield
    except BaseException as error:
        print(repr(error), flush=True)
    finally:
        os._exit(0)


@dataclass(frozen=True)
class Result:
    """One cut."""

    file_system: str
    writer: str
    during: bool
    seconds_after: float
    outcome: str
    error: str


def one_round(
    writers: list[Writer], kinds: list[str], *, during: bool, rng: random.Random, log: Path
) -> Iterator[Result]:
    """Every writer on every file system; all wait for their cut at the same time."""
    with contextlib.ExitStack() as stack:
        ready: list[tuple[str, Child, float]] = []
        for kind in kinds:
            for writer in writers:
                disk = stack.enter_context(loop_disk(kind))
                ready.append((kind, *_with_two_saved(writer, disk, log)))
        if during:
            for kind, child, took in ready:
                child.step()
                CLOCK.sleep(rng.uniform(0, took))
                yield _cut(kind, child, None, log)
            return
        waiting: list[tuple[float, float, str, Child]] = []
        for kind, child, _ in ready:
            child.step()
            child.wait_saved()
            saved = CLOCK.monotonic()
            waiting.append((saved + rng.uniform(0, AFTER_SECONDS), saved, kind, child))
        for deadline, saved, kind, child in sorted(waiting, key=lambda item: item[0]):
            CLOCK.sleep(max(0.0, deadline - CLOCK.monotonic()))
            yield _cut(kind, child, saved, log)


def _with_two_saved(writer: Writer, disk: LoopDisk, log: Path) -> tuple[Child, float]:
    """A writer whose older checkpoints are durable, and how many seconds a save of it takes."""
    (disk.root / "work").mkdir()
    disk.sync()
    child = start(writer, disk, log)
    took = 0.0
    for _ in range(BEFORE):
        begun = CLOCK.monotonic()
        child.step()
        child.wait_saved()
        took = CLOCK.monotonic() - begun
    disk.sync()
    return child, took


def _cut(kind: str, child: Child, saved: float | None, log: Path) -> Result:
    after = 0.0 if saved is None else CLOCK.monotonic() - saved
    child.disk.cut_under(child.pid)
    if saved is None:
        # it may have finished just before it was frozen
        os.set_blocking(child.said, False)
        with contextlib.suppress(BlockingIOError, RuntimeError):
            child.wait_saved()
    found, error = outcome(child, log)
    child.close()
    return Result(kind, child.writer.name, saved is None, after, found, error)


# --- the report -------------------------------------------------------------------------------


def table(results: list[Result], names: list[str], kinds: list[str]) -> str:
    """Markdown: a row for each writer on each file system, during and after a save."""
    lines = [
        f"| file system | writer | the power failed | cuts | {' | '.join(OUTCOMES)} |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for kind in kinds:
        for name in names:
            for during in (True, False):
                mine = [
                    one
                    for one in results
                    if (one.file_system, one.writer, one.during) == (kind, name, during)
                ]
                counts = Counter(one.outcome for one in mine)
                latest = max((one.seconds_after for one in mine), default=0.0)
                when = "in a save" if during else f"0 to {latest:.0f} s after one"
                cells = " | ".join(str(counts[word]) for word in OUTCOMES)
                lines.append(f"| {kind} | {name} | {when} | {len(mine)} | {cells} |")
    return "\n".join(lines)


def errors(results: list[Result], names: list[str]) -> str:
    """The first error of each writer, as it stands in its own words."""
    lines = []
    for name in names:
        said = Counter(one.error[:110] for one in results if one.writer == name and one.error)
        lines += [f"- {name}: {count} x `{text}`" for text, count in said.most_common(2)]
    return "\n".join(lines) or "- none"


def report(results: list[Result], writers: list[Writer], kinds: list[str], head: str) -> str:
    """The whole page."""
    names = [writer.name for writer in writers]
    ways = "\n".join(f"- {writer.name}: {writer.how}" for writer in writers)
    return (
        f"# What a power cut leaves\n\n```\n{head}\n```\n\n"
        "Real power cuts: the kernel shuts a mounted file system down without flushing its log, "
        "the writer frozen before, and the next mount replays the journal. Every writer has a "
        "fresh file system of its own of each kind, saves 8 MiB twice, those two are made durable "
        "as they are after some minutes, and the power fails at a random moment of the time that "
        "the third save takes, or after it had returned. A `sync` by any other program of the "
        "machine in those seconds saves everybody's files: a busy machine flatters those that do "
        "not sync."
        "\n\n"
        f"{table(results, names, kinds)}\n\n{LEGEND}\nHow each saves and resumes:\n\n{ways}\n\n"
        f"What they said (most frequent first):\n\n{errors(results, names)}\n"
    )


def main() -> int:
    """Run the rounds, print the table, write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    kinds = []
    for kind in loopdisk.FILE_SYSTEMS:
        if problem := loopdisk.unusable(kind):
            print(f"no real power cuts on {kind}: {problem}", file=sys.stderr)
        else:
            kinds.append(kind)
    if not kinds:
        return 3
    writers = available()
    head = header(f"make bench-powercut ARGS='--rounds {options.rounds} --seed {options.seed}'")
    rng = random.Random(options.seed)
    log = Path(os.environ.get("TMPDIR", "/tmp")) / f"homerun-bench-powercut-{os.getpid()}.log"
    results: list[Result] = []
    for number in range(options.rounds):
        for one in one_round(writers, kinds, during=number % 2 == 0, rng=rng, log=log):
            results.append(one)
            print(f"{number} {one}", file=sys.stderr, flush=True)
    log.unlink(missing_ok=True)
    page = report(results, writers, kinds, head)
    print(page)
    if options.out:
        (options.out / "powercut.md").write_text(page, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
