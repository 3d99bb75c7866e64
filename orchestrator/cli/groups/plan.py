"""plan: what a run takes, before anybody spends a month on it. No daemon needed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from orchestrator.cli import plan_json, plan_measured, plan_room, plan_tariff, plan_text, sizes
from orchestrator.cli.plan_curve import curve_of
from orchestrator.cli.session import Session, config_option, emit, json_option
from orchestrator.errors import Invalid
from orchestrator.planning.estimate import DAY_SECONDS, Tariff, Wish, estimate
from orchestrator.planning.estimate_data import CORPUS_SHARDS
from orchestrator.planning.estimate_instead import instead
from trainer.contract import toml
from trainer.sizing import (
    CARDS,
    TOKENS_PER_PARAMETER,
    Card,
    card_named,
    card_wanted,
    horizon_steps,
    parameters,
)
from trainer.sizing.storage import STORAGES, Storage

_DEFAULT_CARD = "RTX 4070"
_DEFAULT_DEADLINE_SECONDS = 30 * DAY_SECONDS


@click.command()
@click.option("--model", metavar="MODEL", help="A depth, as d32, or a size, as 1.3B. [d32]")
@click.option("--tokens", metavar="N", help="As 38B or 38e9. [20 for each parameter]")
@click.option("--card", metavar="CARD", help="As rtx4070 or rtx4070laptop. [the one in here]")
@click.option("--recipe", metavar="R", help="One, or all. [all]")
@click.option("--deadline", metavar="D", help="A span, as 30d, or a day, as 2027-01-31. [30d]")
@click.option("--headless", is_flag=True, help="No desktop shares the card.")
@click.option(
    "--shards",
    type=click.IntRange(min=1),
    default=CORPUS_SHARDS,
    show_default=True,
    help="Shards of FineWeb-Edu at hand.",
)
@click.option("--price-per-kwh", metavar="PRICE", help="Instead of the configured tariff.")
@click.option("--run", "run_name", metavar="RUN", help="Plan this run, with what it measured.")
@config_option
@json_option
@click.pass_obj
def plan(session: Session, /, config: Path | None, as_json: bool, **given: Any) -> None:
    """Say what a run takes: memory, days, kWh, money, disk, data; and what would fit instead.

    Where a tariff is known it draws what each finish up to the deadline would cost, and tells
    what waiting saves.

    Works without a daemon. Where one runs the same model on the same card, its measured speed
    replaces the assumed one.
    """
    session = session.with_config(config)
    asked = Asked(**given)
    deadline = _DEFAULT_DEADLINE_SECONDS
    if asked.deadline:
        deadline = sizes.parse_deadline(asked.deadline, session.now())
    wish, remarks = _wish(session, asked, deadline)
    answer, options = estimate(wish), instead(wish, deadline)
    curve, room = curve_of(session, answer, deadline), plan_room.of_this_machine()
    if as_json:
        plain = plan_json.to_json(answer, options, deadline, remarks, room)
        emit("plan", {**plain, "curve": curve.to_json()})
        return
    for remark in remarks:
        click.echo(remark, err=True)
    click.echo(plan_text.text(answer, options, deadline, room, session.width, session.glyphs))
    if drawn := curve.lines(session.glyphs.full):
        click.echo("\n" + "\n".join(drawn))


@dataclass(frozen=True)
class Asked:
    """The options as they were typed."""

    model: str | None
    tokens: str | None
    card: str | None
    recipe: str | None
    deadline: str | None
    headless: bool
    shards: int
    price_per_kwh: str | None
    run_name: str | None


def _wish(session: Session, asked: Asked, deadline: float) -> tuple[Wish, list[str]]:
    """What was asked, with everything filled in that was not; and remarks about that."""
    ran = plan_measured.of_run(session, asked.run_name) if asked.run_name else None
    remarks: list[str] = []
    if asked.model or ran is None:
        model, remark = sizes.parse_model(asked.model or "d32")
        remarks += [remark] if remark else []
    else:
        model = ran.spec.model
    card = _card(asked.card, ran, remarks)
    tokens = sizes.parse_count(asked.tokens, "token count") if asked.tokens else 0
    if not tokens and ran is not None and model == ran.spec.model:
        tokens = horizon_steps(ran.spec) * ran.spec.train.batch_tokens
    measured = ran.measured if ran else plan_measured.of_daemon(session, model, card)
    wish = Wish(
        model=model,
        tokens=tokens or TOKENS_PER_PARAMETER * parameters(model),
        card=card,
        recipes=_recipes(asked.recipe or (ran.spec.train.precision if ran else "all")),
        desktop=not asked.headless,
        deadline_seconds=deadline,
        tariff=_tariff(session, asked.price_per_kwh, remarks),
        shards=asked.shards,
        measured=measured,
    )
    return (wish if ran is None else plan_measured.as_run(wish, ran.spec)), remarks


def _card(text: str | None, ran: plan_measured.Ran | None, remarks: list[str]) -> Card | None:
    """The card that was named, else the run's, else the one in this machine, else a guess."""
    if text:
        return sizes.parse_card(text)
    if ran is not None:
        return ran.card
    name = plan_measured.local_card_name()
    card = card_named(name) or card_wanted(name)
    if card is None:
        remarks.append(f"planned for an {_DEFAULT_CARD}; name another with --card")
    return card or CARDS[_DEFAULT_CARD]


def _recipes(name: str) -> tuple[Storage, ...]:
    if name == "all":
        return STORAGES
    found = tuple(each for each in STORAGES if name in (each.name, each.precision))
    if not found:
        known = [*dict.fromkeys(each.precision for each in STORAGES), "all"]
        hint = toml.nearest(name, known) or f"choose one of {', '.join(known)}"
        raise Invalid(f"no such recipe: {name!r}", hint)
    return found


def _tariff(session: Session, price: str | None, remarks: list[str]) -> Tariff | None:
    if price is not None:
        return plan_tariff.given(price)
    tariff, remark = plan_tariff.configured(session)
    remarks += [remark] if remark else []
    return tariff
