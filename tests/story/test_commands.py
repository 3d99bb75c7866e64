"""Every command against a running daemon: what it does, what it survives, what it refuses."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.story.house import House, spec_text, trainer_pid, wait_for

LONG = 1_000_000


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """One daemon and one endless run for all the commands that leave it running."""
    house = House(tmp_path_factory.mktemp("commands") / "house").start()
    house.submit(steps=LONG, every_seconds="2")
    house.wait_step(3)
    yield house
    house.close()


def as_json(house: House, *words: str) -> Any:
    done = house.homerun(*words, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_status_tells_it_in_one_screen(home: House) -> None:
    done = home.homerun("status")
    assert done.returncode == 0
    assert "tiny" in done.stdout
    assert "tokens/s" in done.stdout
    assert "estimated" in done.stdout or "measured" in done.stdout
    assert home.address()["url"] in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_status_as_json_is_the_snapshot(home: House) -> None:
    status = as_json(home, "status")
    assert status["schema"] == 1
    assert status["run"]["name"] == "tiny"
    assert status["run"]["loss"] > 0
    assert trainer_pid(status) is not None


def test_a_pause_acts_at_once_keeps_the_process_and_resume_goes_on(home: House) -> None:
    pid = trainer_pid(home.wait_step(1))
    assert home.homerun("pause", "--for", "2h", "-m", "gaming").returncode == 0
    paused = home.wait_status("the pause", lambda s: s["run"]["phase"] == "paused")
    assert "gaming" in paused["headline"]
    assert paused["holds"][0]["until"]
    step = home.status()["run"]["step"]
    assert trainer_pid(paused) == pid
    assert home.homerun("resume").returncode == 0
    resumed = home.wait_status("progress", lambda s: s["run"]["step"] > step + 2)
    assert trainer_pid(resumed) == pid


def test_a_release_saves_frees_the_memory_and_resume_goes_on_from_there(home: House) -> None:
    pid = trainer_pid(home.wait_step(1))
    assert home.homerun("pause", "--release").returncode == 0
    released = home.wait_status("the end of the trainer", lambda s: trainer_pid(s) is None)
    home.wait_status("the end of the engine", lambda s: s["daemon"]["engine_state"] == "off")
    stands = released["run"]["checkpoint"]["step"]
    assert stands == home.status()["run"]["step"]
    held = home.homerun("checkpoints", "save")
    assert held.returncode == 75
    assert "held by user" in held.stderr
    assert home.homerun("resume").returncode == 0
    again = home.wait_status("the next attempt", lambda s: s["run"]["step"] > stands)
    assert trainer_pid(again) not in (None, pid)
    ready = [entry for entry in home.journal() if entry["kind"] == "resumed"][-1]
    assert ready["data"]["step"] == stands
    assert ready["data"]["lost_steps"] == 0


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (["pause", "--for", "soon"], 2, "soon"),
        (["pause", "--until", "2020-01-01T10:00"], 2, "has passed"),
        (["pause", "--for", "2h", "--until", "18:00"], 2, ""),
        (["pause", "nobody"], 1, "no run 'nobody'"),
        (["resume", "tony"], 1, "did you mean 'tiny'"),
        (["checkpoints", "list", "nobody"], 1, "no run 'nobody'"),
        (["checkpoints", "verify", "--name", "gen-x"], 1, "no checkpoint"),
        (["submit", "/nowhere.toml"], 78, "no such file"),
        (["frobnicate"], 2, "frobnicate"),
        (["logs", "nobody"], 1, "no run 'nobody'"),
        (["cancel", "nobody"], 1, "no run 'nobody'"),
        (["events", "-n", "-5"], 2, ""),
    ],
)
def test_bad_words_are_refused_with_the_right_code(
    home: House, words: list[str], code: int, text: str
) -> None:
    done = home.homerun(*words)
    assert done.returncode == code, (done.stdout, done.stderr)
    assert text in done.stderr
    assert "Traceback" not in done.stderr


def test_a_bad_spec_is_refused_with_every_line_named(home: House) -> None:
    path = home.root / "bad.toml"
    text = spec_text(home.root / "corpus", name="bad").replace("depth", "depht")
    path.write_text(text.replace("steps = 60", 'steps = "many"'), encoding="utf-8")
    done = home.homerun("submit", str(path))
    assert done.returncode == 78
    assert "did you mean 'depth'" in done.stderr
    assert f"{path}:" in done.stderr
    assert "train.steps" in done.stderr


def test_a_name_that_is_taken_is_refused(home: House) -> None:
    done = home.homerun("submit", str(home.root / "tiny.toml"))
    assert done.returncode == 77
    assert "tiny" in done.stderr


def test_submit_queues_and_cancel_takes_out(home: House) -> None:
    home.submit(name="later")
    names = {run["name"]: run["state"] for run in as_json(home, "runs")["runs"]}
    assert names == {"tiny": "active", "later": "queued"}
    assert home.homerun("cancel", "later").returncode == 0
    names = {run["name"]: run["state"] for run in as_json(home, "runs")["runs"]}
    assert names["later"] == "cancelled"


def test_a_checkpoint_on_request_is_listed_and_verified(home: House) -> None:
    saved = home.homerun("checkpoints", "save")
    assert saved.returncode == 0, saved.stderr
    listed = as_json(home, "checkpoints", "list")["checkpoints"]
    assert listed[0]["step"] >= 1
    done = home.homerun("checkpoints", "verify")
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_damaged_checkpoint_is_named_by_verify(home: House) -> None:
    home.homerun("pause")
    home.wait_status("the pause", lambda s: s["run"]["phase"] == "paused")
    assert home.homerun("checkpoints", "save").returncode == 0
    oldest = sorted((home.run_dir() / "checkpoints").glob("gen-*"))[0]
    weights = bytearray((oldest / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (oldest / "model.safetensors").write_bytes(bytes(weights))
    done = home.homerun("checkpoints", "verify")
    assert done.returncode == 1
    assert oldest.name in done.stdout + done.stderr
    assert "model.safetensors" in done.stdout + done.stderr
    home.homerun("resume")


def test_events_and_logs_tell_what_happened(home: House) -> None:
    events = home.homerun("events", "-n", "1000")
    assert events.returncode == 0
    assert "Attempt 1 at tiny started" in events.stdout
    logs = home.homerun("logs", "-n", "5")
    assert logs.returncode == 0
    assert 1 <= len(logs.stdout.splitlines()) <= 5


def test_config_and_version_and_doctor_answer(home: House) -> None:
    assert home.homerun("config", "check").returncode == 0
    assert 'kind = "local"' in home.homerun("config", "show").stdout
    version = as_json(home, "version")
    assert version["version"]
    doctor = home.homerun("doctor")
    assert doctor.returncode == 0, doctor.stdout
    assert "Traceback" not in doctor.stdout + doctor.stderr


def test_metrics_are_there_for_prometheus(home: House) -> None:
    import urllib.request

    with urllib.request.urlopen(f"{home.address()['url']}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    assert 'homerun_train_steps_total{run="tiny"}' in text
    assert 'homerun_hold_active{reason="tariff",run="tiny"} 0.0' in text


def test_pause_and_its_end_survive_a_killed_daemon(make_house: Any) -> None:
    house: House = make_house().start()
    house.submit(steps=LONG)
    house.wait_step(2)
    assert house.homerun("pause", "--release", "--for", "3h", "-m", "holiday").returncode == 0
    until = house.wait_status("the hold", lambda s: s["holds"])["holds"][0]["until"]
    house.kill()
    house.wait_gone(10)
    house.start()
    status = house.wait_status("the hold", lambda s: s["holds"])
    assert status["holds"][0]["until"] == until
    assert status["holds"][0]["detail"] == "holiday"
    assert trainer_pid(status) is None


def test_finish_stops_at_the_next_checkpoint_and_resume_goes_on(make_house: Any) -> None:
    house: House = make_house().start()
    house.submit(steps=LONG, every_seconds="1")
    house.wait_step(2)
    assert house.homerun("finish").returncode == 0
    status = house.wait_status("the end of the trainer", lambda s: trainer_pid(s) is None)
    assert status["run"]["checkpoint"]["step"] == status["run"]["step"]
    assert house.homerun("resume").returncode == 0
    house.wait_status("progress", lambda s: s["run"]["step"] > status["run"]["step"])


def test_commands_without_a_daemon_say_how_to_start_one(house: House) -> None:
    # the usual port may belong to a daemon of the person who runs the tests
    with socket.create_server(("127.0.0.1", 0)) as listening:
        nobody = listening.getsockname()[1]
    text = house.config.read_text(encoding="utf-8")
    house.config.write_text(text.replace("port = 0", f"port = {nobody}"), encoding="utf-8")
    assert house.homerun("status").returncode == 3
    done = house.homerun("pause")
    assert done.returncode == 69
    assert "homerun serve" in done.stderr


def test_a_signal_saves_and_the_next_start_goes_on_from_that_step(make_house: Any) -> None:
    house: House = make_house().start()
    house.submit(steps=LONG, every_seconds="600")
    house.wait_step(5)
    assert house.terminate() == 0
    last = house.output().splitlines()[-1]
    assert "stands at step" in last
    step = int(last.split("stands at step ")[1].split()[0])
    assert step >= 5
    house.wait_gone()
    house.start()
    house.wait_status("progress", lambda s: s["run"]["step"] > step)
    resumed = [entry for entry in house.journal() if entry["kind"] == "resumed"]
    assert resumed[-1]["data"]["step"] == step
    assert resumed[-1]["data"]["lost_steps"] == 0


def test_the_queue_goes_on_with_the_next_run(make_house: Any) -> None:
    house: House = make_house().start()
    house.submit(name="first", steps=20)
    house.submit(name="second", steps=20)
    house.wait_finished("second")
    finished = [e["run"] for e in house.journal() if e["kind"] == "run_finished"]
    assert finished == ["first", "second"]


def test_a_hung_trainer_is_killed_and_training_goes_on(make_house: Any) -> None:
    import os
    import signal

    house: House = make_house(daemon_options={"stall_after": '"2s"'}).start()
    house.submit(steps=LONG)
    status = house.wait_status("a checkpoint", lambda s: s["run"] and s["run"]["checkpoint"])
    pid = trainer_pid(status)
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    house.wait_status("another trainer", lambda s: trainer_pid(s) not in (None, pid))
    stalled = [a for a in house.run_record()["attempts"] if a["end"] == "stalled"]
    assert "no sign of life" in stalled[0]["cause"]


def test_exported_weights_are_there_without_a_daemon(make_house: Any, tmp_path: Path) -> None:
    house: House = make_house().start()
    house.submit(steps=20)
    house.wait_finished()
    assert house.terminate() == 0
    out = tmp_path / "hf"
    done = house.homerun("export", "tiny", "--to", "hf", str(out), timeout=120)
    assert done.returncode == 0, done.stderr
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= {
        path.name for path in out.iterdir()
    }
    again = house.homerun("export", "tiny", "--to", "hf", str(out), timeout=120)
    assert again.returncode == 77
    assert "not empty" in again.stderr
    wait_for("nothing left", lambda: not house.leftovers())
