"""[checkpoint] of homerun.toml: what the daemon does with checkpoints once they are saved."""

from __future__ import annotations

from pydantic import Field

from orchestrator.settings.section import HOT, Duration, Section


class CheckpointConfig(Section):
    """Which checkpoints stay, on top of the newest ones that a run's spec asks for."""

    history: int = Field(
        json_schema_extra=HOT,
        default=6,
        strict=True,
        ge=0,
        le=64,
        description="Older ones that stay, each about twice as old as the one before.",
    )
    best: int = Field(
        json_schema_extra=HOT,
        default=1,
        strict=True,
        ge=0,
        le=100,
        description="Best ones by validation that stay.",
    )
    budget_gigabytes: int = Field(
        json_schema_extra=HOT,
        default=100,
        strict=True,
        ge=0,
        description="Room for all checkpoints of a run. The two newest, the pinned ones and the "
        "last good one stay whatever they take; 0 means no limit.",
    )
    ssd_terabytes_per_month: float = Field(
        json_schema_extra=HOT,
        default=30.0,
        ge=0.0,
        description="What the checkpoints of a run may write in 30 days; it stretches the time "
        "between saves. 30 is 5 % of what a common 1 TB SSD (600 TBW) is good for; 0: no limit. "
        "A spec's checkpoint.most_lost_seconds comes before it.",
    )
    scrub_every: Duration = Field(
        json_schema_extra=HOT,
        default=7 * 86_400.0,
        gt=0.0,
        description="How often every byte of each checkpoint is read again and compared.",
    )
    mirror: str = Field(
        default="",
        description="A second place for checkpoints: a directory on another disk or a NAS, or a "
        "URL of fsspec such as s3://bucket/homerun. The directory must be there. Empty: none.",
    )
    mirror_every: Duration = Field(
        json_schema_extra=HOT,
        default=3600.0,
        description="At most so often is the newest checkpoint copied there.",
    )
    mirror_keep: int = Field(
        json_schema_extra=HOT,
        default=3,
        strict=True,
        ge=1,
        le=1000,
        description="Checkpoints of a run kept there.",
    )
