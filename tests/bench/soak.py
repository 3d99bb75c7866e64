"""make soak: a simulated month and a real hour; does anything grow that should not?

The month is homerun's own simulator (the real supervisor) over the real store on a real disk. The
hour is a real daemon with a real trainer whose steps take milliseconds, so that it writes what a
home card writes in weeks; meanwhile clients ask, a person pauses and resumes, and the trainer is
killed now and then. Memory, handles, threads and files are sampled throughout.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import os
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import psutil

from orchestrator.simulation import events
from orchestrator.simulation.market import FixedPrices
from orchestrator.simulation.month import Diary, Month
from orchestrator.simulation.wish import Wish
from orchestrator.tariff.slots import PriceSlot, Source
from tests.bench.machine import header
from tests.bench.soak_report import MIB, Look, Row, row, table, verdict
from tests.story.house import CLOCK, House, trainer_pid

_EVERY_SECONDS = 5.0
_PAUSE_EVERY_SECONDS = 60.0
_KILL_EVERY_SECONDS = 180.0
_START = datetime(2026, 1, 1, tzinfo=UTC)
#: steps of a d32 month on a home card, to which the files' sizes are scaled
_MONTH_STEPS = 71_680
_MEMORY = ("daemon memory", "all processes")
_COUNTS = ("daemon handles", "daemon threads", "processes")
_SIZES = ("database", "daemon log", "trainer log", "checkpoints")


# --- the simulated month ----------------------------------------------------------------------


def month(root: Path) -> tuple[Diary, list[Look], float]:
    """Live through 35 days; the looks are a day apart. Also seconds that it took."""
    wish = Wish(outages="8", games="4", seed=7)
    end = wish.end(_START) + timedelta(days=2)
    prices = FixedPrices("EUR", UTC, _day_and_night, datetime(9999, 1, 1, tzinfo=UTC))
    outages = events.outages(wish.outages, _START, end, UTC, wish.seed)
    games = events.games(wish.games, _START, end, UTC, wish.seed)
    looks: list[Look] = []
    process = psutil.Process()

    def look(now: datetime) -> None:
        days = (now - _START) / timedelta(days=1)
        if looks and days - looks[-1].at < 1.0:
            return
        gc.collect()
        values = {
            "memory": float(process.memory_info().rss),
            "handles": float(process.num_fds()),
            "threads": float(process.num_threads()),
            "database": _size(root, "homerun.sqlite*"),
        }
        looks.append(Look(days, values))

    begun = CLOCK.monotonic()
    diary = Month(wish, _START, prices, prices.truth(_START, end), outages, games).run(root, look)
    return diary, looks, CLOCK.monotonic() - begun


def _day_and_night(start: datetime, end: datetime) -> list[PriceSlot]:
    """Dear from six to twenty-two, cheap at night, another price each day."""
    found = []
    begin = start.replace(minute=0, second=0, microsecond=0)
    while begin < end:
        price = Decimal("0.22") + Decimal("0.01") * ((begin.day * 7) % 11)
        if 6 <= begin.hour < 22:
            price += Decimal("0.14")
        found.append(PriceSlot(begin, begin + timedelta(hours=1), price, Source.FIXED))
        begin += timedelta(hours=1)
    return found


# --- the real hour ----------------------------------------------------------------------------


@dataclass
class Hour:
    """What the real daemon went through."""

    looks: list[Look]
    steps: int
    attempts: int
    scrapes: int
    pauses: int


def hour(root: Path, minutes: float, engine: str) -> Hour:
    """Run the daemon for so long."""
    house = House(root, engine=engine, daemon_options={"tick": '"1s"'})
    done = Hour([], 0, 0, 0, 0)
    try:
        house.start()
        house.submit(steps=10_000_000, every_seconds="5.0")
        house.wait_step(10)
        _watch(house, minutes, done)
        status = house.status()
        done.steps = int(status["counters"]["tiny"].get("steps", 0))
        done.attempts = len(house.run_record()["attempts"])
    finally:
        house.close()
    return done


def _watch(house: House, minutes: float, done: Hour) -> None:
    assert house.process is not None
    daemon = psutil.Process(house.process.pid)
    begun = CLOCK.monotonic()
    pause_at, kill_at = begun + _PAUSE_EVERY_SECONDS, begun + _KILL_EVERY_SECONDS
    paused = False
    while (now := CLOCK.monotonic()) < begun + minutes * 60.0:
        _ask(house)
        done.scrapes += 1
        if paused:
            house.post("/api/v1/resume")
            paused = False
        elif now >= pause_at:
            house.post("/api/v1/pause", {"detail": "soak"})
            pause_at, paused = now + _PAUSE_EVERY_SECONDS, True
            done.pauses += 1
        elif now >= kill_at:
            kill_at = now + _KILL_EVERY_SECONDS
            pid = trainer_pid(house.status())
            if pid is not None:
                with contextlib.suppress(psutil.Error):
                    psutil.Process(pid).kill()
        done.looks.append(Look((now - begun) / 3600.0, _values(house, daemon)))
        CLOCK.sleep(_EVERY_SECONDS)


def _ask(house: House) -> None:
    """What Prometheus, a page and a stream ask; the stream leaves without a word."""
    url = house.address()["url"]
    for path in ("/metrics", "/", "/api/v1/status", "/api/v1/runs/tiny/samples?limit=500"):
        with urllib.request.urlopen(f"{url}{path}", timeout=30) as answer:
            answer.read()
    with urllib.request.urlopen(f"{url}/api/v1/stream", timeout=30) as answer:
        answer.readline()


def _values(house: House, daemon: psutil.Process) -> dict[str, float]:
    below = daemon.children(recursive=True)
    return {
        "daemon memory": float(daemon.memory_info().rss),
        "all processes": float(sum(_memory(process) for process in [daemon, *below])),
        "daemon handles": float(daemon.num_fds()),
        "daemon threads": float(daemon.num_threads()),
        "processes": float(1 + len(below)),
        "database": _size(house.state, "homerun.sqlite*"),
        "daemon log": _size(house.state, "*.log*"),
        "trainer log": _size(house.run_dir(), "trainer.log*"),
        "checkpoints": _size_below(house.run_dir() / "checkpoints"),
    }


def _memory(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.Error:
        return 0


def _size(folder: Path, pattern: str) -> float:
    return float(sum(_bytes(path) for path in folder.glob(pattern)))


def _size_below(folder: Path) -> float:
    """As ``os.walk`` sees it, which does not mind folders that go away meanwhile."""
    found = (Path(place) / name for place, _, names in os.walk(folder) for name in names)
    return float(sum(_bytes(path) for path in found))


def _bytes(path: Path) -> int:
    with contextlib.suppress(OSError):
        return path.stat().st_size
    return 0


# --- the report -------------------------------------------------------------------------------


def report(root: Path, minutes: float, engine: str) -> Iterator[str]:
    """The lines of the report; ends with the verdict."""
    words = f"python -m tests.bench.soak --minutes {minutes:g} --engine {engine}"
    yield from ("# Soak", "", "```", *header(words).splitlines(), "```")
    (root / "month").mkdir()
    diary, looks, seconds = month(root / "month")
    rows = _rows(looks, ("memory",), ("handles", "threads"), ("database",))
    yield from ("", f"## A simulated month in {seconds:.0f} s", "")
    yield (
        f"{looks[-1].at:.0f} days on the real store on disk: {diary.work_done_hours:.0f} h of "
        f"work, {diary.outages} outages, {diary.starts} starts of the trainer, "
        f"{diary.plans} plans."
    )
    yield from ("", *table(rows, "a day"))
    done = hour(root / "hour", minutes, engine)
    found = _rows(done.looks, _MEMORY, _COUNTS, _SIZES)
    yield from ("", f"## {minutes:g} minutes of a real daemon, engine {engine}", "")
    yield (
        f"{done.steps:,} steps, {done.attempts} attempts (the trainer is killed every "
        f"{_KILL_EVERY_SECONDS:.0f} s), {done.pauses} pauses, {done.scrapes} rounds of questions "
        f"({len(done.looks)} samples)."
    )
    yield from ("", *table(found, "an hour"), "", *_rates(done, found))
    yield ""
    yield f"Verdict: {verdict([*rows, *found])}"
    if minutes < 30:
        yield "Less than half an hour says little about memory."


def _rows(
    looks: list[Look], memory: tuple[str, ...], counts: tuple[str, ...], sizes: tuple[str, ...]
) -> list[Row]:
    kinds = ((memory, "memory"), (counts, "count"), (sizes, "size"))
    return [row(name, looks, kind) for names, kind in kinds for name in names]


def _rates(done: Hour, rows: list[Row]) -> Iterator[str]:
    database = next(item for item in rows if item.name == "database")
    written = (database.last - database.first) * MIB
    each = written / max(1, done.steps)
    yield (
        f"The database grows by {each:.0f} bytes a step here, pauses and restarts included; for "
        f"the {_MONTH_STEPS:,} steps of a month that makes {each * _MONTH_STEPS / MIB:.0f} MiB. "
        "Both logs are cut at a fixed size, and retention bounds the checkpoints once an hour."
    )


def main() -> int:
    """Print the report and write it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--engine", choices=("local", "ray"), default="ray")
    parser.add_argument("--out", type=Path, default=Path("deploy/bench/soak.md"))
    given = parser.parse_args()
    os.nice(5)
    lines: list[str] = []
    # not in /tmp, which may be memory: the store's own disk is part of the question
    with tempfile.TemporaryDirectory(prefix=".soak-", dir=Path.cwd()) as folder:
        for line in report(Path(folder), given.minutes, given.engine):
            print(line, flush=True)
            lines.append(line)
    given.out.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return int(any("GROWS" in line for line in lines))


if __name__ == "__main__":
    sys.exit(main())
