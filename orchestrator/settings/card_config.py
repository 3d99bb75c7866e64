"""The [thermal] and [gpu_busy] tables of homerun.toml: when the card is too hot, or wanted."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from orchestrator.holds.busy_sense import BusyPolicy
from orchestrator.holds.heat_watch import HeatPolicy
from orchestrator.holds.pause_depth import break_even_seconds
from orchestrator.settings.section import Duration, Section, contradiction

Celsius = Annotated[float, Field(strict=True, ge=0.0, le=125.0)]

#: programs of a desktop that take memory of the card as long as it is switched on
DESKTOP = (
    "Xorg", "Xwayland", "gnome-shell", "kwin_wayland", "kwin_x11", "plasmashell", "cinnamon",
    "sway", "Hyprland", "firefox", "firefox-bin", "chrome", "chromium", "brave", "msedge", "code",
    "steam", "steamwebhelper", "discord", "Discord", "slack", "thunderbird",
)  # fmt: skip


class ThermalConfig(Section):
    """When the card is too hot: first its power limit goes down, then computing stops."""

    watch: bool = Field(default=True, description="false: leave heat to the card itself.")
    core_cap: Celsius = Field(
        default=83.0, description="At this temperature of the core, the limit goes down a step."
    )
    core_pause: Celsius = Field(default=90.0, description="At this one computing stops.")
    memory_cap: Celsius = Field(
        default=100.0, description="The same for its memory, where the card tells it."
    )
    memory_pause: Celsius = Field(default=106.0, description="At this one computing stops.")
    margin_cap: Celsius = Field(
        default=5.0,
        description="The same for the hottest spot: so many degrees below the temperature at "
        "which the card slows itself down, where it tells that.",
    )
    margin_pause: Celsius = Field(default=1.0, description="So close to it computing stops.")
    hysteresis: Celsius = Field(
        default=4.0, description="It counts as cool so many degrees below the first threshold."
    )
    dwell: Duration = Field(
        default=60.0, ge=5.0, description="Between two steps down; a pause lasts no less."
    )
    calm: Duration = Field(
        default=600.0, ge=5.0, description="So long it must be cool before a step is taken back."
    )

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        for sensor in ("core", "memory"):
            if getattr(self, f"{sensor}_pause") <= getattr(self, f"{sensor}_cap"):
                raise contradiction(f"{sensor}_pause", f"must be above {sensor}_cap")
        if self.margin_pause >= self.margin_cap:
            raise contradiction("margin_pause", "must be below margin_cap")
        return self

    def policy(self) -> HeatPolicy:
        """As the watch takes it."""
        return HeatPolicy(
            core_cap=self.core_cap,
            core_pause=self.core_pause,
            memory_cap=self.memory_cap,
            memory_pause=self.memory_pause,
            margin_cap=self.margin_cap,
            margin_pause=self.margin_pause,
            hysteresis=self.hysteresis,
            dwell_seconds=self.dwell,
            calm_seconds=self.calm,
        )


class GpuBusyConfig(Section):
    """When somebody else wants the card, such as a game: the run makes room."""

    watch: bool = Field(
        default=True, description="Look at who is on the card. false: homerun hold still works."
    )
    least_bytes: int = Field(
        default=1_000_000_000,
        strict=True,
        ge=0,
        description="A program that takes so much of the card's memory is a reason to make room.",
    )
    names: tuple[str, ...] = Field(
        default=(),
        examples=[["blender", "ollama"]],
        description="Programs that always are one, however little they take.",
    )
    ignore: tuple[str, ...] = Field(
        default=DESKTOP, description="Programs that never are one, however much they take."
    )
    start: Duration = Field(default=5.0, description="A program that is gone sooner was no reason.")
    dwell: Duration = Field(
        default=120.0, description="How long the run waits after they are gone: a game may restart."
    )
    expected: Duration = Field(
        default=3600.0,
        gt=0.0,
        description="How long they stay as a rule. Below release_after the run is only paused at "
        "first, and keeps its part of the card's memory.",
    )
    release_after: Duration = Field(
        default=break_even_seconds(),
        description="What lasts so long, or longer, gets that memory too.",
    )

    def policy(self) -> BusyPolicy:
        """As the sense takes it."""
        return BusyPolicy(
            least_bytes=self.least_bytes,
            names=frozenset(self.names),
            ignored=frozenset(self.ignore),
            start_seconds=self.start,
            dwell_seconds=self.dwell,
            expected_seconds=self.expected,
            release_after_seconds=self.release_after,
        )
