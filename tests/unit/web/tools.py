"""Programs of the distribution that some tests need."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from orchestrator.web.tls import CertificateFiles


def tool_or_skip(name: str, package: str) -> str:
    """The program's path. Where CI is set it must be there; elsewhere its tests are skipped."""
    found = shutil.which(name)
    if found is not None:
        return found
    why = f"no {name} here: apt-get install --no-install-recommends {package}"
    if os.environ.get("CI"):
        pytest.fail(why)
    pytest.skip(why)


def certificate(directory: Path, name: str, *names: str) -> CertificateFiles:
    """A new certificate for ``names`` that signs itself, made by the real openssl."""
    files = CertificateFiles(directory / f"{name}.pem", directory / f"{name}.key")
    subject = ",".join(names or ("DNS:pc.lan",))
    command = [
        tool_or_skip("openssl", "openssl"), "req", "-x509", "-newkey", "ec",
        "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc", "-days", "2",
        "-subj", "/CN=homerun", "-addext", f"subjectAltName={subject}",
        "-out", str(files.certificate), "-keyout", str(files.key),
    ]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True)
    return files
