"""The [mqtt] table: the broker through which Home Assistant sees and commands the run."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from orchestrator.settings.section import Section, contradiction


class MqttConfig(Section):
    """Home Assistant, by MQTT discovery."""

    host: str = Field(default="", description="The MQTT broker. Empty: none is used.")
    port: int = Field(
        default=1883, strict=True, ge=1, le=65535, description="Its port; 8883 is usual with TLS."
    )
    username: str = Field(default="", description="Empty: the broker lets anybody in.")
    password_file: str = Field(
        default="", description="File that holds the password, mode 0600; read at each connection."
    )
    tls: bool = Field(default=False, strict=True, description="Encrypt, and check who answers.")
    ca_file: str = Field(
        default="",
        description="Certificate authority of a broker of your own. Empty: the machine's own.",
    )
    prefix: str = Field(
        default="homerun",
        pattern=r"^[A-Za-z0-9_-]+$",
        description="First part of all topics, and the device's name; another one for each daemon.",
    )
    discovery_prefix: str = Field(
        default="homeassistant",
        pattern=r"^[A-Za-z0-9_/-]+$",
        description="Where Home Assistant looks for devices.",
    )

    @model_validator(mode="after")
    def _together(self) -> Self:
        if self.password_file and not self.username:
            raise contradiction("username", "must be set when password_file is")
        if self.ca_file and not self.tls:
            raise contradiction("tls", "must be true when ca_file is set")
        return self
