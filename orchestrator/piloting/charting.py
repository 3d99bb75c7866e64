"""From the configuration to a navigator: what the plan of this home is made of."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from orchestrator.holds.quiet_hours import quiet_of
from orchestrator.home.clock import Clock
from orchestrator.home.gpu import Gpu
from orchestrator.ledger.keeper import used_kwh
from orchestrator.piloting.bills import Bills
from orchestrator.piloting.helm import Helm
from orchestrator.piloting.navigator import Navigator
from orchestrator.piloting.steering import outage_hours
from orchestrator.planning.problem import Level
from orchestrator.power.gear import gear_of
from orchestrator.settings.config import Config
from orchestrator.store import Store
from orchestrator.tariff.components import Tiered
from orchestrator.tariff.keeper import PriceKeeper


@dataclass(frozen=True)
class Chart:
    """The parts that plan and count money."""

    navigator: Navigator
    bills: Bills


def chart_of(
    config: Config, store: Store, prices: PriceKeeper, gpu: Gpu | None, clock: Clock
) -> Chart:
    """All of them, wired."""
    gear = gear_of(gpu, config.power)
    bills = Bills(store, prices.zone, prices.slots_between)
    use = TierUse(store, prices, gear.levels)
    helm = Helm(
        gear,
        config.plan,
        prices,
        quiet_of(config.quiet_hours, config.tariff),
        use.until,
        bills.spent,
        lambda run: outage_hours(store, run),
    )
    return Chart(Navigator(store, helm, clock), bills)


class TierUse:
    """What homerun will have used by the end of the billing period: where the margin lies."""

    def __init__(self, store: Store, prices: PriceKeeper, levels: tuple[Level, ...]) -> None:
        self._store, self._prices = store, prices
        #: a guess that is on the safe side: full power until then
        self._watts = max(level.wall_watts for level in levels)

    def until(self, now: datetime, end: datetime) -> Decimal:
        """Used so far and, at full power, until the period or the plan ends; 0 without tiers."""
        tariff = self._prices.tariff(now)
        if tariff is None or not any(isinstance(part, Tiered) for part in tariff.components):
            return Decimal(0)
        with self._store.transaction() as tx:
            so_far = used_kwh(tx, tariff, now)
        _, over = tariff.billing_period(now)
        hours = max(0.0, (min(over, end) - now) / timedelta(hours=1))
        return so_far + Decimal(str(round(self._watts / 1000.0 * hours, 3)))
