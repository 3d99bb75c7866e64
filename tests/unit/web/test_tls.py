"""TLS: the certificate's files, their renewal, and what a wrong one says."""

from __future__ import annotations

import shutil
import socket
import ssl
from pathlib import Path

import httpx
import pytest

from orchestrator.errors import Misconfigured
from orchestrator.settings.web_config import WebConfig
from orchestrator.web.settings import Settings
from orchestrator.web.tls import CertificateFiles, Tls, tls_of

from .conftest import Serve
from .tools import certificate

TOKEN = "correct-horse-battery"


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> tuple[CertificateFiles, CertificateFiles]:
    directory = tmp_path_factory.mktemp("certificates")
    return certificate(directory, "one"), certificate(directory, "two")


Two = tuple[CertificateFiles, CertificateFiles]


@pytest.fixture
def files(two: Two, tmp_path: Path) -> CertificateFiles:
    """A pair of this test's own, which it may replace."""
    own = CertificateFiles(tmp_path / "own.pem", tmp_path / "own.key")
    put(two[0], own)
    return own


def put(source: CertificateFiles, target: CertificateFiles) -> None:
    """As certbot does: the new file is renamed over the old one."""
    for old, new in (
        (source.certificate, target.certificate),
        (source.key, target.key),
    ):
        beside = new.with_suffix(".new")
        shutil.copy(old, beside)
        beside.replace(new)


def shown(port: int) -> str:
    return ssl.get_server_certificate(("127.0.0.1", port), timeout=10)


def test_page_is_served_under_the_certificate_with_a_secure_cookie(
    serve: Serve, files: CertificateFiles
) -> None:
    site = serve(Settings(token=TOKEN), tls=Tls(files))
    assert site.server.url == f"https://127.0.0.1:{site.server.port}"
    answer = site.client.post("/login", data={"token": TOKEN}, headers={"origin": site.server.url})
    assert answer.status_code == 303
    assert "; secure" in answer.headers["set-cookie"].lower()
    assert site.client.get("/api/v1/status").status_code == 200


def test_renewed_certificate_is_shown_from_the_next_connection_on(
    serve: Serve, files: CertificateFiles, two: Two
) -> None:
    tls = Tls(files)
    site = serve(tls=tls)
    assert shown(site.server.port) == two[0].certificate.read_text()
    assert tls.renew() is False
    put(two[1], files)
    assert tls.renew() is True
    assert shown(site.server.port) == two[1].certificate.read_text()
    assert tls.renew() is False


def test_half_a_renewal_leaves_the_old_certificate_in_use(
    serve: Serve, files: CertificateFiles, two: Two
) -> None:
    tls = Tls(files)
    site = serve(tls=tls)
    shutil.copy(two[1].certificate, files.certificate)
    with pytest.raises(Misconfigured, match="cannot be used"):
        tls.renew()
    assert shown(site.server.port) == two[0].certificate.read_text()
    files.key.unlink()
    with pytest.raises(Misconfigured, match="cannot be read"):
        tls.renew()
    put(two[1], files)
    assert tls.renew() is True
    assert shown(site.server.port) == two[1].certificate.read_text()


@pytest.mark.parametrize("content", [b"", b"no pem", b"\xff\x00"])
def test_certificate_that_is_none_is_a_wrong_configuration(
    files: CertificateFiles, content: bytes
) -> None:
    files.certificate.write_bytes(content)
    with pytest.raises(Misconfigured, match=r"web\.tls_certificate_file"):
        Tls(files)


def test_certificate_that_is_missing_is_a_wrong_configuration(tmp_path: Path) -> None:
    name = str(tmp_path / "none.pem")
    with pytest.raises(Misconfigured, match=r"none\.pem cannot be read"):
        tls_of(WebConfig(tls_certificate_file=name, tls_key_file=name))
    assert tls_of(WebConfig()) is None


def test_old_protocols_are_refused(serve: Serve, files: CertificateFiles) -> None:
    site = serve(tls=Tls(files))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with (
        socket.create_connection(("127.0.0.1", site.server.port), timeout=10) as line,
        context.wrap_socket(line) as secured,
    ):
        assert secured.version() == "TLSv1.2"


def test_plain_http_on_the_tls_port_gets_nothing(serve: Serve, files: CertificateFiles) -> None:
    site = serve(tls=Tls(files))
    with pytest.raises(httpx.TransportError):
        httpx.get(f"http://127.0.0.1:{site.server.port}/healthz", trust_env=False)
