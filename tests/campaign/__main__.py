"""``make campaign``: inject every fault, many times, and print what each one cost.

``python -m tests.campaign [--short] [--only NAME ...] [--seed N] [--out DIR]``
Exit code 1 when anything was wrong or not recovered.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.bench.machine import header
from tests.campaign.row import Row
from tests.campaign.sections import SECTIONS, Section
from tests.campaign.table import crash_states, failures, sigkills, table
from tests.story.house import CLOCK

#: sections at a time, in the short form and in the long one, where most wait more than they compute
_SIDE_BY_SIDE = {True: 2, False: 3}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the sections, each in a process of its own, a few at a time."""
    options = _parser().parse_args(arguments)
    if options.inside:
        return _inside(options)
    began = CLOCK.monotonic()
    chosen = [one for one in SECTIONS if _count(one, options.short)]
    if options.only:
        chosen = [one for one in chosen if one.name in options.only]
    with ThreadPoolExecutor(_SIDE_BY_SIDE[options.short]) as pool:
        results = list(pool.map(lambda one: _section(one, options), chosen))
    rows = [row for result in results for row in result]
    seconds = CLOCK.monotonic() - began
    print(table(rows))
    print(f"\n{_sums(rows)}; {seconds:.0f} s, seed {options.seed}")
    wrong = failures(rows)
    print("\n".join(wrong) if wrong else "nothing lost beyond its bound, nothing wrong")
    if options.out:
        _write(options.out, rows, seconds, options)
    return 1 if wrong else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="tests.campaign", description=__doc__)
    parser.add_argument("--short", action="store_true", help="the form of make test")
    parser.add_argument("--only", action="append", metavar="NAME", help="this section")
    parser.add_argument("--seed", type=int, default=20261201)
    parser.add_argument("--out", type=Path, help="write campaign.md there")
    parser.add_argument("--inside", help=argparse.SUPPRESS)
    return parser


def _count(section: Section, short: bool) -> int:
    return section.short if short else section.long


def _section(section: Section, options: argparse.Namespace) -> list[Row]:
    """In a process of its own; a section that breaks is a row that is wrong."""
    began = CLOCK.monotonic()
    line = [sys.executable, "-m", "tests.campaign", "--inside", section.name]
    line += ["--seed", str(options.seed), *(["--short"] if options.short else [])]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(line, capture_output=True, text=True, env=env, check=False)
    seconds = CLOCK.monotonic() - began
    if done.returncode != 0:
        print(f"{section.name}: broke off\n{done.stderr[-4000:]}", file=sys.stderr, flush=True)
        return [Row(f"{section.name} broke off", 1, 0.0, 0.0, 0, 1)]
    answer = json.loads(done.stdout.splitlines()[-1])
    cpu = f"{answer['cpu_seconds']:.0f} s of a core"
    print(f"{section.name}: {seconds:.0f} s, {cpu}", file=sys.stderr, flush=True)
    rows = [Row(**plain) for plain in answer["rows"]]
    if rows or not done.stderr:
        return rows
    missing = f"{section.name}, left out: {done.stderr.strip()}"
    print(missing, file=sys.stderr, flush=True)
    # whoever runs it in CI wants all of it: a row that was never injected fails the campaign
    return [Row(missing, 0, 0.0, 0.0, 0, 0)] if os.environ.get("CI") else []


def _inside(options: argparse.Namespace) -> int:
    section = next(one for one in SECTIONS if one.name == options.inside)
    with tempfile.TemporaryDirectory(prefix="homerun-campaign-") as root:
        rows = section.run(options.seed, _count(section, options.short), Path(root))
    used = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = sum(one.ru_utime + one.ru_stime for one in used)
    print(json.dumps({"cpu_seconds": cpu, "rows": [dataclasses.asdict(row) for row in rows]}))
    return 0


def _sums(rows: Sequence[Row]) -> str:
    return f"{sigkills(rows):,} SIGKILLs, {crash_states(rows):,} crash states"


def _write(folder: Path, rows: Sequence[Row], seconds: float, options: argparse.Namespace) -> None:
    words = ["--short"] * options.short + [f"--only {name}" for name in options.only or ()]
    command = f"make campaign ARGS='{' '.join(words)}'" if words else "make campaign"
    text = f"""# The fault campaign

```
{header(command)}
```

{_sums(rows)}; {seconds:,.0f} s, seed {options.seed}.

Lost is the computing that had to be done again; for a hang it is the time until training went
on, of which the limit of a trainer (`daemon.stall_after`) is 4 s here, that of the engine process
and parts of Ray (`engine.hung_after`) 6 s, and 20 s while they start. A hang counts once the
journal names what hung. A result is wrong when the final weights or optimizer differ by a byte from
those of a run that nobody disturbed, when anything that had been acknowledged was gone, or when the
journal tells a jump of the clock, a reboot or an outage for something else than it was. Lost over a
reboot is what the daemon last knew to be unsaved. The model is tiny and saves many times a second,
so that a kill meets every state; what a real run loses at most is `checkpoint.most_lost_seconds`.

{table(rows)}
"""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "campaign.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
