"""The dashboards: whole, readable, and every query answers from a real Prometheus."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta

import pytest

from orchestrator.domain import Effect, Hold, Reason
from orchestrator.home.clock import SystemClock
from orchestrator.web.app import build_app
from orchestrator.web.fake import FakeBackend
from orchestrator.web.server import WebServer
from orchestrator.web.settings import Settings
from tests.prometheus import Prometheus, running, wait_for

from .boards import NAMES, board, filled_in, panels, queries
from .conftest import full_backend
from .exported import named_metrics

each_board = pytest.mark.parametrize("name", NAMES)

#: what is exported and on no panel, and why
NOT_DRAWN = {
    "process_virtual_memory_bytes": "says nothing: the resident part is drawn",
    "homerun_sentinel_checks_total": "its seconds are drawn among the phases",
    "process_max_fds": "never changes",
    "homerun_plan_gap_ratio": "a promise of the planner: nothing to watch",
    "homerun_plan_mode": "homerun schedule says it in words",
    "homerun_gpu_xid_events_total": "rare, and the journal tells each in words",
    "homerun_config_last_reload_successful": "HomerunConfigReloadFailed says it; else it is 1",
    "homerun_config_last_reload_success_timestamp_seconds": "the journal tells each reload",
}


def test_each_has_an_address_of_its_own_and_the_links_to_the_others() -> None:
    uids = [board(name)["uid"] for name in NAMES]
    assert len(set(uids)) == len(NAMES)
    for name in NAMES:
        assert board(name)["tags"] == ["homerun"]
        assert board(name)["links"][0]["tags"] == ["homerun"]


@each_board
def test_it_is_read_only_shares_its_crosshair_and_asks_the_chosen_source(name: str) -> None:
    it = board(name)
    assert not it["editable"]
    assert it["graphTooltip"] == 1
    assert [item["name"] for item in it["templating"]["list"]] == ["datasource", "run"]
    for panel in panels(name):
        assert panel["datasource"]["uid"] == "${datasource}"
        assert all(target["datasource"]["uid"] == "${datasource}" for target in panel["targets"])


@each_board
def test_every_panel_says_what_it_shows_and_in_which_unit(name: str) -> None:
    ids = [panel["id"] for panel in board(name)["panels"]]
    assert len(set(ids)) == len(ids)
    for panel in panels(name):
        defaults = panel["fieldConfig"]["defaults"]
        assert panel["title"], panel["id"]
        assert panel["description"].endswith("."), panel["title"]
        assert defaults["unit"], panel["title"]
        assert defaults["noValue"], panel["title"]
        letters = [target["refId"] for target in panel["targets"]]
        assert letters == sorted(set(letters)), panel["title"]


@each_board
def test_lines_are_thin(name: str) -> None:
    for panel in panels(name):
        if panel["type"] == "timeseries":
            assert panel["fieldConfig"]["defaults"]["custom"]["lineWidth"] == 1, panel["title"]


@each_board
def test_no_panel_lies_on_another_and_none_leaves_the_page(name: str) -> None:
    places = [panel["gridPos"] for panel in board(name)["panels"]]
    for place in places:
        assert place["x"] >= 0
        assert place["x"] + place["w"] <= 24
    for one, other in itertools.combinations(places, 2):
        apart = (
            one["x"] + one["w"] <= other["x"]
            or other["x"] + other["w"] <= one["x"]
            or one["y"] + one["h"] <= other["y"]
            or other["y"] + other["h"] <= one["y"]
        )
        assert apart, (one, other)


@each_board
def test_the_top_answers_whether_it_is_well_and_the_holds_come_next(name: str) -> None:
    top = [panel for panel in panels(name) if panel["gridPos"]["y"] == 0]
    assert 5 <= len(top) <= 8
    assert {panel["type"] for panel in top} <= {"stat", "gauge"}
    assert sum(panel["gridPos"]["w"] for panel in top) == 24
    height = top[0]["gridPos"]["h"]
    below = [panel for panel in panels(name) if panel["gridPos"]["y"] == height]
    assert below[0]["type"] == "state-timeline"
    assert below[0]["title"] == "Holds"


@each_board
def test_every_rate_has_the_window_that_fits_the_picture(name: str) -> None:
    for where, expression in queries(name):
        for function, window in re.findall(r"\b(rate|increase)\(.*?\[(.*?)\]", expression):
            fitting = ("$__rate_interval", "$__range") if function == "increase" else (
                "$__rate_interval",
            )  # fmt: skip
            assert window in fitting, where


def test_restarts_and_checkpoints_are_marked_in_the_run() -> None:
    marked = {item["name"] for item in board("run")["annotations"]["list"]}
    assert {"Restarts", "Checkpoints"} <= marked


def test_every_metric_that_is_named_is_exported(exported: set[str]) -> None:
    for name in NAMES:
        for where, expression in queries(name):
            assert named_metrics(expression) <= exported, where


def test_every_metric_that_is_exported_is_drawn_or_has_a_reason_not_to_be(
    exported: set[str],
) -> None:
    drawn = {
        metric
        for name in NAMES
        for _, expression in queries(name)
        for metric in named_metrics(expression)
    }
    assert exported - drawn == set(NOT_DRAWN)


# --- before a real Prometheus ---------------------------------------------------------------


class Life:
    """A fake backend that lives through a day, and a Prometheus that watches it."""

    def __init__(self, backend: FakeBackend, prometheus: Prometheus) -> None:
        self._backend = backend
        self.prometheus = prometheus
        #: the queries without an answer at any time so far, and where they stand
        self.missing = {expression: where for name in NAMES for where, expression in queries(name)}

    def move(self) -> None:
        """Steps, a checkpoint, a restart, a return, a spike: everything that is counted."""
        self._backend.advance(5)
        self._backend.save_checkpoint("test")
        totals: dict[str, float] = vars(self._backend)["_counters"]["evening"]
        for name in (
            "restarts_crashed",
            "rollbacks",
            "loss_spikes",
            "nonfinite_steps",
            "sentinel_checks",
            "sentinel_mismatches",
        ):
            totals[name] = totals.get(name, 0.0) + 1
        self._backend.advance(5)

    def hold(self, clock: SystemClock) -> None:
        """The tariff holds it for an hour."""
        now = clock.now()
        until = now + timedelta(hours=1)
        self._backend.hold(Hold(Reason.TARIFF, Effect.PAUSE, "tariff", now, until))
        self._backend.advance()

    def look(self) -> bool:
        """Ask for everything that had no answer yet; whether all has one now."""
        for expression in list(self.missing):
            series = self.prometheus.query(filled_in(expression))
            if any(item["value"][1] != "NaN" for item in series):
                del self.missing[expression]
        return not self.missing


@pytest.fixture(scope="module")
def life() -> Iterator[Life]:
    clock = SystemClock()
    backend = full_backend(clock)
    with ExitStack() as stack:
        server = WebServer(host="127.0.0.1", port=0)
        stack.callback(server.stop)
        server.serve(build_app(backend, Settings(), clock=clock))
        prometheus = Prometheus(f"127.0.0.1:{server.port}")
        stack.enter_context(running(prometheus))
        wait_for("a first scrape", lambda: prometheus.query("homerun_build_info"))
        yield Life(backend, prometheus)


def test_every_query_gets_an_answer_while_a_run_runs_and_is_held(life: Life) -> None:
    def only_holds_are_missing() -> bool:
        return life.look() or all("hold_until" in expression for expression in life.missing)

    life.move()
    try:
        wait_for("what a run under way tells", only_holds_are_missing, every_seconds=1.0)
        life.hold(SystemClock())
        wait_for("what a held run tells", life.look, every_seconds=1.0)
    except AssertionError:
        pytest.fail(f"no answer at any time: {life.missing}")
    assert life.missing == {}


def test_a_query_with_a_mistake_would_be_found(life: Life) -> None:
    with pytest.raises(AssertionError, match="parse error"):
        life.prometheus.query("sum(homerun_train_step")
    assert not life.prometheus.query("homerun_train_stepp")
