"""The daemon: one owner of a state directory, running until a signal or its run is at its end."""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import logging.handlers
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

from orchestrator import chores
from orchestrator.assembly import Daemon, assemble
from orchestrator.domain import RunState, to_json
from orchestrator.errors import HomerunError, Refused
from orchestrator.last_words import last_words
from orchestrator.mainloop import MainLoop
from orchestrator.paths import Paths
from orchestrator.piloting.steering import follow
from orchestrator.power.gpu_loss import EXIT_GPU_LOST
from orchestrator.settings.config import Config
from orchestrator.settings.hot import reloader_of
from orchestrator.store import StoreDamaged
from orchestrator.supervisor import Supervisor
from orchestrator.version import VERSION

log = logging.getLogger(__name__)

#: shows the snapshot until it may stop; runs in a thread of its own
Watch = Callable[[Callable[[], dict[str, Any]], Callable[[], bool]], None]

_LOG_BYTES = 10_000_000


def run_daemon(
    config: Config,
    *,
    first_run: dict[str, Any] | None = None,
    watch: Watch | None = None,
    until_finished: bool = False,
    read_config: Callable[[], Config] | None = None,
) -> int:
    """Run until a signal asks for the end, or until ``first_run`` is finished.

    ``read_config`` loads the configuration again, for SIGHUP and ``homerun config reload``.

    Returns the exit code. Raises HomerunError when the daemon cannot start at all.
    """
    paths = Paths(config.daemon.state_path)
    _make_state_dir(paths)
    with _sole_owner(paths.lock):
        _log_to_file(paths.log, config.daemon.log_level, also_stderr=watch is None)
        with contextlib.ExitStack() as stack:
            daemon = assemble(config, paths, stack)
            if read_config is not None:
                daemon.reloader = reloader_of(daemon, read_config)
                daemon.lookout.reload = daemon.reloader.view
            name = _submit_first(daemon, first_run)
            _run_or_restart(daemon, watch, name if until_finished else None)
            for text in last_words(daemon, name):
                print(text, file=sys.stderr if watch is None else sys.stdout)
            return EXIT_GPU_LOST if _left_for_its_card(daemon) else 0


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


def _run_or_restart(daemon: Daemon, watch: Watch | None, until: str | None) -> None:
    try:
        _run(daemon, watch, until)
    except StoreDamaged as error:
        if daemon.roster is not None:
            # no configuration to be corrected: the next start salvages it, so systemd may try
            error.exit_code = HomerunError.exit_code
        raise


def _run(daemon: Daemon, watch: Watch | None, until: str | None) -> None:
    supervisor = daemon.supervisor
    supervisor.recover()
    reload = daemon.reloader.reload if daemon.reloader is not None else None
    daemon.web.start(daemon.commands, daemon.config, reload)
    _write_address(daemon)
    chores.fill(daemon)
    chores.fill_with_messages(daemon)
    chores.open_bridge(daemon)
    supervisor.timekeeper.on_set = daemon.calendar.clock_was_set
    supervisor.after_tick = lambda: _after_tick(daemon, until)
    stopped = threading.Event()
    thread = _start_watch(watch, supervisor, stopped)
    with _signals(daemon):
        daemon.calendar.start()
        daemon.keeper.start()
        daemon.notifier.ready()
        supervisor.journal("daemon_started", f"homerun {VERSION} started.", pid=os.getpid())
        log.info("homerun %s listens on %s", VERSION, daemon.web.url)
        # Before the first tick, which else would start a trainer only for the plan to stop it.
        chores.consider_plan(daemon)
        try:
            MainLoop(supervisor, daemon.config.daemon.tick).run_until_drained()
            supervisor.journal("daemon_stopped", "homerun stopped.")
        finally:
            supervisor.crew.close()
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


def _left_for_its_card(daemon: Daemon) -> bool:
    return daemon.gpu_loss is not None and daemon.gpu_loss.leaves


def _after_tick(daemon: Daemon, until: str | None) -> None:
    supervisor = daemon.supervisor
    if _left_for_its_card(daemon) and not supervisor.draining:
        supervisor.journal(
            "gpu_lost",
            "The card is lost: the daemon ends, so that its unit or container starts it anew.",
            severity="error",
        )
        supervisor.drain()
    snapshot = supervisor.board.snapshot()
    daemon.notifier.status(snapshot.headline)
    # The card follows the setpoint; it is asked each time, because other tools set limits too.
    news = follow(daemon.limiter, snapshot)
    if news:
        supervisor.journal("power_limit", news, severity="warning")
    if until is not None and supervisor.life is None and not supervisor.draining:
        with daemon.store.transaction() as tx:
            run = tx.runs.get(until)
        if run is not None and run.state in (RunState.FINISHED, RunState.CANCELLED):
            supervisor.drain()


@contextlib.contextmanager
def _signals(daemon: Daemon) -> Iterator[None]:
    """SIGINT and SIGTERM drain; the second one does not wait for the checkpoint.

    SIGHUP reads the configuration again.
    """

    def handle(number: int, frame: FrameType | None) -> None:
        if daemon.supervisor.draining:
            daemon.supervisor.hurry()
            return
        daemon.notifier.stopping(daemon.config.daemon.drain_timeout)
        daemon.supervisor.drain()

    def reload(number: int, frame: FrameType | None) -> None:
        if daemon.reloader is not None:
            daemon.reloader.ask("signal")

    handlers = {signal.SIGINT: handle, signal.SIGTERM: handle, signal.SIGHUP: reload}
    if daemon.reloader is None:
        del handlers[signal.SIGHUP]  # a terminal that closes ends a demo
    else:
        daemon.reloader.start()
    earlier = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        if daemon.reloader is not None:
            daemon.reloader.stop()
        for number, handler in earlier.items():
            signal.signal(number, handler)
