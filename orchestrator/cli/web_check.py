"""What the doctor looks at of the web side: tokens and certificate."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.cli.checks import Check, State, secret
from orchestrator.errors import HomerunError

if TYPE_CHECKING:
    from orchestrator.settings.web_config import WebConfig


def checks(web: WebConfig) -> Iterator[Check]:
    """Each token's file is ours alone; the certificate and its key go together."""
    for name, text in (("token", web.token_file), ("metrics token", web.metrics_token_file)):
        if text and not Path(text).exists():
            yield Check(name, State.OK, f"{text} is made when the daemon starts")
        elif text:
            yield secret(name, Path(text), "write a long random text into it")
    if web.tls_certificate_file:
        yield _certificate(web)


def _certificate(web: WebConfig) -> Check:
    from orchestrator.web.tls import tls_of

    try:
        tls_of(web)
    except HomerunError as error:
        return Check("certificate", State.FAILED, error.message, error.fix)
    return Check("certificate", State.OK, web.tls_certificate_file)
