"""What the doctor says about the way to Home Assistant."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.cli.check import Check, State

if TYPE_CHECKING:
    from orchestrator.settings.mqtt_config import MqttConfig


def checks(config: MqttConfig) -> Iterator[Check]:
    """The password is ours alone, and the broker lets us in. A run needs neither."""
    from orchestrator.cli.checks import secret
    from orchestrator.home.broker import probe

    if not config.host:
        return
    if config.password_file:
        yield secret("mqtt", Path(config.password_file), "write the password into it")
    place = f"{config.host}:{config.port}"
    wrong = probe(config)
    if wrong:
        fix = "see [mqtt]; until it lets us in, Home Assistant shows the run as unavailable"
        yield Check("broker", State.WARNING, f"{place} {wrong}", fix)
    else:
        yield Check("broker", State.OK, f"{place} lets us in")
