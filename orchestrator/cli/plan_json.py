"""The plan for programs: units in the names, bytes, joules, seconds and FLOP/s unrounded."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from orchestrator.cli import plan_room
from orchestrator.cli.plan_room import Room
from orchestrator.planning import estimate_statement as statement
from orchestrator.planning.estimate import DAY_SECONDS, Estimate, Row
from orchestrator.planning.estimate_instead import Instead

_JOULES_PER_KWH = 3.6e6


def to_json(
    answer: Estimate,
    options: Sequence[Instead],
    deadline_seconds: float,
    remarks: list[str],
    room: Room,
) -> dict[str, Any]:
    """Plain JSON types. None means unknown; money is a decimal as text."""
    wish = answer.wish
    return {
        **_run(answer),
        "batch_tokens": wish.batch_tokens,
        "card": None if wish.card is None else dataclasses.asdict(wish.card),
        "desktop": wish.desktop,
        "usable_bytes": wish.usable_bytes,
        "deadline_seconds": deadline_seconds,
        "currency": wish.tariff.currency if wish.tariff else None,
        "price_per_kwh": str(wish.tariff.price_per_kwh) if wish.tariff else None,
        "price_source": wish.tariff.source if wish.tariff else None,
        "at_bf16_peak": _at_peak(answer),
        "needed_flops_per_second": statement.needed_flops_per_second(
            answer.flops, deadline_seconds
        ),
        "recipes": [_row(row, room) for row in answer.rows],
        "instead": [_option(option, room) for option in options],
        "warnings": statement.warnings(answer),
        "remarks": remarks,
        "assumptions": statement.assumptions(answer),
    }


def _run(answer: Estimate) -> dict[str, Any]:
    wish, data = answer.wish, answer.data
    return {
        "model": f"d{wish.model.depth}",
        "depth": wish.model.depth,
        "parameters": answer.parameters,
        "tokens": wish.tokens,
        "flops": answer.flops,
        "epochs": data.epochs,
        "shards": data.shards,
        "shards_needed": data.shards_needed,
        "shards_missing": data.shards_missing,
        "download_bytes": data.download_bytes,
    }


def _at_peak(answer: Estimate) -> list[dict[str, float]]:
    card = answer.wish.card
    lines = statement.at_peak(answer.flops, card) if card else ()
    return [
        {
            "part_of_peak": line.part,
            "flops_per_second": line.flops_per_second,
            "days": line.seconds / DAY_SECONDS,
        }
        for line in lines
    ]


def _row(row: Row, room: Room) -> dict[str, Any]:
    memory, way = row.memory, plan_room.way(row, room)
    return {
        "recipe": row.storage.name,
        "precision": row.storage.precision,
        "experimental": row.storage.experimental,
        "micro_batch": memory.micro_batch,
        "gradients_on_host": row.storage.host_gradients,
        "optimizer_state_on_host": row.storage.on_host,
        "activation_checkpointing": row.storage.recompute,
        "weights_bytes": memory.weights,
        "gradients_bytes": memory.gradients,
        "state_bytes": memory.state,
        "activations_bytes": memory.activations,
        "logits_bytes": memory.logits,
        "optimizer_step_bytes": memory.step,
        "context_bytes": memory.context,
        "fragmentation_bytes": memory.fragmentation,
        "peak_bytes": memory.peak,
        "peak_phase": memory.peak_phase,
        "host_bytes": memory.host,
        "memory_slots_bytes_at_most": 2 * row.checkpoint_bytes,
        "memory_slots_here": way.slots,
        "memory_ring_bytes_here": way.ring_bytes,
        "fits": row.fits,
        "misses_bytes": row.misses_bytes,
        "tokens_per_second": row.tokens_per_second,
        "flops_per_second": row.flops_per_second,
        "speed_source": row.speed_source,
        "days": None if row.seconds is None else row.seconds / DAY_SECONDS,
        "days_with_pauses": None if row.wall_seconds is None else row.wall_seconds / DAY_SECONDS,
        "card_kwh": None if row.card_joules is None else row.card_joules / _JOULES_PER_KWH,
        "wall_kwh": None if row.wall_joules is None else row.wall_joules / _JOULES_PER_KWH,
        "money": None if row.money is None else str(round(row.money, 2)),
        "checkpoint_bytes": row.checkpoint_bytes,
        "ssd_bytes_in_30_days": row.ssd_bytes_a_month,
    }


def _option(option: Instead, room: Room) -> dict[str, Any]:
    return {
        **_run(option.estimate),
        **_row(option.row, room),
        "tokens_per_parameter": option.tokens_per_parameter,
        "expected_loss_nats": option.expected_loss,
    }
