"""The campaign's table, for people and for deploy/bench/campaign.md."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tests.campaign.row import Row

_HEAD = ("fault", "injected", "lost, worst", "lost, median", "recovered", "wrong")


def table(rows: Sequence[Row]) -> str:
    """As Markdown, with the sums below."""
    lines = [_cells(row) for row in rows]
    lines.append(
        (
            "**all**",
            f"{sum(row.injected for row in rows):,}",
            f"{max((row.lost_worst_seconds for row in rows), default=0.0):.2f} s",
            "",
            f"{sum(row.recovered for row in rows):,}",
            str(sum(row.wrong for row in rows)),
        )
    )
    return "\n".join(_markdown([_HEAD, ("---", *["---:"] * 5), *lines]))


def sigkills(rows: Iterable[Row]) -> int:
    """How many processes were killed."""
    return sum(row.injected for row in rows if row.fault.startswith("SIGKILL"))


def crash_states(rows: Iterable[Row]) -> int:
    """How many disks that a power cut may leave were recovered from."""
    return sum(row.injected for row in rows if row.fault.startswith("power cut"))


def failures(rows: Iterable[Row]) -> list[str]:
    """What must not be, in words; none of it: the campaign is passed."""
    found = []
    for row in rows:
        if row.wrong:
            found.append(f"{row.fault}: {row.wrong} wrong")
        if row.recovered < row.injected:
            found.append(f"{row.fault}: {row.injected - row.recovered} not recovered")
        if not row.injected:
            found.append(f"{row.fault}: never injected")
    return found


def _cells(row: Row) -> tuple[str, ...]:
    return (
        row.fault,
        f"{row.injected:,}",
        f"{row.lost_worst_seconds:.2f} s",
        f"{row.lost_median_seconds:.2f} s",
        f"{row.recovered:,}",
        str(row.wrong),
    )


def _markdown(lines: Iterable[tuple[str, ...]]) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in lines]
