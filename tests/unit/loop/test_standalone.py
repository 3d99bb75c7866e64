"""``python -m trainer run.toml``: the trainer without any daemon."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.loop import support
from tests.unit.loop.support import HandClock, Puppeteer
from trainer import __main__ as standalone
from trainer.checkpoint import catalog
from trainer.console import ConsoleLink
from trainer.contract import messages
from trainer.contract.messages import Finished, Heartbeat, Notice, Phase, Saved, Step, Stopped
from trainer.contract.spec import RunSpec

ROOT = Path(__file__).parents[3]


@pytest.fixture
def toml(tmp_path: Path, corpus: Path) -> Path:
    """The tiny run as a person would have written it."""
    path = tmp_path / "run.toml"
    path.write_text(support.as_toml(support.tiny_spec(corpus)))
    return path


def test_killed_and_started_again_it_ends_with_the_same_bytes(
    corpus: Path, tmp_path: Path, data_dir: Path
) -> None:
    spec = support.tiny_spec(corpus, steps=8, every_steps=2)
    (tmp_path / "run.toml").write_text(support.as_toml(spec))
    run_dir = tmp_path / "killed"
    command = [sys.executable, "-m", "trainer", str(tmp_path / "run.toml"), "--json"]
    with subprocess.Popen(
        [*command, "--dir", str(run_dir)], cwd=ROOT, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if isinstance(messages.decode(line), Saved):
                process.kill()
                break
        process.stdout.read()
    assert process.returncode == -signal.SIGKILL
    assert standalone.main([str(tmp_path / "run.toml"), "--dir", str(run_dir)]) == 0
    assert support.train(support.job_for(spec, tmp_path / "straight", data_dir)) == 0
    assert support.fingerprint(run_dir) == support.fingerprint(tmp_path / "straight")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_says_at_which_step_it_stands(
    corpus: Path,
    tmp_path: Path,
    number: signal.Signals,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spec = support.tiny_spec(corpus, steps=4000, eval_every_steps=0)
    (tmp_path / "run.toml").write_text(support.as_toml(spec))
    seen: list[int] = []

    class Signalled(ConsoleLink):
        def send(self, event: messages.Event) -> None:
            super().send(event)
            if isinstance(event, Step) and event.step == 3:
                seen.append(event.step)
                signal.raise_signal(number)

    monkeypatch.setattr(standalone, "ConsoleLink", Signalled)
    before = signal.getsignal(number)
    run_dir = tmp_path / "tiny"
    assert standalone.main([str(tmp_path / "run.toml"), "--dir", str(run_dir)]) == 0
    assert seen == [3]
    assert "stands at step 3" in capsys.readouterr().out
    assert catalog.list_checkpoints(run_dir)[0].step == 3
    assert signal.getsignal(number) == before


def test_at_the_end_it_says_all_that_matters(
    toml: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert standalone.main([str(toml)]) == 0
    out = capsys.readouterr().out
    model = next(line for line in out.splitlines() if line.startswith("  model"))
    assert Path(model.split()[-1]).is_file()
    assert str(tmp_path / "runs" / "tiny") in model
    assert "bits per byte before" in out
    assert "'the run" in out
    assert (tmp_path / "runs" / "data").is_dir()


def test_every_event_as_a_line_of_json(
    toml: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert standalone.main([str(toml), "--json", "--dir", str(tmp_path / "tiny")]) == 0
    events = [messages.decode(line) for line in capsys.readouterr().out.splitlines()]
    assert isinstance(events[0], Phase)
    assert isinstance(events[-1], Finished)
    assert sum(isinstance(event, Step) for event in events) == support.STEPS


def test_old_checkpoints_are_thinned_out_as_it_goes(corpus: Path, tmp_path: Path) -> None:
    spec = support.tiny_spec(corpus, steps=7, every_steps=1, keep=2, eval_every_steps=0)
    (tmp_path / "run.toml").write_text(support.as_toml(spec))
    run_dir = tmp_path / "tiny"
    assert standalone.main([str(tmp_path / "run.toml"), "--dir", str(run_dir)]) == 0
    assert [entry.step for entry in catalog.list_checkpoints(run_dir)] == [7, 6]


def test_each_start_is_another_attempt(toml: Path, tmp_path: Path) -> None:
    run_dir = tmp_path / "tiny"
    for _ in range(2):
        assert standalone.main([str(toml), "--json", "--dir", str(run_dir)]) == 0
    assert (run_dir / "fence").read_text().split()[2] == "2"


def test_a_bad_spec_is_refused_with_every_problem(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "run.toml"
    path.write_text('name = "Bad Name"\nsead = 3\n[model]\ndepth = 0\n')
    assert standalone.main([str(path)]) == 78
    problems = capsys.readouterr().err
    assert f"{path}:2: sead: unknown key; did you mean 'seed'?" in problems
    assert f"{path}:4: model.depth: must be at least 1" in problems
    assert not (tmp_path / "runs").exists()


def test_a_spec_that_is_not_there_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert standalone.main([str(tmp_path / "gone.toml")]) == 78
    assert "gone.toml: no such file" in capsys.readouterr().err


def test_a_failure_is_told_on_standard_error_without_a_traceback(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = support.tiny_spec(tmp_path / "nowhere")
    (tmp_path / "run.toml").write_text(support.as_toml(spec))
    assert standalone.main([str(tmp_path / "run.toml"), "--dir", str(tmp_path / "tiny")]) == 1
    err = capsys.readouterr().err
    assert "run tiny failed" in err
    assert "Traceback" not in err


class Terminal:
    """Somewhere to write to, a terminal or not."""

    def __init__(self, *, is_tty: bool, breaks: bool = False) -> None:
        self.text = ""
        self._is_tty = is_tty
        self._breaks = breaks

    def isatty(self) -> bool:
        return self._is_tty

    def write(self, text: str) -> int:
        if self._breaks:
            raise BrokenPipeError
        self.text += text
        return len(text)

    def flush(self) -> None:
        pass


def steps(count: int) -> list[Step]:
    return [
        Step(number, count, number * 10, 0.1, 3.0, 1.0, 1.0, 0.2, 50.0, 0.3, {})
        for number in range(1, count + 1)
    ]


def test_on_a_terminal_one_line_is_drawn_again_and_again() -> None:
    clock, out = HandClock(), Terminal(is_tty=True)
    link = ConsoleLink(out, clock)
    for step in steps(40):
        link.send(step)
        clock.sleep(0.1)
    link.send(Notice("n", "something happened"))
    assert out.text.count("\n") == 1
    assert 8 <= out.text.count("\rstep".replace("step", "\x1b[Kstep")) <= 10
    assert out.text.endswith("warning: something happened\n")


def test_elsewhere_a_line_is_added_now_and_then_and_the_last_step_always() -> None:
    clock, out = HandClock(), Terminal(is_tty=False)
    link = ConsoleLink(out, clock)
    for step in steps(120):
        link.send(step)
        clock.sleep(0.1)
    lines = out.text.splitlines()
    assert [line.split()[1] for line in lines] == ["1/120", "51/120", "101/120", "120/120"]
    assert "\x1b" not in out.text


def test_a_closed_pipe_ends_what_is_shown_not_what_is_trained() -> None:
    link = ConsoleLink(Terminal(is_tty=False, breaks=True), HandClock())
    events: list[messages.Event] = [*steps(3), Heartbeat(1, 1, 3), Stopped(3, "stop")]
    for event in events:
        link.send(event)
    assert link.end == Stopped(3, "stop")


def test_the_standalone_run_and_the_bare_loop_end_with_the_same_bytes(
    toml: Path, tmp_path: Path, spec: RunSpec, undisturbed: dict[str, str]
) -> None:
    assert standalone.main([str(toml), "--json", "--dir", str(tmp_path / "tiny")]) == 0
    assert support.fingerprint(tmp_path / "tiny") == undisturbed
    again = Puppeteer()
    job = support.job_for(spec, tmp_path / "tiny", tmp_path / "data")
    assert support.train(job, again) == 0
    assert isinstance(again.last, Finished)
