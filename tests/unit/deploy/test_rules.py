"""Alerts and recording rules: each names only what is exported, and each is tested both ways."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.web.tools import certificate, tool_or_skip

from .exported import named_metrics, recorded_names

PROMETHEUS = Path(__file__).parents[3] / "deploy/prometheus"
TESTS = sorted((PROMETHEUS / "tests").glob("*.yml"))

#: over a metric that Prometheus makes by itself
_ALERTS_OF_PROMETHEUS = {"HomerunDown"}


def rules() -> list[dict[str, Any]]:
    read = yaml.safe_load((PROMETHEUS / "rules/homerun.yml").read_text(encoding="utf-8"))
    return [rule for group in read["groups"] for rule in group["rules"]]


def alerts() -> dict[str, dict[str, Any]]:
    return {rule["alert"]: rule for rule in rules() if "alert" in rule}


def cases() -> list[dict[str, Any]]:
    return [
        case
        for path in TESTS
        for test in yaml.safe_load(path.read_text(encoding="utf-8"))["tests"]
        for case in test.get("alert_rule_test", ())
    ]


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule.get("alert") or rule["record"])
def test_a_rule_names_only_what_is_exported_or_recorded_before_it(
    rule: dict[str, Any], exported: set[str]
) -> None:
    named = named_metrics(rule["expr"])
    assert named <= exported, named - exported
    recorded = [item.get("record") for item in rules()]
    assert recorded_names(rule["expr"]) <= set(recorded[: rules().index(rule)])
    assert named or rule.get("alert") in _ALERTS_OF_PROMETHEUS


@pytest.mark.parametrize("name", alerts())
def test_an_alert_tells_what_it_is_and_what_to_do(name: str) -> None:
    alert = alerts()[name]
    assert name.startswith("Homerun")
    assert alert["labels"]["severity"] in ("info", "warning", "critical")
    assert alert["annotations"]["summary"].endswith(".")
    assert alert["annotations"]["description"].endswith((".", ")."))


@pytest.mark.parametrize("name", alerts())
def test_an_alert_is_tested_with_firing_and_without(name: str) -> None:
    mine = [bool(case["exp_alerts"]) for case in cases() if case["alertname"] == name]
    assert True in mine
    assert False in mine


def test_a_night_on_hold_is_checked_against_every_alert() -> None:
    night = yaml.safe_load((PROMETHEUS / "tests/night_test.yml").read_text(encoding="utf-8"))
    paused = night["tests"][0]
    assert "tariff" in paused["name"]
    checked = {case["alertname"] for case in paused["alert_rule_test"] if not case["exp_alerts"]}
    assert checked == set(alerts())


@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.stem)
def test_the_rules_do_as_promtool_is_told(path: Path) -> None:
    promtool = tool_or_skip("promtool", "prometheus")
    done = subprocess.run(
        [promtool, "test", "rules", path], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_configuration_is_clean_and_names_the_alertmanager_of_the_compose_file() -> None:
    promtool = tool_or_skip("promtool", "prometheus")
    config = PROMETHEUS / "prometheus.yml"
    done = subprocess.run([promtool, "check", "config", config], capture_output=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    read = yaml.safe_load(config.read_text(encoding="utf-8"))
    (manager,) = read["alerting"]["alertmanagers"]
    assert manager["static_configs"] == [{"targets": ["127.0.0.1:9093"]}]


def test_the_lines_for_a_daemon_elsewhere_are_right_too(tmp_path: Path) -> None:
    promtool = tool_or_skip("promtool", "prometheus")
    token, authority = tmp_path / "token", certificate(tmp_path, "pc").certificate
    token.write_text("correct-horse")
    text = (PROMETHEUS / "prometheus.yml").read_text(encoding="utf-8")
    text = re.sub(r"^    #(?! \S)", "    ", text, flags=re.MULTILINE)
    text = text.replace("/etc/prometheus/homerun-metrics-token", str(token))
    config = tmp_path / "prometheus.yml"
    config.write_text(text.replace("/etc/prometheus/homerun.pem", str(authority)))
    parsed = yaml.safe_load(config.read_text())["scrape_configs"][0]
    assert parsed["authorization"]["credentials_file"] == str(token)
    done = subprocess.run([promtool, "check", "config", config], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
