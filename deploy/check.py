"""Checks what lies in deploy/ with the tools that will read it.

promtool, systemd-analyze, docker-compose, hadolint, and shellcheck for the scripts beside them.

A missing tool is named and skipped, but is an error in CI.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent
#: tools that came as wheels lie beside this Python
PATH = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])

#: what units start, which need not be here
_PROGRAMS = ("/opt/homerun/.venv/bin/homerun", "/usr/bin/python3")


def main() -> int:
    """Run every check; returns the number of those that failed."""
    rules = sorted(str(path) for path in (HERE / "prometheus/rules").glob("*.yml"))
    tests = sorted(str(path) for path in (HERE / "prometheus/tests").glob("*.yml"))
    failed = 0
    failed += _run(["promtool", "check", "config", str(HERE / "prometheus/prometheus.yml")])
    failed += _run(["promtool", "check", "rules", *rules])
    failed += _run(["promtool", "test", "rules", *tests])
    failed += _check_units()
    compose = ["docker-compose", "-f", str(ROOT / "docker-compose.yml")]
    failed += _run([*compose, "config", "-q"])
    failed += _run([*compose, "-f", str(HERE / "docker/cpu.yml"), "config", "-q"])
    failed += _run(["hadolint", str(HERE / "docker/Dockerfile")])
    scripts = sorted(str(path) for path in [ROOT / ".ci/run", *ROOT.glob("*/**/*.sh")])
    failed += _run(["shellcheck", *(item for item in scripts if "/.venv/" not in item)])
    return failed


def _check_units() -> int:
    """systemd-analyze wants the program to exist, so it is pointed at one that does.

    All units lie side by side: a socket and its service name each other.
    """
    with tempfile.TemporaryDirectory() as folder:
        copies = []
        for unit in sorted((HERE / "systemd").glob("*.s[eo]*")):
            copies.append(Path(folder) / unit.name)
            text = unit.read_text(encoding="utf-8")
            for program in _PROGRAMS:
                text = text.replace(program, "/bin/true")
            copies[-1].write_text(text)
        verify = ["systemd-analyze", "verify", "--man=no"]
        return sum(_run([*verify, str(copy)]) for copy in copies)


def _run(command: list[str]) -> int:
    program = shutil.which(command[0], path=PATH)
    if program is None:
        missing_is_red = os.environ.get("CI") == "true"
        print(f"{'FAILED' if missing_is_red else 'SKIPPED'}: {command[0]} is not installed")
        return int(missing_is_red)
    done = subprocess.run([program, *command[1:]], capture_output=True, text=True, check=False)
    output = (done.stdout + done.stderr).strip()
    bad = done.returncode != 0 or "Unknown key" in output
    if bad:
        print(output)
    print(f"{'FAILED' if bad else 'ok'}: {' '.join(command[:3])}")
    return int(bad)


if __name__ == "__main__":
    sys.exit(main())
