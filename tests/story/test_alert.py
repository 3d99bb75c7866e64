"""From a daemon in trouble to an Alertmanager that knows: real programs, real rules."""

from __future__ import annotations

import shutil
import subprocess
from contextlib import ExitStack

from tests.prometheus import DEPLOY, Alertmanager, Prometheus, running, wait_for
from tests.story.conftest import MakeHouse
from tests.story.house import House
from tests.unit.web.tools import tool_or_skip


def test_a_crash_loop_of_a_real_run_reaches_a_real_alertmanager(make_house: MakeHouse) -> None:
    house: House = make_house(daemon_options={"crash_loop_after": "2"}).start()
    with ExitStack() as stack:
        alertmanager = Alertmanager()
        stack.enter_context(running(alertmanager))
        target = house.address()["url"].removeprefix("http://")
        prometheus = Prometheus(target, alertmanager.address)
        stack.enter_context(running(prometheus))
        wait_for("a scrape", lambda: prometheus.query("homerun_build_info"))
        assert prometheus.query('up{job="homerun"}')[0]["value"][1] == "1"
        assert prometheus.firing() == set()

        # a corpus without a text: the trainer fails each time
        corpus = house.root / "corpus"
        shutil.rmtree(corpus)
        corpus.mkdir()
        house.submit()
        wait_for("the alert", lambda: "HomerunCrashLoop" in alertmanager.firing())
        assert prometheus.firing() == {"HomerunCrashLoop"}
        (alert,) = alertmanager.get("/api/v2/alerts")
        assert alert["labels"]["run"] == "tiny"
        assert alert["labels"]["severity"] == "critical"
        assert "crashed again and again" in alert["annotations"]["summary"]

        # the run is taken out of the queue: the alert ends by itself
        assert house.homerun("cancel", "tiny").returncode == 0
        wait_for("the end of the alert", lambda: not prometheus.firing())


def test_the_alertmanager_reads_our_configuration() -> None:
    amtool = tool_or_skip("amtool", "prometheus-alertmanager")
    config = DEPLOY / "alertmanager/alertmanager.yml"
    done = subprocess.run([amtool, "check-config", config], capture_output=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
