"""A small real HTTP server that answers as the daemon's API does, from canned values.

Every value is a real ``orchestrator.domain`` value turned to JSON by the daemon's own function.
"""

from __future__ import annotations

import dataclasses
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from orchestrator import domain as d

NOW = datetime(2026, 12, 1, 10, 30, tzinfo=UTC)


def run_view(**changes: Any) -> d.RunView:
    """A run in the middle of training."""
    view = d.RunView(
        name="first-run",
        state=d.RunState.ACTIVE,
        phase="train",
        phase_detail="",
        phase_fraction=None,
        attempt=2,
        trainer_pid=4711,
        parameters=2_900_000,
        step=1204,
        steps=18310,
        micro=3,
        micro_batches=16,
        tokens=9_863_168,
        epoch=0.42,
        loss=3.4121,
        bits_per_byte=2.2134,
        bits_per_byte_before=8.9142,
        tokens_per_second=4812.3,
        mfu=0.382,
        peak_source="RTX 4070, bf16 dense",
        step_seconds=1.7,
        gradient_norm=0.8,
        lr_multiplier=1.0,
        progress=1204 / 18310,
        eta=NOW + timedelta(hours=8, minutes=4),
        power=d.Power(182.4, "nvml", measured=True),
        energy_joules=51_120_000.0,
        energy_measured=True,
        active_seconds=4_000.0,
        lost_steps=14,
        restarts=1,
        checkpoint=d.CheckpointView(
            "gen-00001200-000002-0a1b2c3d", 1200, NOW - timedelta(minutes=3), 38_400_000
        ),
        next_start=None,
        loss_history=tuple(9.0 / (1 + i / 12) for i in range(64)),
    )
    return dataclasses.replace(view, **changes)


def hold(**changes: Any) -> d.Hold:
    """A pause by a person with a known end."""
    pause = d.Hold(
        reason=d.Reason.USER,
        effect=d.Effect.PAUSE,
        source="api",
        since=NOW - timedelta(hours=1),
        until=NOW + timedelta(hours=2),
        detail="gaming",
        id=7,
    )
    return dataclasses.replace(pause, **changes)


JOURNAL = (
    d.JournalEntry(1, NOW - timedelta(days=1), "daemon_started", "homerun 0.1.0 started."),
    d.JournalEntry(
        2,
        NOW - timedelta(minutes=9),
        "attempt_ended",
        "Attempt 1 at first-run ended: killed by SIGKILL.",
        "warning",
        "first-run",
    ),
    d.JournalEntry(3, NOW - timedelta(minutes=3), "saved", "Saved step 1200.", "info", "first-run"),
)


def snapshot(**changes: Any) -> d.Snapshot:
    """A daemon in the middle of a run."""
    whole = d.Snapshot(
        time=NOW,
        headline="Training first-run, step 1,204 of 18,310 (7%), finishes about 18:34.",
        daemon=d.DaemonView(
            pid=99,
            version="0.1.0",
            started=NOW - timedelta(hours=2),
            state_dir="/var/lib/homerun",
            address="http://127.0.0.1:8420",
            engine="ray",
            engine_state="ready",
        ),
        setpoint=d.Setpoint(d.Effect.RUN),
        holds=(),
        run=run_view(),
        queue=(d.QueueItem("second-run", 5), d.QueueItem("third-run", 0)),
        counters={},
        journal=JOURNAL,
    )
    return dataclasses.replace(whole, **changes)


RUNS = (
    d.Run(
        name="first-run",
        state=d.RunState.ACTIVE,
        priority=0,
        created=NOW - timedelta(hours=5),
        spec={"name": "first-run"},
        spec_digest="0" * 64,
        steps=18310,
        parameters=2_900_000,
        bits_per_byte=2.2134,
    ),
    d.Run(
        name="second-run",
        state=d.RunState.QUEUED,
        priority=5,
        created=NOW - timedelta(days=2),
        spec={"name": "second-run"},
        spec_digest="1" * 64,
    ),
)

CHECKPOINTS = tuple(
    d.ShelvedCheckpoint(
        run="first-run",
        name=f"gen-{step:08d}-000002-0a1b2c3d",
        step=step,
        created=NOW - timedelta(minutes=3),
        size_bytes=38_400_000,
        attempt=2,
        reason="schedule",
        pinned=step == 1100,
        verified=NOW,
        mirrored=step == 1200,
    )
    for step in (1200, 1100)
)


@dataclass
class Answer:
    """What a path answers; a function is given the query."""

    body: Any
    status: int = 200
    content_type: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)
    #: afterwards the path answers 503
    once: bool = False


@dataclass
class Request:
    """What was asked."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Any


def error(kind: str, status: int, message: str, fix: str = "") -> Answer:
    """An error as the API words it."""
    return Answer({"error": {"kind": kind, "message": message, "fix": fix}}, status)


class ApiDouble:
    """Answers by (method, path) and remembers what was asked."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        verdict = {"name": CHECKPOINTS[0].name, "step": 1200, "ok": True, "problems": []}
        api = "/api/v1/"
        self.answers: dict[tuple[str, str], Answer] = {
            ("GET", api + "status"): Answer(d.to_json(snapshot())),
            ("GET", api + "runs"): Answer(d.to_json(list(RUNS))),
            ("POST", api + "runs"): Answer(d.to_json(RUNS[1]), 201),
            ("POST", api + "runs/second-run/cancel"): Answer(
                d.to_json(dataclasses.replace(RUNS[1], state=d.RunState.CANCELLED))
            ),
            ("POST", api + "pause"): Answer(d.to_json(hold())),
            ("POST", api + "hold"): Answer(d.to_json(hold())),
            ("POST", api + "unhold"): Answer({"schema": 1, "ended": True}),
            ("POST", api + "resume"): Answer({"ended": True, "holds": []}),
            ("POST", api + "finish"): Answer(
                d.to_json(hold(effect=d.Effect.FINISH, until=None, detail=""))
            ),
            ("GET", api + "checkpoints"): Answer(d.to_json(list(CHECKPOINTS))),
            ("POST", api + "checkpoints/verify"): Answer([verdict]),
            ("POST", api + "checkpoints/save"): Answer(d.to_json(CHECKPOINTS[0])),
            ("GET", api + "journal"): Answer(d.to_json(list(JOURNAL))),
            ("GET", api + "logs"): Answer({"file": "/x/trainer.log", "lines": ["one", "two"]}),
            ("GET", "/healthz"): Answer("ok", content_type="text/plain"),
        }
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def set(self, method: str, path: str, answer: Answer) -> None:
        """Answer differently from now on."""
        self.answers[method, "/api/v1/" + path] = answer

    def events(self, path: str, *events: tuple[str, str, Any]) -> None:
        """Stream (event, id, data) on ``path``, once, then end it and be gone."""
        text = ": here\n\n"
        for name, identity, data in events:
            text += f"event: {name}\n" + (f"id: {identity}\n" if identity else "")
            text += f"data: {data if isinstance(data, str) else json.dumps(data)}\n\n"
        self.set("GET", path, Answer(text, content_type="text/event-stream", once=True))

    def asked(self, path: str) -> Request:
        """The newest request for ``path``."""
        return next(r for r in reversed(self.requests) if r.path == "/api/v1/" + path)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _handler(double: ApiDouble) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._reply("GET")

        def do_POST(self) -> None:
            self._reply("POST")

        def _reply(self, method: str) -> None:
            parts = urlsplit(self.path)
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            query, headers = dict(parse_qsl(parts.query)), dict(self.headers)
            double.requests.append(Request(method, parts.path, query, headers, body))
            unknown = Answer({"error": {"kind": "not_found", "message": "no such path"}}, 404)
            answer = double.answers.get((method, parts.path), unknown)
            if answer.once:
                double.answers[method, parts.path] = error("stopping", 503, "gone")
            told = answer.body(query) if callable(answer.body) else answer.body
            data = told if isinstance(told, str) else json.dumps(told)
            self.send_response(answer.status)
            self.send_header("Content-Type", answer.content_type)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data.encode())

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base's name
            pass

    return Handler


@contextmanager
def serving() -> Iterator[ApiDouble]:
    """A double that listens while the block runs."""
    double = ApiDouble()
    double.start()
    try:
        yield double
    finally:
        double.stop()
