"""docker-compose.yml as the real compose reads it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]
COMPOSE = Path(sys.executable).with_name("docker-compose")


def compose(*options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [COMPOSE, *options], cwd=ROOT, capture_output=True, text=True, check=False
    )


def services(*options: str) -> dict[str, Any]:
    done = compose("-f", "docker-compose.yml", *options, "config", "--format", "json")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)["services"]
    return found


def test_one_command_brings_daemon_prometheus_and_grafana_and_alerts_are_asked_for() -> None:
    assert set(services()) == {"homerun", "prometheus", "grafana"}
    assert "alertmanager" in services("--profile", "alerts")


def test_every_service_is_guarded_and_watched() -> None:
    for name, service in services("--profile", "alerts").items():
        assert service["read_only"], name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["healthcheck"]["test"], name
        assert service["restart"] == "unless-stopped", name


def test_nothing_is_published_beyond_the_loopback_interface() -> None:
    for name, service in services("--profile", "alerts").items():
        assert "ports" not in service, name
        assert service["network_mode"] == "host", name
    listening = str(services("--profile", "alerts"))
    assert "0.0.0.0" not in listening
    for address in ("127.0.0.1:9090", "127.0.0.1:9093"):
        assert f"--web.listen-address={address}" in listening
    assert services()["grafana"]["environment"]["GF_SERVER_HTTP_ADDR"] == "127.0.0.1"


def test_the_gpu_is_reserved_and_can_be_left_out() -> None:
    with_gpu = services()["homerun"]["deploy"]["resources"]["reservations"]["devices"]
    assert with_gpu[0]["driver"] == "nvidia"
    assert not services("-f", "deploy/docker/cpu.yml")["homerun"].get("deploy")


def test_the_container_has_time_for_the_last_checkpoint() -> None:
    assert services()["homerun"]["stop_grace_period"] == "10m0s"


def test_everything_that_is_mounted_is_there() -> None:
    for name, service in services("--profile", "alerts").items():
        for mount in service["volumes"]:
            assert mount["type"] == "volume" or Path(mount["source"]).is_dir(), (name, mount)


@pytest.mark.parametrize("mistake", ["stop_grace_perod: 1m", "volumes: [nothing:/x]"])
def test_a_mistake_would_be_found(tmp_path: Path, mistake: str) -> None:
    broken = tmp_path / "broken.yml"
    broken.write_text(f"services:\n  homerun:\n    image: x\n    {mistake}\n")
    assert compose("-f", str(broken), "config", "-q").returncode != 0
