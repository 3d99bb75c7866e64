"""Where the page, the API and the metrics are served, and to whom."""

from __future__ import annotations

import ipaddress
from typing import Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from orchestrator.settings.section import HOT, Section


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server that listens on ``host``."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


class WebConfig(Section):
    """The page, the API and the metrics."""

    host: str = Field(
        default="127.0.0.1",
        min_length=1,
        description="Address to listen on. Any but a loopback address needs a token_file.",
    )
    port: int = Field(
        default=8420, strict=True, ge=0, le=65535, description="0 takes any free port."
    )
    token_file: str = Field(
        json_schema_extra=HOT,
        default="",
        description="File with the token that commands and readers must show; mode 0600. The "
        "daemon makes one where none is. 'homerun web' opens the page with it.",
    )
    metrics_token_file: str = Field(
        json_schema_extra=HOT,
        default="",
        description="File with a second token that opens /metrics and nothing else, for a "
        "Prometheus elsewhere; made in the same way.",
    )
    tls_certificate_file: str = Field(
        default="",
        description="PEM certificate with its chain, for https. Read again when it was renewed.",
    )
    tls_key_file: str = Field(default="", description="Its key: PEM, without a password.")
    allowed_hosts: tuple[str, ...] = Field(
        default=(),
        description="Further names under which the page may be asked for, such as those of a "
        "reverse proxy or a compose service.",
    )

    @model_validator(mode="after")
    def _paired(self) -> Self:
        if bool(self.tls_certificate_file) != bool(self.tls_key_file):
            missing = "tls_key_file" if self.tls_certificate_file else "tls_certificate_file"
            raise PydanticCustomError(
                "contradiction",
                "{missing}|give tls_certificate_file and tls_key_file, or neither",
                {"missing": missing},
            )
        return self

    @model_validator(mode="after")
    def _guarded(self) -> Self:
        if not is_loopback(self.host) and not self.token_file:
            raise PydanticCustomError(
                "contradiction",
                "host|{host} can be reached by other machines, so web.token_file must be set; "
                "or listen on 127.0.0.1",
                {"host": repr(self.host)},
            )
        return self
