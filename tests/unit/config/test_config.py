"""homerun.toml: every key optional, every mistake named with its line."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from orchestrator.errors import Misconfigured
from orchestrator.settings import config as c


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "homerun.toml"


def problems_of(file: Path, text: str) -> list[str]:
    file.write_text(text)
    with pytest.raises(Misconfigured) as caught:
        c.load(file, {})
    return caught.value.message.splitlines()


def test_no_file_means_defaults_that_work(tmp_path: Path) -> None:
    config = c.load(None, {"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)})
    assert config.daemon.state_dir == str(tmp_path / ".local/state/homerun")
    assert config.daemon.stall_after == 600.0
    assert config.engine.kind == "ray"
    assert (config.web.host, config.web.port) == ("127.0.0.1", 8420)


def test_values_arrive_with_their_types(file: Path) -> None:
    file.write_text(
        '[daemon]\ntick = "500ms"\nstall_after = "1h30m"\ncrash_loop_after = 3\n'
        '[engine]\nkind = "local"\n[web]\nport = 0\nallowed_hosts = ["pc.lan"]\n'
        "[power]\nidle_watts = 20\nbusy_watts = 90.5\n"
    )
    config = c.load(file, {})
    assert config.daemon.tick == 0.5
    assert config.daemon.stall_after == 5400.0
    assert config.web.allowed_hosts == ("pc.lan",)
    assert (config.power.idle_watts, config.power.busy_watts) == (20.0, 90.5)


@pytest.mark.parametrize("given", ["tls_certificate_file", "tls_key_file"])
def test_certificate_and_key_come_together(file: Path, given: str) -> None:
    missing = {"tls_certificate_file", "tls_key_file"} - {given}
    (problem,) = problems_of(file, f'[web]\n{given} = "x.pem"\n')
    assert f"web.{missing.pop()}: give tls_certificate_file and tls_key_file" in problem


def test_files_of_the_web_side_lie_beside_the_configuration(file: Path) -> None:
    names = ("token_file", "metrics_token_file", "tls_certificate_file", "tls_key_file")
    file.write_text("[web]\n" + "".join(f'{name} = "x"\n' for name in names))
    web = c.load(file, {}).web
    assert {getattr(web, name) for name in names} == {str(file.parent / "x")}


def test_the_configuration_cannot_change_by_accident() -> None:
    with pytest.raises(ValidationError):
        c.Config().web.port = 1


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("[daemon]\ntikc = 1", 2, "daemon.tikc: unknown key; did you mean 'tick'?"),
        ("\n[deamon]\ntick = 1", 2, "deamon: unknown key; did you mean 'daemon'?"),
        ("[power]\nzzz = 1", 2, "power.zzz: unknown key; known here: address, busy_watts"),
        ("daemon = 7", 1, "daemon: must be a table, not a number"),
        ("[daemon]\ntick = 5", 2, 'daemon.tick: must be a duration with its unit, such as "90s"'),
        ("[daemon]\ntick = true", 2, "daemon.tick: must be a duration"),
        ('[daemon]\ntick = "5"', 2, "daemon.tick: no duration: '5'; write it as 90s"),
        ('[daemon]\ntick = "0s"', 2, "daemon.tick: must be more than 0 (is 0)"),
        ('[daemon]\ncrash_loop_after = "5"', 2, "daemon.crash_loop_after: must be a whole number"),
        ("[daemon]\ncrash_loop_after = 0", 2, "daemon.crash_loop_after: must be at least 1 (is 0)"),
        ("[daemon]\ncrash_loop_after = 1.5", 2, "daemon.crash_loop_after: must be a whole number"),
        ('[daemon]\nlog_level = "inf"', 2, "no such choice 'inf'; did you mean 'info'?"),
        ('[engine]\nkind = "k8s"', 2, "no such choice 'k8s'; choose one of ray, local"),
        ("[engine]\nobject_store_bytes = 1", 2, "must be at least 78,643,200 (is 1)"),
        ("[web]\nport = 70000", 2, "web.port: must be at most 65,535 (is 70000)"),
        ("[web]\nport = true", 2, "web.port: must be a whole number, not true or false"),
        ('[web]\nallowed_hosts = "pc"', 2, "web.allowed_hosts: must be a list of texts"),
        ("[web]\nallowed_hosts = [1]", 2, "web.allowed_hosts[0]: must be a text, not a number"),
        ('[web]\nhost = ""', 2, "web.host: must not be empty"),
        ("[power]\nbusy_watts = nan", 2, "power.busy_watts: must be"),
        ("[power]\nbusy_watts = -1", 2, "power.busy_watts: must be at least 0"),
        ("[power]\nbusy_watts = 3", 2, "power.busy_watts: must not be below idle_watts"),
        (
            '[power]\nmeter = "shely"',
            2,
            "power.meter: no such choice 'shely'; did you mean 'shelly'",
        ),
        ('[power]\nmeter = "shelly"', 1, "power.address: must be set for shelly, such as http://"),
        (
            '[power]\nmeter = "home_assistant"\naddress = "http://ha"',
            1,
            "power.entity: must be set",
        ),
        ('[power]\npoll = "0.5s"', 2, "power.poll: must be at least 1"),
        ('[daemon]\nbackoff_first = "1h"', 1, "daemon.backoff_max: must not be below"),
        ('[store]\nurl = "sqlite://"\nurl_file = "x"', 3, "store.url_file: give url or url_file"),
        ("[web\n", 1, "not TOML"),
        ("[web]\nport = 1\nport = 2", 3, "not TOML"),
    ],
)
def test_every_mistake_is_named_with_its_line(
    file: Path, text: str, line: int, message: str
) -> None:
    (problem,) = problems_of(file, text)
    assert problem.startswith(f"{file}:{line}: ")
    assert message in problem


def test_all_mistakes_are_told_at_once_in_the_order_of_the_file(file: Path) -> None:
    problems = problems_of(
        file,
        '[web]\nhost = "0.0.0.0"\nport = "x"\n\n[daemon]\ntikc = 1\nlog_level = "loud"\n[oops]\n',
    )
    assert [problem.removeprefix(f"{file}:").split(":")[0] for problem in problems] == [
        "2",
        "3",
        "6",
        "7",
        "8",
    ]


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7", "pc.lan", "8.8.8.8"])
def test_an_address_that_others_reach_needs_a_token(file: Path, host: str) -> None:
    (problem,) = problems_of(file, f'[web]\nhost = "{host}"\n')
    assert problem.startswith(f"{file}:2: web.host: ")
    assert "token_file" in problem
    file.write_text(f'[web]\nhost = "{host}"\ntoken_file = "token"\n')
    assert c.load(file, {}).web.host == host


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "[::1]", "localhost"])
def test_loopback_needs_none(file: Path, host: str) -> None:
    file.write_text(f'[web]\nhost = "{host}"\n')
    assert c.load(file, {}).web.host == host


def test_the_rule_holds_for_configurations_made_in_code_too() -> None:
    with pytest.raises(ValidationError, match="token_file must be set"):
        c.WebConfig(host="0.0.0.0")


def test_durations_made_in_code_are_seconds() -> None:
    assert c.DaemonConfig(tick=0.05).tick == 0.05


def test_relative_paths_count_from_the_file(file: Path) -> None:
    file.write_text(
        '[daemon]\nstate_dir = "state"\n[web]\ntoken_file = "~/token"\n[store]\nurl_file = "/u"\n'
    )
    config = c.load(file, {})
    assert config.daemon.state_path == file.parent / "state"
    assert config.web.token_file == str(Path("~/token").expanduser())
    assert config.store.url_file == "/u"


@pytest.mark.parametrize(
    "content",
    [b"\xff\xfe[web]", None],
)
def test_a_file_that_cannot_be_read_is_named(file: Path, content: bytes | None) -> None:
    if content is None:
        file.mkdir()
    else:
        file.write_bytes(content)
    with pytest.raises(Misconfigured, match=r"homerun\.toml: cannot be read"):
        c.load(file, {})


def test_the_view_masks_passwords_and_keeps_the_rest() -> None:
    store = c.StoreConfig(url="postgresql+psycopg://me:p@ss@db:5432/h")
    view = c.view(c.Config(store=store))
    assert view["store"]["url"] == "postgresql+psycopg://me:***@db:5432/h"
    assert view["daemon"]["stall_after"] == "10m"
    for url in ("postgresql://me@db/h", "sqlite:////x/y.sqlite", "postgresql:///h"):
        assert c.view(c.Config(store=c.StoreConfig(url=url)))["store"]["url"] == url
