"""What the GPU check found, as JSON and as a table for people. Needs no GPU."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

GIB = 1 << 30
#: how far the memory model may be off
TOLERANCE = 0.05


@dataclass(frozen=True)
class MemoryCheck:
    """One recipe's training step against the model of ``trainer.sizing``. Bytes."""

    recipe: str
    depth: int
    micro_batch: int
    expected: int
    #: torch.cuda.max_memory_allocated over two micro-batches and a step; None: it did not run
    allocated: int | None = None
    reserved: int | None = None
    #: of the device, outside torch's allocator
    context: int | None = None
    host: int | None = None
    error: str = ""

    @property
    def off(self) -> float | None:
        """Measured over expected, less one."""
        return None if self.allocated is None else self.allocated / self.expected - 1

    @property
    def good(self) -> bool:
        """Whether the model is right within TOLERANCE."""
        return self.off is not None and abs(self.off) <= TOLERANCE


@dataclass(frozen=True)
class SpeedCheck:
    """Tokens a second of one recipe."""

    recipe: str
    depth: int
    micro_batch: int
    compiled: bool
    tokens_per_second: float | None = None
    #: of nanochat's count
    flops_per_second: float | None = None
    step_seconds: float | None = None
    #: by ``trainer.sizing.speed``; None for a card that is not in the table
    assumed: float | None = None
    error: str = ""


@dataclass(frozen=True)
class ExactnessCheck:
    """Whether an interrupted run ends with the bytes of an undisturbed one."""

    recipe: str
    #: None: it did not run
    resumed_equal: bool | None = None
    #: the same run twice; False where the device's kernels sum up in any order
    repeated_equal: bool | None = None
    error: str = ""

    @property
    def good(self) -> bool:
        """A resume cannot be more exact than two runs are to each other."""
        return self.resumed_equal is True or self.repeated_equal is False


@dataclass(frozen=True)
class Report:
    """All of one ``make gpu-check``."""

    device: str
    driver: str
    torch: str
    command: str
    limit_bytes: int
    memory: Sequence[MemoryCheck] = field(default_factory=tuple)
    speed: Sequence[SpeedCheck] = field(default_factory=tuple)
    exactness: Sequence[ExactnessCheck] = field(default_factory=tuple)

    @property
    def good(self) -> bool:
        """Whether everything that ran is as promised, and everything ran."""
        checks = [check.good for check in (*self.memory, *self.exactness)]
        return all(checks) and all(not check.error for check in self.speed)


def write(report: Report, folder: Path) -> list[Path]:
    """Write gpu.md and gpu.json into ``folder``; returns the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    table, data = folder / "gpu.md", folder / "gpu.json"
    table.write_text(markdown(report), encoding="utf-8")
    data.write_text(json.dumps(to_json(report), indent=2) + "\n", encoding="utf-8")
    return [table, data]


def to_json(report: Report) -> dict[str, Any]:
    """Plain JSON types, with a schema."""
    return {"schema": 1, "gpu_check": dataclasses.asdict(report) | {"good": report.good}}


def markdown(report: Report) -> str:
    """The report as Markdown."""
    lines = [
        "# GPU check",
        "",
        f"{report.device}, driver {report.driver}, torch {report.torch}, limited to "
        f"{report.limit_bytes / GIB:.1f} GiB. Made by `{report.command}`.",
        "",
        "## Memory: two micro-batches and an optimizer step against the model",
        "",
        *_grid(
            ("recipe", "model", "B", "expected GiB", "allocated GiB", "off", "reserved GiB",
             "CUDA context GiB", "host GiB", ""),
            [_memory(check) for check in report.memory],
        ),
        "",
        "## Speed",
        "",
        *_grid(
            ("recipe", "model", "B", "compiled", "tokens/s", "TFLOPS", "step s", "assumed", ""),
            [_speed(check) for check in report.speed],
        ),
        *_ratios(report.speed),
        "",
        "## Exactness: resumed after two of four steps",
        "",
        *_grid(
            ("recipe", "resumed = undisturbed", "twice the same", ""),
            [
                (check.recipe, _word(check.resumed_equal), _word(check.repeated_equal), check.error)
                for check in report.exactness
            ],
        ),
        "",
        "Everything is as promised." if report.good else "**Not everything is as promised.**",
        "",
    ]  # fmt: skip
    return "\n".join(lines)


def _memory(check: MemoryCheck) -> tuple[str, ...]:
    off = check.off
    return (
        check.recipe,
        f"d{check.depth}",
        str(check.micro_batch),
        _gib(check.expected),
        _gib(check.allocated),
        "" if off is None else f"{off:+.1%}",
        _gib(check.reserved),
        _gib(check.context),
        _gib(check.host),
        check.error or ("ok" if check.good else "off by more than 5 %"),
    )


def _speed(check: SpeedCheck) -> tuple[str, ...]:
    flops = check.flops_per_second
    return (
        check.recipe,
        f"d{check.depth}",
        str(check.micro_batch),
        "yes" if check.compiled else "no",
        _number(check.tokens_per_second),
        "" if flops is None else f"{flops / 1e12:.1f}",
        "" if check.step_seconds is None else f"{check.step_seconds:.1f}",
        _number(check.assumed),
        check.error,
    )


def _ratios(checks: Sequence[SpeedCheck]) -> list[str]:
    """int8 over bf16-8bit, where both ran alike."""
    speeds = {
        (check.depth, check.compiled, check.recipe): check.tokens_per_second for check in checks
    }
    lines = []
    for (depth, compiled, recipe), fast in speeds.items():
        slow = speeds.get((depth, compiled, "bf16-8bit"))
        if recipe == "int8" and fast and slow:
            how = "compiled" if compiled else "not compiled"
            lines.append(f"- d{depth}, {how}: int8 is {fast / slow:.2f} times as fast as bf16.")
    return ["", *lines] if lines else []


def _grid(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    if not rows:
        return ["Not measured."]
    lines = [titles, ["---"] * len(titles), *rows]
    return ["| " + " | ".join(cell.replace("|", "/") for cell in line) + " |" for line in lines]


def _gib(size: int | None) -> str:
    return "" if size is None else f"{size / GIB:.2f}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}"


def _word(value: bool | None) -> str:
    return "" if value is None else "yes" if value else "no"
