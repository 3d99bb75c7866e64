"""The composition root: builds everything once, runs it, and takes it all down again."""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import logging.handlers
import os
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from orchestrator import chores
from orchestrator.calendar import Calendar
from orchestrator.commands import Commands
from orchestrator.config import Config
from orchestrator.decide import Policy
from orchestrator.domain import DaemonView, Run, RunState, to_json
from orchestrator.engine.client import EngineClient
from orchestrator.engine.process import runtime_dir
from orchestrator.errors import Misconfigured, Refused
from orchestrator.home.boot import boot_id
from orchestrator.home.clock import Clock, SystemClock
from orchestrator.home.gpu import installed_gpu
from orchestrator.home.nut import NutUps
from orchestrator.home.systemd import Notifier
from orchestrator.home.volumes import MountedVolumes
from orchestrator.keeper import Keeper
from orchestrator.ledger.keeper import LedgerKeeper
from orchestrator.mainloop import MainLoop
from orchestrator.metering import meter_of
from orchestrator.outage_watch import OutagePolicy
from orchestrator.paths import Paths
from orchestrator.quiet_hours import quiet_of
from orchestrator.quiet_sense import QuietSense
from orchestrator.senses import Sense
from orchestrator.store import Store
from orchestrator.supervisor import Count, Supervisor, Wake
from orchestrator.surroundings import Lookout
from orchestrator.tariff.http import RealHttp
from orchestrator.tariff.keeper import PriceKeeper
from orchestrator.ups_sense import UpsSense
from orchestrator.version import VERSION
from orchestrator.web.server import WebServer

log = logging.getLogger(__name__)

#: shows the snapshot until it may stop; runs in a thread of its own
Watch = Callable[[Callable[[], dict[str, Any]], Callable[[], bool]], None]

_LOG_BYTES = 10_000_000


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


def run_daemon(
    config: Config,
    *,
    first_run: dict[str, Any] | None = None,
    watch: Watch | None = None,
    until_finished: bool = False,
) -> int:
    """Run until a signal asks for the end, or until ``first_run`` is finished.

    Returns the exit code. Raises HomerunError when the daemon cannot start at all.
    """
    paths = Paths(config.daemon.state_path)
    _make_state_dir(paths)
    with _sole_owner(paths.lock):
        _log_to_file(paths.log, config.daemon.log_level, also_stderr=watch is None)
        with contextlib.ExitStack() as stack:
            daemon = _build(config, paths, stack)
            name = _submit_first(daemon, first_run)
            _run(daemon, watch, name if until_finished else None)
            for text in last_words(daemon, name):
                print(text, file=sys.stderr if watch is None else sys.stdout)
            return 0


def _build(config: Config, paths: Paths, stack: contextlib.ExitStack) -> Daemon:
    clock = SystemClock()
    store = Store.open(_store_url(config, paths))
    stack.callback(store.close)
    runtime = runtime_dir(paths.state)

    prices = PriceKeeper(config.tariff, store, RealHttp(clock), clock, seed=boot_id())
    prices.open()
    web = WebServer(host=config.web.host, port=config.web.port)
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
    lookout = Lookout(clock, _volumes(paths), ups, installed_gpu())
    supervisor = Supervisor(
        store=store,
        engine=lambda notify: EngineClient(
            config.engine.kind,
            state_dir=paths.state,
            runtime_dir=runtime,
            notify=notify,
            clock=clock,
        ),
        clock=clock,
        meter=meter_of(config.power, config.ups, clock, stack),
        policy=policy_of(config),
        paths=paths,
        daemon=view,
        boot_id=boot_id(),
        senses=_senses(config, ups),
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
    commands = Commands(store, supervisor, config, prices, keeper, lookout)
    notifier = Notifier(os.environ)
    parts = (store, supervisor, commands, prices, web, Calendar(), keeper, lookout, notifier)
    return Daemon(config, paths, *parts)


def _ups(config: Config, clock: Clock, stack: contextlib.ExitStack) -> UpsSense | None:
    if not config.ups.name:
        return None
    nut = NutUps(config.ups.name, config.ups.host, config.ups.port)
    ups = UpsSense(nut, clock, outage_policy(config))
    ups.start(config.ups.poll)
    stack.callback(ups.close)
    return ups


def _senses(config: Config, ups: UpsSense | None) -> list[Sense]:
    senses: list[Sense] = [] if ups is None else [ups]
    if config.quiet_hours.times:
        senses.append(QuietSense(quiet_of(config.quiet_hours, config.tariff)))
    return senses


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


def _store_url(config: Config, paths: Paths) -> str:
    if config.store.url_file:
        try:
            return Path(config.store.url_file).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise Misconfigured(
                f"store.url_file {config.store.url_file} cannot be read: {error}",
                "write the database's URL into it (mode 0600), or unset store.url_file",
            ) from None
    return config.store.url or f"sqlite:///{paths.store}"


# --- the state directory --------------------------------------------------------------------


def _make_state_dir(paths: Paths) -> None:
    try:
        paths.state.mkdir(parents=True, exist_ok=True, mode=0o700)
        paths.runs.mkdir(exist_ok=True)
        paths.data.mkdir(exist_ok=True)
        with paths.lock.open("a"):
            pass
    except OSError as error:
        raise Refused(
            f"the state directory {paths.state} cannot be written: {error.strerror}",
            "make it writable for this user, or set daemon.state_dir (HOMERUN_STATE_DIR)",
        ) from None


@contextlib.contextmanager
def _sole_owner(lock: Path) -> Iterator[None]:
    """The lock that only one daemon a state directory can hold; it dies with the process."""
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.read(descriptor, 32).decode(errors="replace").strip() or "unknown"
            raise Refused(
                f"another daemon (pid {owner}) owns {lock.parent}",
                "talk to it with homerun status, or give this one another state directory",
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


def _log_to_file(path: Path, level: str, *, also_stderr: bool) -> None:
    handlers: list[logging.Handler] = [
        logging.handlers.RotatingFileHandler(path, maxBytes=_LOG_BYTES, backupCount=2)
    ]
    if also_stderr:
        handlers.append(logging.StreamHandler())
    logging.basicConfig(
        level=level.upper(),
        format="%(asctime)s %(levelname)-7s %(name)s: %(message)s",
        handlers=handlers,
        force=True,
    )
    for chatty in ("apscheduler", "alembic", "uvicorn"):
        logging.getLogger(chatty).setLevel(logging.WARNING)


# --- running --------------------------------------------------------------------------------


def _submit_first(daemon: Daemon, spec: dict[str, Any] | None) -> str | None:
    if spec is None:
        return None
    known = {run.name for run in daemon.commands.runs()}
    if spec["name"] not in known:
        daemon.commands.submit(spec, priority=0, source="demo")
    return str(spec["name"])


def _run(daemon: Daemon, watch: Watch | None, until: str | None) -> None:
    supervisor = daemon.supervisor
    supervisor.recover()
    daemon.web.start(daemon.commands, daemon.config)
    _write_address(daemon)
    chores.fill(daemon)
    chores.fill_with_messages(daemon)
    supervisor.after_tick = lambda: _after_tick(daemon, until)
    stopped = threading.Event()
    thread = _start_watch(watch, supervisor, stopped)
    with _signals(daemon):
        daemon.calendar.start()
        daemon.keeper.start()
        daemon.notifier.ready()
        supervisor.journal("daemon_started", f"homerun {VERSION} started.", pid=os.getpid())
        log.info("homerun %s listens on %s", VERSION, daemon.web.url)
        try:
            MainLoop(supervisor, daemon.config.daemon.tick).run_until_drained()
            supervisor.journal("daemon_stopped", "homerun stopped.")
        finally:
            supervisor.close_engine()
            stopped.set()
            if thread is not None:
                thread.join()
            daemon.calendar.stop()
            daemon.keeper.stop()
            daemon.web.stop()
            daemon.paths.address.unlink(missing_ok=True)


def _start_watch(
    watch: Watch | None, supervisor: Supervisor, stopped: threading.Event
) -> threading.Thread | None:
    if watch is None:
        return None
    thread = threading.Thread(
        target=watch,
        args=(lambda: to_json(supervisor.board.snapshot()), stopped.is_set),
        name="live-view",
    )
    thread.start()
    return thread


def _write_address(daemon: Daemon) -> None:
    view = daemon.supervisor.board.snapshot().daemon
    content = {"pid": view.pid, "url": daemon.web.url, "started": to_json(view.started)}
    temporary = daemon.paths.address.with_suffix(".new")
    temporary.write_text(json.dumps(content) + "\n", encoding="utf-8")
    temporary.replace(daemon.paths.address)


def _after_tick(daemon: Daemon, until: str | None) -> None:
    supervisor = daemon.supervisor
    daemon.notifier.status(supervisor.board.snapshot().headline)
    if until is not None and supervisor.life is None and not supervisor.draining:
        with daemon.store.transaction() as tx:
            run = tx.runs.get(until)
        if run is not None and run.state in (RunState.FINISHED, RunState.CANCELLED):
            supervisor.drain()


@contextlib.contextmanager
def _signals(daemon: Daemon) -> Iterator[None]:
    """SIGINT and SIGTERM drain; the second one does not wait for the checkpoint."""

    def handle(number: int, frame: FrameType | None) -> None:
        if daemon.supervisor.draining:
            daemon.supervisor.hurry()
            return
        daemon.notifier.stopping(daemon.config.daemon.drain_timeout)
        daemon.supervisor.drain()

    earlier = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)


# --- the last word --------------------------------------------------------------------------


def last_words(daemon: Daemon, name: str | None) -> list[str]:
    """What ``name`` came to when it is finished; then where things stand, after a Ctrl-C."""
    from orchestrator.cli.live import summary

    runs = daemon.commands.runs()
    if not runs:
        return ["homerun: stopped; there is no run."]
    run = next((item for item in runs if item.name == name), runs[0])
    if name is not None and run.state is RunState.FINISHED:
        return ["", summary(to_json(run), command=command_name())]
    return [f"homerun: stopped; {_standing(daemon, run)}"]


def command_name() -> str:
    """What to type for ``homerun`` in this shell: its path, unless the shell finds it anyway."""
    if shutil.which("homerun"):
        return "homerun"
    program = Path(sys.argv[0])
    with contextlib.suppress(ValueError):
        program = program.absolute().relative_to(Path.cwd())
    return str(program)


def _standing(daemon: Daemon, run: Run) -> str:
    if run.state is RunState.FINISHED:
        return f"{run.name} is finished."
    checkpoints = daemon.commands.checkpoints(run.name)
    if not checkpoints:
        return f"{run.name} has no checkpoint yet; it starts from the beginning next time."
    of = f" of {run.steps}" if run.steps else ""
    return (
        f"{run.name} stands at step {checkpoints[0].step}{of}, saved as {checkpoints[0].name}. "
        "The same command goes on from there."
    )
