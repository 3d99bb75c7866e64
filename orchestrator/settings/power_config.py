"""The [power] table of homerun.toml: what measures, and what is assumed without a meter."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from orchestrator.power_wire import SOCKET
from orchestrator.settings.section import Duration, Section, contradiction

Watts = Annotated[float, Field(strict=True, ge=0.0, le=20_000.0)]

#: these stand in the network and need an address
NETWORK_METERS = ("shelly", "tasmota", "home_assistant")


class PowerConfig(Section):
    """What measures the power, and what the machine is taken to draw where nothing does."""

    meter: Literal[
        "auto", "nvml", "rapl", "shelly", "tasmota", "home_assistant", "nut", "model"
    ] = Field(
        default="auto",
        description="auto: the card's own meter, else the processor's, else the model. The money "
        "is in the whole machine: shelly, tasmota or home_assistant at the wall, or nut, a UPS "
        "that measures. While one of these does not answer, the model does, marked estimated.",
    )
    address: str = Field(
        default="", description="Of a meter in the network, such as http://192.168.1.20."
    )
    channel: int = Field(
        default=0, strict=True, ge=0, le=15, description="shelly, tasmota: which of its sockets."
    )
    entity: str = Field(
        default="", description="home_assistant: a sensor of power or energy, sensor.pc_power."
    )
    token_file: str = Field(
        default="",
        description="File with Home Assistant's token or Tasmota's password; mode 0600.",
    )
    poll: Duration = Field(default=5.0, ge=1.0, description="How often it is asked.")
    card: Literal["auto", "simulated"] = Field(
        default="auto",
        description="simulated: a model of a card, for a look at homerun without one. Its figures "
        "say so wherever they are shown, and count as estimated.",
    )
    limit: bool = Field(
        default=True,
        description="Set the card's power limit where a hold or a plan asks for it. false: never.",
    )
    helper: str = Field(
        default=SOCKET,
        description="Socket of homerun-power, for a daemon that may not set the limit itself.",
    )
    idle_watts: Watts = Field(default=15.0, description="Model, no card: with an idle processor.")
    busy_watts: Watts = Field(default=65.0, description="The same with a busy one.")
    rest_watts: Watts = Field(
        default=60.0, description="Model with a card: all but the card, behind the power supply."
    )
    psu_efficiency: float = Field(
        default=0.88, gt=0.3, le=1.0, description="Model: the power supply's; 0.85 to 0.92."
    )

    @model_validator(mode="after")
    def _goes_together(self) -> Self:
        if self.busy_watts < self.idle_watts:
            raise contradiction("busy_watts", "must not be below idle_watts")
        if self.meter in NETWORK_METERS and not self.address.startswith(("http://", "https://")):
            raise contradiction(
                "address", f"must be set for {self.meter}, such as http://192.168.1.20"
            )
        if self.meter == "home_assistant" and not (self.entity and self.token_file):
            key = "token_file" if self.entity else "entity"
            raise contradiction(key, "must be set for home_assistant")
        return self
