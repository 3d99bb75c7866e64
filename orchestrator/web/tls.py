"""The certificate that the page is served under, read again when it was renewed."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

from orchestrator.errors import Misconfigured
from orchestrator.settings.web_config import WebConfig


@dataclass(frozen=True)
class CertificateFiles:
    """PEM files: the certificate with its chain, and its key without a password."""

    certificate: Path
    key: Path


class Tls:
    """A server's TLS context. ``renew`` may be called from any thread.

    Raises:
        Misconfigured: the files cannot be read or do not belong together.
    """

    def __init__(self, files: CertificateFiles) -> None:
        self._files = files
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._seen = self._stamps()
        _read_into(self.context, files)

    def renew(self) -> bool:
        """Read the files again if they changed; connections made from now on get the new ones.

        Raises:
            Misconfigured: the new ones are wrong; the old ones stay in use.
        """
        stamps = self._stamps()
        if stamps == self._seen:
            return False
        # tried on a context of its own first: half of a new pair must not get into ours
        _read_into(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), self._files)
        _read_into(self.context, self._files)
        self._seen = stamps
        return True

    def _stamps(self) -> list[tuple[int, int]]:
        try:
            found = [file.stat() for file in (self._files.certificate, self._files.key)]
        except OSError as error:
            raise _unreadable(error) from None
        return [(status.st_mtime_ns, status.st_ino) for status in found]


def tls_of(config: WebConfig) -> Tls | None:
    """The context that a configuration asks for; None for plain HTTP. Raises as ``Tls`` does."""
    if not config.tls_certificate_file:
        return None
    return Tls(CertificateFiles(Path(config.tls_certificate_file), Path(config.tls_key_file)))


def _read_into(context: ssl.SSLContext, files: CertificateFiles) -> None:
    try:
        # Without the callback OpenSSL would ask for a password at the terminal.
        context.load_cert_chain(files.certificate, files.key, password=lambda: b"")
    except ssl.SSLError as error:
        raise Misconfigured(
            f"web.tls_certificate_file {files.certificate} and web.tls_key_file {files.key} "
            f"cannot be used: {error.reason or 'not PEM'}",
            "give a PEM certificate with its chain, and its own key without a password",
        ) from None
    except OSError as error:
        raise _unreadable(error) from None


def _unreadable(error: OSError) -> Misconfigured:
    return Misconfigured(
        f"the TLS file {error.filename or ''} cannot be read: {error.strerror}",
        "make it readable for the daemon's user, or unset web.tls_certificate_file",
    )
