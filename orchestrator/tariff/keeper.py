"""The keeper of the published prices: asks when it is time, checks, stores, and tells.

The only part of the tariff with effects. A chore of the calendar calls ``refresh`` often; most
calls find nothing to do. Whatever fails, the run goes on: with the prices that are known, then
with a forecast.
"""

from __future__ import annotations

import hashlib
import logging
import threading
from dataclasses import replace
from datetime import datetime, timedelta, tzinfo
from decimal import Decimal

from orchestrator.errors import Misconfigured
from orchestrator.home.clock import Clock
from orchestrator.store import Store, StoreFailed
from orchestrator.store.prices import PriceSource, Revision
from orchestrator.tariff import fetching, sanity
from orchestrator.tariff.build import carries_vat, tariff_of
from orchestrator.tariff.fetching import Standing, Window
from orchestrator.tariff.http import Http
from orchestrator.tariff.markets import MARKETS
from orchestrator.tariff.report import PricesReport, PricesView, report, tariff_until, view_of
from orchestrator.tariff.services import service_of
from orchestrator.tariff.services.base import FetchFailed, Published, Trouble
from orchestrator.tariff.slots import PriceSeries, PriceSlot
from orchestrator.tariff.table import TariffConfig
from orchestrator.tariff.tariff import Tariff
from orchestrator.tariff.timezone import zone_of

log = logging.getLogger(__name__)

#: what is kept in memory: a little more than the forecast looks back, and all that is published
_BACK, _AHEAD = timedelta(days=35), timedelta(days=7)
#: a bill of a year ago can still be rated again
KEEP = timedelta(days=430)


class PriceKeeper:
    """Readers may call from any thread; ``refresh`` is called by one at a time."""

    def __init__(
        self, config: TariffConfig, store: Store, http: Http, clock: Clock, seed: str
    ) -> None:
        self._config = config
        self._store = store
        self._http = http
        self._clock = clock
        self._seed = seed
        self._lock = threading.Lock()
        self._known = PriceSeries(config.currency, ())
        self._standing: Standing | None = None

    # --- readers ----------------------------------------------------------------------------

    def view(self) -> PricesView:
        """How it stands with the source."""
        known, standing = self._both()
        return view_of(self._config, known, standing, self._clock.now())

    def tariff(self, until: datetime) -> Tariff | None:
        """The tariff, with a forecast up to ``until`` behind what is published.

        None when no tariff is configured: costs are unknown then, not zero.
        """
        known, _ = self._both()
        return tariff_until(self._config, known, self._clock.now(), until)

    def report(self, hours: int, used_kwh: Decimal = Decimal(0)) -> PricesReport:
        """The prices of the next hours."""
        known, standing = self._both()
        return report(self._config, known, standing, self._clock.now(), hours, used_kwh)

    @property
    def digest(self) -> str:
        """A name for the configured tariff that changes with it; empty where there is none."""
        if not self._config.configured:
            return ""
        return hashlib.sha256(self._config.model_dump_json().encode()).hexdigest()[:12]

    def tariff_between(self, start: datetime, end: datetime) -> Tariff | None:
        """The tariff with all that was published for [start, end), from the store; no forecast."""
        if not self._config.service:
            return tariff_of(self._config)
        with self._store.transaction() as tx:
            return tariff_of(self._config, tx.prices.of(self._source, start, end))

    def slots_between(self, start: datetime, end: datetime) -> tuple[PriceSlot, ...]:
        """The prices of ``tariff_between``; none without a tariff."""
        tariff = self.tariff_between(start, end)
        return tariff.slots(start, end) if tariff else ()

    @property
    def zone(self) -> tzinfo | None:
        """The household's own by the tariff; None: the machine's."""
        return zone_of(self._config.time_zone) if self._config.time_zone else None

    def revisions(self, after: datetime) -> list[Revision]:
        """The prices that changed after ``after`` although they had been published."""
        if not self._config.service:
            return []
        with self._store.transaction() as tx:
            return tx.prices.revised_since(self._source, after)

    # --- the chores -------------------------------------------------------------------------

    def open(self) -> None:
        """Take over what the store knows. Call it once, before ``refresh``."""
        if not self._config.service:
            return
        now = self._clock.now()
        with self._store.transaction() as tx:
            last_success = tx.prices.newest_fetch(self._source)
            known = tx.prices.of(self._source, now - _BACK, now + _AHEAD)
        first = fetching.first_try(now, self._seed)
        self._show(known, replace(first, last_success=last_success))

    def refresh(self) -> None:
        """Ask the service if it is time. Never raises for what the service did."""
        known, standing = self._both()
        if standing is None:
            return
        now = self._clock.now()
        if not fetching.due(standing, now):
            return
        market = MARKETS[self._config.service]
        window = fetching.window(market, now, known, standing)
        if window is None:
            self._show(known, fetching.idle(market, standing, known, now, self._seed))
            return
        try:
            published = self._fetch(window, known)
            known = self._keep(published, now)
        except FetchFailed as error:
            after = fetching.after_failure(standing, window, error, now, self._seed)
        else:
            after = fetching.after_success(
                market, standing, window, known, now, self._seed, final=published.final
            )
        self._tell(known, standing, after)

    def forget_old(self) -> None:
        """Delete prices that no bill needs any more."""
        with self._store.transaction() as tx:
            tx.prices.forget(self._clock.now() - KEEP)

    # --- the parts --------------------------------------------------------------------------

    @property
    def _source(self) -> PriceSource:
        config = self._config
        # an address may hold a key, so only its digest is kept
        url = hashlib.sha256(config.url.encode()).hexdigest()[:12] if config.url else ""
        net = "" if carries_vat(config) else "net"
        parts = (config.product, config.area, config.entity, config.file, url, net)
        return PriceSource(config.service, " ".join(filter(None, parts)), config.currency)

    def _both(self) -> tuple[PriceSeries, Standing | None]:
        with self._lock:
            return self._known, self._standing

    def _show(self, known: PriceSeries, standing: Standing) -> None:
        with self._lock:
            self._known, self._standing = known, standing

    def _fetch(self, window: Window, known: PriceSeries) -> Published:
        try:
            service = service_of(self._config)
            assert service is not None, "there is a standing only for a service"
            published = service.fetch(self._http, window.start, window.end)
            if service.market.history_days:
                sanity.check(published.series, window.start, window.end, known)
            else:
                # it was not asked for certain days
                spans = published.series.slots
                sanity.check(published.series, spans[0].start, spans[-1].end, known)
        except Misconfigured as error:
            raise FetchFailed(Trouble.DENIED, error.message) from None
        except FetchFailed:
            raise
        except Exception as error:
            # an answer that we did not foresee must not end the chore
            log.exception("the prices of %s cannot be read", self._config.service)
            raise FetchFailed(Trouble.RUBBISH, f"unforeseen: {type(error).__name__}") from None
        return published

    def _keep(self, published: Published, now: datetime) -> PriceSeries:
        try:
            with self._store.transaction() as tx:
                written = tx.prices.put(self._source, published.series, now)
                if written.revised:
                    tx.journal.write(
                        "prices_revised",
                        f"{self._title} revised {_count(written.revised, 'price')}.",
                        now,
                        data={"service": self._config.service, "revised": written.revised},
                    )
                return tx.prices.of(self._source, now - _BACK, now + _AHEAD)
        except StoreFailed as error:
            raise FetchFailed(Trouble.BROKEN, f"they came, but {error.message}") from None

    def _tell(self, known: PriceSeries, before: Standing, after: Standing) -> None:
        """One line in the journal when it begins to fail, and one when it is over."""
        if after.worth_telling and not after.told:
            text = f"No new prices from {self._title}: {after.reason}. {self._consequence(known)}"
            told = self._journal("prices_failing", text, "warning", after)
            after = replace(after, told=told)
        elif before.told and not after.told:
            self._journal("prices_back", f"Prices from {self._title} come again.", "info", after)
        self._show(known, after)

    def _consequence(self, known: PriceSeries) -> str:
        until = view_of(self._config, known, None, self._clock.now()).known_until
        if until is not None:
            return f"They are known until {until:%F %H:%M} UTC; then a forecast takes over."
        return "A forecast takes over." if known.slots else "There is none to forecast from either."

    def _journal(self, kind: str, text: str, severity: str, standing: Standing) -> bool:
        trouble = standing.trouble.value if standing.trouble else None
        data = {
            "service": self._config.service,
            "trouble": trouble,
            "next_try": standing.next_try,
        }
        log.log(logging.WARNING if severity == "warning" else logging.INFO, "%s", text)
        try:
            with self._store.transaction() as tx:
                tx.journal.write(kind, text, self._clock.now(), severity=severity, data=data)
        except StoreFailed:
            log.exception("the journal cannot be written")
            return False
        return True

    @property
    def _title(self) -> str:
        return MARKETS[self._config.service].title


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
