"""The daemon's chores: what the calendar calls, and when."""

from __future__ import annotations

import logging
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator import salvage
from orchestrator.courier import Courier
from orchestrator.home.messenger import AppriseMessenger
from orchestrator.keeper import tend_active
from orchestrator.notices import Budget
from orchestrator.store import StoreFailed
from orchestrator.supervisor import Wake

log = logging.getLogger(__name__)

#: a look takes microseconds where there is no reason to plan
_PLANNING = timedelta(seconds=2)
_BILLS = timedelta(minutes=5)

if TYPE_CHECKING:
    from orchestrator.assembly import Daemon


def fill(daemon: Daemon) -> None:
    """All that has its times."""
    if daemon.roster is not None:
        daemon.calendar.daily(4, 30, "store-backup", lambda: backup_store(daemon))
    daemon.calendar.every(
        timedelta(hours=1), "retention", lambda: tend_active(daemon.keeper, daemon.commands.runs())
    )
    daemon.calendar.daily(5, 30, "scrub", daemon.keeper.look_at_all)
    if daemon.web.tls is not None:
        daemon.calendar.every(timedelta(minutes=10), "certificate", lambda: renew(daemon))
    if daemon.config.tariff.configured:
        daemon.calendar.every(timedelta(minutes=30), "ledger-rating", lambda: rate_again(daemon))
    daemon.calendar.every(_PLANNING, "plan", lambda: consider_plan(daemon))
    daemon.calendar.every(
        _BILLS, "bills", lambda: daemon.chart.bills.refresh(daemon.supervisor.clock.now())
    )
    if daemon.config.tariff.service:
        daemon.calendar.every(timedelta(seconds=5), "prices", daemon.prices.refresh)
        daemon.calendar.daily(4, 50, "price-retention", daemon.prices.forget_old)


def fill_with_messages(daemon: Daemon) -> None:
    """Messages and the daily report, where somebody wants them."""
    notify = daemon.config.notify
    if not notify.urls_file:
        return
    courier = Courier(
        daemon.store,
        daemon.supervisor.clock,
        AppriseMessenger(Path(notify.urls_file)),
        Budget(notify.most_per_hour),
    )
    courier.begin()
    daemon.lookout.courier = courier
    daemon.calendar.every(timedelta(seconds=10), "messages", courier.deliver)
    plan_report(daemon, courier, notify.report_hour)


def plan_report(daemon: Daemon, courier: Courier, hour: int) -> None:
    """The daily report at another hour; -1 for never."""
    if hour < 0:
        daemon.calendar.drop("daily-report")
        return
    board = daemon.supervisor.board
    daemon.calendar.daily(hour, 0, "daily-report", lambda: courier.report(board.snapshot()))


def open_bridge(daemon: Daemon) -> None:
    """Home Assistant, where somebody wants it; returns at once, whoever answers."""
    if daemon.bridge is not None:
        daemon.bridge.start()


def renew(daemon: Daemon) -> None:
    """Take a certificate into use that was renewed since."""
    if daemon.web.tls is not None and daemon.web.tls.renew():
        daemon.supervisor.journal("certificate_renewed", "A new TLS certificate is in use.")


def consider_plan(daemon: Daemon) -> None:
    """Measure the run, and plan again where there is a reason to."""
    supervisor = daemon.supervisor
    try:
        if not daemon.chart.bills.ready:
            daemon.chart.bills.refresh(supervisor.clock.now())
    except StoreFailed as error:
        log.warning("the bills are not known yet: %s", error.message)
    snapshot = supervisor.board.snapshot()
    news = daemon.chart.navigator.consider(snapshot)
    if news and snapshot.run is not None:
        try:
            supervisor.journal("planned", news, run=snapshot.run.name)
        except StoreFailed as error:
            log.warning("%s (the journal cannot be written: %s)", news, error.message)
        supervisor.inbox.put(Wake())


def rate_again(daemon: Daemon) -> None:
    """Give the rows of the ledger the prices that were published or revised since."""
    supervisor = daemon.supervisor
    supervisor.ledger.rate_again(daemon.store, supervisor.clock.now())


def backup_store(daemon: Daemon) -> None:
    """Copy the embedded database; replaces yesterday's copy only when today's is whole."""
    if daemon.roster is not None:
        salvage.back_up(daemon.store, daemon.paths, daemon.roster)
