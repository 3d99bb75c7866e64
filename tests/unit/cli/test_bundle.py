"""The bundle: secrets are sown everywhere, and none of them may be in the archive."""

from __future__ import annotations

import json
import socket
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator import domain as d
from orchestrator.cli.redaction import Redactor
from orchestrator.settings.config import load, view
from tests.unit.cli import api_double as api
from tests.unit.cli.api_double import Answer, ApiDouble, error
from tests.unit.cli.conftest import Run

#: each of them is secret, wherever it stands
SECRETS = {
    "web token": "wEbT0ken-of-the-house",
    "metrics token": "just a few words",
    "price token": "0123456789abcdef0123456789abcdef",
    "mqtt password": "päss wörd/1",
    "database password": "db-pa55",
    "telegram token": "987654321:AAEhBOweik6ad9r_QXMENQjcrGbqCr4K-bc",
    "ntfy topic": "my-very-own-topic",
    "environment": "env-t0ken-value",
    "webhook": "T0001/B0002/Xy9aZ",
    "unknown": "sk-Zx81KqLmN0pQrStUvWxYz2345",
    "mail": "jane.doe@example.org",
    "neighbour": "192.168.17.42",
    "neighbour6": "2001:db8:77::4242",
    "mac": "de:ad:be:ef:00:17",
    "nas": "nas.doe-family.lan",
    "machine": "janes-tower",
    "plug": "plug-under-the-desk",
    "person": "janedoe",
    "card": "GPU-5f3a9c10-1b2c-4d5e-8f90-aabbccddeeff",
}


@pytest.fixture
def sown(double: ApiDouble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home full of secrets: files, configuration, environment, journal, logs, spec."""
    home = tmp_path / "home" / SECRETS["person"]
    state = home / "state"
    (state / "runs" / "first-run").mkdir(parents=True)
    for name, key in (
        ("web", "web token"), ("metrics", "metrics token"), ("price", "price token"),
        ("mqtt", "mqtt password"),
    ):  # fmt: skip
        (home / name).write_text(SECRETS[key] + "\n", encoding="utf-8")
    telegram = f"tgram://{SECRETS['telegram token']}/12345"
    (home / "urls").write_text(f"{telegram}\nntfy://{SECRETS['ntfy topic']}\n")
    config = home / "homerun.toml"
    config.write_text(
        f'[daemon]\nstate_dir = "{state}"\n'
        f'[web]\ntoken_file = "web"\nmetrics_token_file = "metrics"\n'
        f'allowed_hosts = ["{SECRETS["nas"]}"]\n'
        f'[store]\nurl = "postgresql://{SECRETS["person"]}:{SECRETS["database password"]}'
        f'@{SECRETS["nas"]}/homerun"\n'
        '[notify]\nurls_file = "urls"\n'
        f'[mqtt]\nhost = "{SECRETS["nas"]}"\nusername = "{SECRETS["person"]}"\n'
        'password_file = "mqtt"\n'
        f'[power]\nmeter = "shelly"\naddress = "http://{SECRETS["plug"]}"\n'
    )
    monkeypatch.setenv("HOMERUN_CONFIG", str(config))
    monkeypatch.setenv("HOMERUN_TOKEN", SECRETS["environment"])
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("USER", SECRETS["person"])
    monkeypatch.setattr(socket, "gethostname", lambda: SECRETS["machine"])
    everything = log_text(home)
    (state / "homerun.log").write_text(everything, encoding="utf-8")
    double.set("GET", "logs", Answer({"file": "x", "lines": everything.splitlines()}))
    entry = d.JournalEntry(1, api.NOW, "note", everything, data={"token": SECRETS["unknown"]})
    double.set("GET", "journal", Answer(d.to_json([entry])))
    held = api.hold(detail=everything)
    shown = api.snapshot(headline=everything, holds=(held,), journal=(entry,))
    double.set("GET", "status", Answer(d.to_json(shown)))
    spec = {"name": "first-run", "data": {"corpus": f"{home}/letters"}, "sample_prompt": "Dear Jo"}
    run = replace(api.RUNS[0], spec=spec, sample="a letter to Jo", model_path=f"{state}/runs/x")
    double.set("GET", "runs", Answer(d.to_json([run])))
    double.set("GET", "energy", Answer({"lines": []}))
    double.set("GET", "config", Answer(view(load(config))))
    return home


def log_text(home: Path) -> str:
    """A log in which each of them stands in the way that logs quote such things."""
    s = SECRETS
    return "\n".join(
        [
            f"GET /api/v1/status Authorization: Bearer {s['web token']}",
            f"metrics said '{s['metrics token']}' was wrong",
            f'{{"api_key": "{s["price token"]}", "other": 1}}',
            f"mqtt: password={s['mqtt password']}",
            "and encoded p%C3%A4ss%20w%C3%B6rd%2F1 too",
            f"postgresql+psycopg://{s['person']}:{s['database password']}@{s['nas']}:5432/homerun",
            f"POST https://api.telegram.org/bot{s['telegram token']}/sendMessage failed",
            f"topic {s['ntfy topic']} took no message",
            f"https://hooks.slack.com/services/{s['webhook']}?x=1",
            f"unknown {s['unknown']} and {s['environment']}",
            f"write to {s['mail']} from {s['neighbour']} or [{s['neighbour6']}]:443",
            f"plug {s['mac']} of {s['machine']}, {s['machine']}.local, {s['nas']}",
            f"{home}/corpus, /home/{s['person']}/x, /Users/{s['person']}/y by {s['person']}",
            f"no answer from {s['plug']}",
            f"card {s['card']} at 127.0.0.1:8420, tick at 11:30:07",
        ]
    )


def unpacked(path: Path) -> dict[str, str]:
    with tarfile.open(path) as archive:
        return {
            member.name: (archive.extractfile(member) or pytest.fail("no file")).read().decode()
            for member in archive.getmembers()
        }


def test_no_secret_that_was_sown_is_in_the_archive(run: Run, sown: Path, tmp_path: Path) -> None:
    out = tmp_path / "bundle.tar.gz"
    result = run("bundle", "--out", str(out))
    assert result.exit_code == 0, result.stderr
    files = unpacked(out)
    parts = [*SECRETS.values(), SECRETS["webhook"].rpartition("/")[2]]
    parts += ["p%C3%A4ss", "Dear Jo", "letter to Jo", str(sown), "AAEhBOweik6ad9r", "doe-family"]
    for name, text in files.items():
        for part in parts:
            assert part not in text, f"{part!r} is in {name}"
            assert json.dumps(part)[1:-1] not in text, f"{part!r} is in {name}"
    assert out.stat().st_mode & 0o777 == 0o600


def test_what_helps_is_still_there(run: Run, sown: Path, tmp_path: Path) -> None:
    out = tmp_path / "bundle.tar.gz"
    run("bundle", "--out", str(out))
    files = {name.split("/")[1]: text for name, text in unpacked(out).items()}
    assert set(files) == {
        "README.txt", "version.json", "environment.json", "doctor.json", "config.json",
        "snapshot.json", "runs.json", "journal.json", "energy.json", "homerun.log", "trainer.log",
    }  # fmt: skip
    assert "missing" not in files["README.txt"]
    assert "127.0.0.1:8420, tick at 11:30:07" in files["trainer.log"]
    assert "GET /api/v1/status" in files["homerun.log"]
    config = json.loads(files["config.json"])
    assert config["daemon"]["tick"] == "1s"
    assert config["mqtt"]["host"] == "<host>"
    assert config["mqtt"]["password_file"] == "~/mqtt"
    (spec,) = json.loads(files["runs.json"])
    assert spec["spec"]["data"]["corpus"] == "~/letters"
    assert spec["steps"] == 18310
    assert {check["name"] for check in json.loads(files["doctor.json"])} >= {"python", "config"}
    assert json.loads(files["snapshot.json"])["run"]["step"] == 1204
    assert json.loads(files["snapshot.json"])["time"] == "2026-12-01T10:30:00Z"


def test_without_a_daemon_the_rest_is_packed_and_what_is_missing_is_named(
    run: Run, no_daemon: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = tmp_path / "state"
    (state / "runs" / "a").mkdir(parents=True)
    (state / "runs" / "a" / "trainer.log").write_text("out of memory\n")
    monkeypatch.setenv("HOMERUN_STATE_DIR", str(state))
    out = tmp_path / "bundle.tar.gz"
    assert run("bundle", "--out", str(out)).exit_code == 0
    files = {name.split("/")[1]: text for name, text in unpacked(out).items()}
    assert files["trainer.log"] == "out of memory\n"
    for name in ("snapshot.json", "journal.json", "homerun.log"):
        assert name not in files
        assert f"{name} is missing" in files["README.txt"]


def test_a_wrong_configuration_is_no_reason_to_have_no_bundle(
    run: Run, double: ApiDouble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = tmp_path / "wrong.toml"
    wrong.write_text("[daemon]\ntick = 3\n")
    monkeypatch.setenv("HOMERUN_CONFIG", str(wrong))
    double.set("GET", "journal", error("internal", 500, "broken"))
    out = tmp_path / "bundle.tar.gz"
    assert run("bundle", "--out", str(out)).exit_code == 0
    files = {name.split("/")[1]: text for name, text in unpacked(out).items()}
    assert "config.json is missing" in files["README.txt"]
    assert "journal.json is missing: broken" in files["README.txt"]
    assert "snapshot.json" in files


def test_nothing_is_written_over(run: Run, double: ApiDouble, tmp_path: Path) -> None:
    out = tmp_path / "there"
    out.write_text("mine")
    result = run("bundle", "--out", str(out))
    assert result.exit_code == 77
    assert "is there already" in result.stderr
    assert out.read_text() == "mine"
    assert run("bundle", "--out", str(tmp_path / "no" / "x")).exit_code == 77


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("at http://127.0.0.1:8420/api/v1/x?token=abc", "at http://127.0.0.1:8420/api/v1/x"),
        ("sqlite:////var/lib/homerun/homerun.sqlite", "sqlite:////var/lib/homerun/homerun.sqlite"),
        ("s3://key:word@bucket/x", "s3://***"),
        ("version 0.1.0, Python 3.11.7", "version 0.1.0, Python 3.11.7"),
        ("2.13.0+cu128 on 12.8", "2.13.0+cu128 on 12.8"),
        ("Saved gen-00001200-000002-0a1b2c3d", "Saved gen-00001200-000002-0a1b2c3d"),
        ("2026-12-01T10:30:00.123456Z", "2026-12-01T10:30:00.123456Z"),
        ("loss 3.412 at 18:04:10", "loss 3.412 at 18:04:10"),
        ("batch_tokens = 256, tiktoken: 0.14, tokenizer: x", None),
        ("X-Api-Key: abc, access_token=abc", "X-Api-Key: ***, access_token=***"),
        ("password: 'a b c', next", "password: ***, next"),
        ("0.0.0.0 and 127.0.0.1 and 10.0.0.5", "0.0.0.0 and 127.0.0.1 and <address>"),
        ("orchestrator.engine.client: HTTPConnectionError2000", None),
    ],
)
def test_what_is_no_secret_stays_readable(text: str, expected: str | None) -> None:
    assert Redactor().text(text) == (text if expected is None else expected)


def test_words_are_not_torn_where_a_name_is_short() -> None:
    redactor = Redactor(secrets=["abc"], hosts=["tower"], users=["jan", "al"])
    assert redactor.text("abc in January, the towers of tower") == (
        "abc in January, the towers of <host>"
    )
