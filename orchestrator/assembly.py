"""The composition root: which parts there are, and what each is given."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from orchestrator import salvage
from orchestrator.bridge import About, Bridge
from orchestrator.calendar import Calendar
from orchestrator.commands import Commands
from orchestrator.decide import Policy
from orchestrator.domain import DaemonView
from orchestrator.engine.client import EngineClient
from orchestrator.engine.process import runtime_dir
from orchestrator.engine.pulse import Patience
from orchestrator.errors import Misconfigured
from orchestrator.holds.busy_sense import BusySense
from orchestrator.holds.disk_sense import DiskSense
from orchestrator.holds.outage_watch import OutagePolicy
from orchestrator.holds.quiet_hours import quiet_of
from orchestrator.holds.quiet_sense import QuietSense
from orchestrator.holds.senses import Sense
from orchestrator.holds.sleep_sense import SleepSense
from orchestrator.holds.thermal_sense import ThermalSense
from orchestrator.holds.ups_sense import UpsSense
from orchestrator.home.boot import boot_id
from orchestrator.home.broker import PahoBroker
from orchestrator.home.clock import Clock, SystemClock
from orchestrator.home.gpu import Gpu
from orchestrator.home.limiter import Limiter
from orchestrator.home.lineage import Lineage
from orchestrator.home.login1 import Login1
from orchestrator.home.nut import NutUps
from orchestrator.home.run_disk import MountedDisk
from orchestrator.home.systemd import Notifier
from orchestrator.home.volumes import MountedVolumes
from orchestrator.home_assistant import Topics
from orchestrator.keeper import Keeper
from orchestrator.ledger.keeper import LedgerKeeper
from orchestrator.orders import SaveOrder
from orchestrator.paths import Paths
from orchestrator.piloting.charting import Chart, chart_of
from orchestrator.power.card import card_of, limiter_of, meter_for, xids_of
from orchestrator.power.gpu_loss import GpuLoss
from orchestrator.power.profiler import Muted
from orchestrator.power.profiling import profiler_of
from orchestrator.power.throttle import DutyCycle
from orchestrator.power.xid_watch import XidWatch
from orchestrator.roster import RosterKeeper
from orchestrator.settings.config import Config
from orchestrator.settings.reload import Reloader
from orchestrator.store import Store
from orchestrator.supervisor import Count, Supervisor, Wake
from orchestrator.surroundings import Lookout
from orchestrator.tariff.http import RealHttp
from orchestrator.tariff.keeper import PriceKeeper
from orchestrator.version import VERSION
from orchestrator.view import Figures
from orchestrator.web.server import WebServer
from orchestrator.web.tls import tls_of

#: how often the room for the next checkpoint is looked at
_DISK_SECONDS = 5.0


@dataclass
class Daemon:
    """All the parts, built and not yet started."""

    config: Config
    paths: Paths
    store: Store
    supervisor: Supervisor
    commands: Commands
    prices: PriceKeeper
    web: WebServer
    calendar: Calendar
    keeper: Keeper
    lookout: Lookout
    notifier: Notifier
    bridge: Bridge | None
    limiter: Limiter
    #: beside the embedded store; None where the store is a server's or somewhere else
    roster: RosterKeeper | None
    chart: Chart
    gpu_loss: GpuLoss | None
    quiet: QuietSense
    reloader: Reloader | None = None


def assemble(config: Config, paths: Paths, stack: contextlib.ExitStack) -> Daemon:
    """Build everything; ``stack`` takes it down again. Raises HomerunError when it cannot be."""
    clock = SystemClock()
    store, roster = _open_store(config, paths, clock, stack)
    runtime = runtime_dir(paths.state)

    prices = PriceKeeper(config.tariff, store, RealHttp(clock), clock, seed=boot_id())
    prices.open()
    web = WebServer(host=config.web.host, port=config.web.port, tls=tls_of(config.web))
    stack.callback(web.stop)
    view = DaemonView(
        pid=os.getpid(),
        version=VERSION,
        started=clock.now(),
        state_dir=str(paths.state),
        address=web.url,
        engine=config.engine.kind,
        engine_state="off",
    )
    ups = _ups(config, clock, stack)
    gpu = card_of(config.power, clock, stack, lambda: supervisor.computing, paths.gpu_lost)
    lookout = Lookout(clock, _volumes(paths), ups, gpu)
    quiet = QuietSense(quiet_of(config.quiet_hours, config.tariff))
    senses = _senses(
        config, ups, gpu, quiet, save=lambda: supervisor.inbox.put(SaveOrder("thermal"))
    )
    supervisor = Supervisor(
        store=store,
        engine=lambda notify: EngineClient(
            config.engine.kind,
            state_dir=paths.state,
            runtime_dir=runtime,
            notify=notify,
            clock=clock,
            object_store_bytes=config.engine.object_store_bytes,
            patience=Patience(config.engine.hung_after, config.engine.start_timeout),
        ),
        clock=clock,
        meter=meter_for(gpu, config.power, config.ups, clock, stack),
        policy=policy_of(config),
        paths=paths,
        daemon=view,
        boot_id=boot_id(),
        senses=senses,
        ledger=LedgerKeeper(prices),
    )
    keeper = Keeper(
        store,
        paths,
        clock,
        config.checkpoint,
        wake=lambda: supervisor.inbox.put(Wake()),
        count=lambda run, total: supervisor.inbox.put(Count(run, total)),
    )
    supervisor.shelf = keeper
    if roster is not None:
        supervisor.keep_roster = lambda: roster.keep(clock.now())
    # Only now, for a simulated card is asked from here on and asks the supervisor.
    supervisor.xids = XidWatch(xids_of(gpu), clock, supervisor.inbox.put)
    lookout.xids = supervisor.xids.counts
    gpu_loss = _gpu_loss(gpu, supervisor.xids, paths, clock, stack)
    chart = chart_of(config, store, prices, gpu, clock)
    profiler = profiler_of(gpu, supervisor, chart.navigator) if gpu is not None else None
    senses += (
        [chart.navigator] if profiler is None else [profiler, Muted(chart.navigator, profiler)]
    )
    supervisor.figures = lambda: Figures(chart.navigator.view(), chart.bills.known)
    senses.append(_disk_sense(paths, keeper, stack))
    senses.append(_sleep_sense(supervisor, clock, stack))
    if gpu_loss is not None:
        senses.append(gpu_loss)
    commands = Commands(store, supervisor, config, prices, keeper, lookout, chart.navigator)
    if profiler is not None:
        commands.profiler = profiler
    notifier = Notifier(os.environ)
    bridge = _bridge(config, commands, clock, web.url, stack)
    parts = (store, supervisor, commands, prices, web, Calendar(), keeper, lookout, notifier)
    limiter = limiter_of(gpu, config.power, paths, stack)
    if gpu is not None:
        supervisor.throttle = DutyCycle(gpu, lambda: limiter.in_force)
    return Daemon(config, paths, *parts, bridge, limiter, roster, chart, gpu_loss, quiet)


def _bridge(
    config: Config, commands: Commands, clock: Clock, address: str, stack: contextlib.ExitStack
) -> Bridge | None:
    if not config.mqtt.host:
        return None
    topics = Topics(config.mqtt.prefix, config.mqtt.discovery_prefix)
    about = About(VERSION, address, config.tariff.currency)
    bridge = Bridge(PahoBroker(config.mqtt), commands, topics, about, clock)
    stack.callback(bridge.close)
    return bridge


def _ups(config: Config, clock: Clock, stack: contextlib.ExitStack) -> UpsSense | None:
    if not config.ups.name:
        return None
    nut = NutUps(config.ups.name, config.ups.host, config.ups.port)
    ups = UpsSense(nut, clock, outage_policy(config))
    ups.start(config.ups.poll)
    stack.callback(ups.close)
    return ups


def _senses(
    config: Config,
    ups: UpsSense | None,
    gpu: Gpu | None,
    quiet: QuietSense,
    *,
    save: Callable[[], None],
) -> list[Sense]:
    senses: list[Sense] = [quiet] if ups is None else [ups, quiet]
    if gpu is not None and config.thermal.watch:
        senses.append(ThermalSense(gpu, config.thermal.policy(), save))
    if gpu is not None and config.gpu_busy.watch:
        lineage = Lineage(config.daemon.state_path)
        senses.append(BusySense(gpu, lineage.is_ours, config.gpu_busy.policy()))
    return senses


def _gpu_loss(
    gpu: Gpu | None, xids: XidWatch, paths: Paths, clock: Clock, stack: contextlib.ExitStack
) -> GpuLoss | None:
    if gpu is None:
        return None
    loss = GpuLoss(gpu, paths.gpu_lost, clock, xids=xids)
    loss.start()
    stack.callback(loss.close)
    xids.start()
    stack.callback(xids.close)
    return loss


def _disk_sense(paths: Paths, keeper: Keeper, stack: contextlib.ExitStack) -> DiskSense:
    sense = DiskSense(paths, MountedDisk(), lambda: keeper)
    sense.start(_DISK_SECONDS)
    stack.callback(sense.close)
    return sense


def _sleep_sense(supervisor: Supervisor, clock: Clock, stack: contextlib.ExitStack) -> SleepSense:
    logind = Login1(clock)
    sense = SleepSense(
        logind,
        clock,
        trainer_lives=lambda: supervisor.life is not None,
        journal=supervisor.journal,
    )
    logind.open(lambda: supervisor.inbox.put(Wake()))
    stack.callback(logind.close)
    return sense


def _volumes(paths: Paths) -> MountedVolumes:
    return MountedVolumes({"state": paths.state, "runs": paths.runs, "data": paths.data})


def outage_policy(config: Config) -> OutagePolicy:
    """What a power failure asks for, in the configuration's numbers."""
    return OutagePolicy(
        debounce_seconds=config.ups.debounce,
        recharge_ratio=config.ups.recharge_ratio,
        recharge_seconds=config.ups.recharge,
        reserve_seconds=config.ups.reserve,
    )


def policy_of(config: Config) -> Policy:
    """The decisions' numbers out of the configuration."""
    return Policy(
        stall_after_seconds=config.daemon.stall_after,
        start_timeout_seconds=config.daemon.start_timeout,
        stop_timeout_seconds=config.daemon.drain_timeout,
        backoff_first_seconds=config.daemon.backoff_first,
        backoff_max_seconds=config.daemon.backoff_max,
        crash_loop_after=config.daemon.crash_loop_after,
    )


def _open_store(
    config: Config, paths: Paths, clock: Clock, stack: contextlib.ExitStack
) -> tuple[Store, RosterKeeper | None]:
    if config.store.url or config.store.url_file:
        store = Store.open(_store_url(config))
        stack.callback(store.close)
        return store, None
    opened = salvage.open_store(paths, clock.now())
    # the callbacks run backwards: the closed file is what the next start compares
    stack.callback(opened.roster.remember, paths.store)
    stack.callback(opened.store.close)
    return opened.store, opened.roster


def _store_url(config: Config) -> str:
    if config.store.url_file:
        try:
            return Path(config.store.url_file).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise Misconfigured(
                f"store.url_file {config.store.url_file} cannot be read: {error}",
                "write the database's URL into it (mode 0600), or unset store.url_file",
            ) from None
    return config.store.url
