"""Pause, resume, save, finish, stop: what a person can ask of a trainer at work."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.loop import support
from tests.unit.loop.support import HandClock, Puppeteer
from trainer.announce import Announcer
from trainer.checkpoint import catalog
from trainer.contract.job import Job
from trainer.contract.messages import (
    Command,
    Evaluated,
    Event,
    Finish,
    Finished,
    Heartbeat,
    Notice,
    Pause,
    Phase,
    Ready,
    Resume,
    Save,
    Saved,
    SaveFailed,
    Step,
    Stop,
    Stopped,
)
from trainer.contract.spec import RunSpec
from trainer.desk import Desk


class AfterStep:
    """Gives ``commands`` once, when the step is done."""

    def __init__(self, step: int, *commands: Command) -> None:
        self._step = step
        self._commands = list(commands)

    def __call__(self, event: Event) -> list[Command]:
        if isinstance(event, Step) and event.step == self._step:
            return self._commands
        return []


class AtPhase:
    """Gives ``commands`` once, when the phase is first told."""

    def __init__(self, phase: str, *commands: Command) -> None:
        self._phase = phase
        self._commands = list(commands)

    def __call__(self, event: Event) -> list[Command]:
        if isinstance(event, Phase) and event.phase == self._phase:
            given, self._commands = self._commands, []
            return given
        return []


def test_a_pause_keeps_the_state_and_the_end_is_the_same(
    job: Job, run_dir: Path, undisturbed: dict[str, str]
) -> None:
    link = Puppeteer(AfterStep(2, Pause(), Pause(), Resume()))
    assert support.train(job, link) == 0
    phases = [event.phase for event in link.of(Phase)]
    assert phases[phases.index("paused") + 1] == "train"
    assert support.fingerprint(run_dir) == undisturbed


def test_a_pause_is_answered_within_one_micro_batch(job: Job) -> None:
    """The very next time that the trainer asks, it stands still until it is told to go on."""
    told: list[int] = []

    class Watcher(Puppeteer):
        def wait(self, timeout_seconds: float) -> Command | None:
            told.append(self.polls)
            return Resume()

        def poll(self) -> Command | None:
            super().poll()
            return Pause() if self.polls == 10 else None

    assert support.train(job, Watcher()) == 0
    assert told == [10]


def test_while_paused_it_says_so_every_second_and_computes_nothing() -> None:
    clock = HandClock()

    class Waiting(Puppeteer):
        def wait(self, timeout_seconds: float) -> Command | None:
            clock.sleep(timeout_seconds)
            return Resume() if clock.monotonic() >= 1010.0 else None

    link = Waiting()
    link.commands.append(Pause())
    desk = Desk(link, Announcer(link, clock), clock)
    desk.answer()
    paused = [event for event in link.of(Phase) if event.phase == "paused"]
    assert 9 <= len(paused) <= 11
    assert desk.away_seconds == pytest.approx(10.0)


def test_a_save_while_paused_is_answered_and_the_pause_stays(
    job: Job, run_dir: Path, undisturbed: dict[str, str]
) -> None:
    link = Puppeteer(AfterStep(1, Pause(), Save("while paused"), Resume()))
    assert support.train(job, link) == 0
    order = [event for event in link.events if isinstance(event, Phase | Saved)]
    saved = next(i for i, event in enumerate(order) if isinstance(event, Saved))
    assert order[saved].request == "while paused"  # type: ignore[union-attr] # a Saved
    assert order[saved + 1].phase == "paused"  # type: ignore[union-attr] # a Phase
    assert support.fingerprint(run_dir) == undisturbed


def test_a_stop_while_paused_saves_and_leaves(job: Job, run_dir: Path) -> None:
    link = Puppeteer(AfterStep(3, Pause(), Stop()))
    assert support.train(job, link) == 0
    assert link.last == Stopped(3, "stop")
    assert catalog.list_checkpoints(run_dir)[0].step == 3


def test_a_save_is_answered_with_its_request_and_training_goes_on(
    job: Job, run_dir: Path, undisturbed: dict[str, str]
) -> None:
    link = Puppeteer(AfterStep(1, Save("now please")))
    assert support.train(job, link) == 0
    answer = next(event for event in link.of(Saved) if event.request)
    assert (answer.step, answer.request, answer.reason) == (1, "now please", "request")
    assert catalog.verify(run_dir / "checkpoints" / answer.name).ok
    assert isinstance(link.last, Finished)
    assert support.fingerprint(run_dir) == undisturbed


@pytest.mark.parametrize("micro", [1, 2])
def test_a_save_in_the_middle_of_a_step_is_the_state_at_its_border(
    corpus: Path, tmp_path: Path, data_dir: Path, micro: int
) -> None:
    """Compared with the checkpoint of a run that was stopped at that border."""
    spec = support.tiny_spec(corpus, eval_every_steps=0)
    asked, stopped = MidStep(2, micro, Save("mid")), Puppeteer(AfterStep(2, Stop()))
    support.train(support.job_for(spec, tmp_path / "asked", data_dir), asked)
    support.train(support.job_for(spec, tmp_path / "stopped", data_dir), stopped)
    answer = next(event for event in asked.of(Saved) if event.request == "mid")
    assert answer.step == 2
    for file in ("model.safetensors", "optimizer.safetensors"):
        mine = tmp_path / "asked" / "checkpoints" / answer.name / file
        theirs = tmp_path / "stopped" / "checkpoints" / stopped.one(Saved).name / file
        assert mine.read_bytes() == theirs.read_bytes()


class MidStep(Puppeteer):
    """Gives a command between micro-batches of the step after ``step``."""

    def __init__(self, step: int, micro: int, command: Command) -> None:
        super().__init__()
        self._step = step
        self._command = command
        # a step's end and the next one's beginning are asked about first
        self._left = 2 + micro

    def poll(self) -> Command | None:
        super().poll()
        if len(self.of(Step)) != self._step:
            return None
        self._left -= 1
        return self._command if self._left == 0 else None


def test_a_second_save_of_the_same_step_is_answered_with_the_first(job: Job, run_dir: Path) -> None:
    link = Puppeteer(AfterStep(3, Save("a"), Save("b"), Stop()))
    assert support.train(job, link) == 0
    answers = [event for event in link.of(Saved) if event.step == 3]
    assert [answer.request for answer in answers] == ["a", "b", ""]
    assert len({answer.name for answer in answers}) == 1
    assert [entry.step for entry in catalog.list_checkpoints(run_dir)].count(3) == 1


def test_a_damaged_checkpoint_of_the_same_step_is_not_taken_for_an_answer(
    job: Job, run_dir: Path
) -> None:
    def reply(event: Event) -> list[Command]:
        if isinstance(event, Step) and event.step == 3:
            return [Save("first")]
        if isinstance(event, Saved) and event.request == "first":
            flip_a_bit(run_dir / "checkpoints" / event.name / "model.safetensors")
            return [Save("second"), Stop()]
        return []

    link = Puppeteer(reply)
    assert support.train(job, link) == 0
    first, second, _ = (event for event in link.of(Saved) if event.step == 3)
    assert first.name != second.name
    assert catalog.verify(run_dir / "checkpoints" / second.name).ok


def flip_a_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def test_a_save_before_anything_is_loaded_is_refused_in_words(job: Job) -> None:
    link = Puppeteer(AtPhase("data", Save("too early")))
    assert support.train(job, link) == 0
    failed = link.one(SaveFailed)
    assert failed.request == "too early"
    assert "nothing to save yet" in failed.message


def test_a_stop_while_the_corpus_is_prepared_leaves_at_once(
    spec: RunSpec, run_dir: Path, tmp_path: Path
) -> None:
    link = Puppeteer(AtPhase("data", Stop()))
    assert support.train(support.job_for(spec, run_dir, tmp_path / "fresh"), link) == 0
    assert link.last == Stopped(0, "stop")
    assert link.of(Ready) == []


def test_a_stop_before_loading_names_the_step_that_is_saved(
    job: Job, spec: RunSpec, run_dir: Path, data_dir: Path
) -> None:
    support.train(job, Puppeteer(AfterStep(2, Stop())))
    again = Puppeteer(AtPhase("start", Stop()))
    assert support.train(support.job_for(spec, run_dir, data_dir), again) == 0
    assert again.last == Stopped(2, "stop")


def test_finish_leaves_at_the_next_checkpoint_that_is_due(
    corpus: Path, run_dir: Path, data_dir: Path
) -> None:
    spec = support.tiny_spec(corpus, steps=6, every_steps=3, eval_every_steps=0)
    link = Puppeteer(AfterStep(1, Finish()))
    assert support.train(support.job_for(spec, run_dir, data_dir), link) == 0
    assert link.last == Stopped(3, "finish")
    assert [(saved.step, saved.reason) for saved in link.of(Saved)] == [(3, "finish")]


def test_finish_leaves_before_the_next_evaluation_too(job: Job) -> None:
    link = Puppeteer(AfterStep(1, Finish()))
    assert support.train(job, link) == 0
    assert link.last == Stopped(2, "finish")
    assert [event.step for event in link.of(Evaluated)] == [0]


def test_finish_shortly_before_the_end_is_the_end(
    corpus: Path, run_dir: Path, data_dir: Path
) -> None:
    spec = support.tiny_spec(corpus, eval_every_steps=0)
    link = Puppeteer(AfterStep(3, Finish()))
    assert support.train(support.job_for(spec, run_dir, data_dir), link) == 0
    assert isinstance(link.last, Finished)


def test_an_evaluation_is_interrupted_and_done_again(
    job: Job, spec: RunSpec, run_dir: Path, data_dir: Path, undisturbed: dict[str, str]
) -> None:
    link = Puppeteer(InEvaluation(2, Stop()))
    assert support.train(job, link) == 0
    assert link.last == Stopped(2, "stop")
    assert [event.step for event in link.of(Evaluated)] == [0]
    again = Puppeteer()
    assert support.train(support.job_for(spec, run_dir, data_dir), again) == 0
    assert [event.step for event in again.of(Evaluated)] == [2, 4]
    assert support.fingerprint(run_dir) == undisturbed


class InEvaluation:
    """Gives a command when the evaluation after ``step`` begins."""

    def __init__(self, step: int, command: Command) -> None:
        self._step = step
        self._command = command
        self._done = 0

    def __call__(self, event: Event) -> list[Command]:
        if isinstance(event, Step):
            self._done = event.step
        begins = isinstance(event, Phase) and event.phase == "eval" and event.fraction == 0.0
        return [self._command] if begins and self._done == self._step else []


def test_an_evaluation_that_was_done_is_not_done_again(
    job: Job, spec: RunSpec, run_dir: Path, data_dir: Path
) -> None:
    link = Puppeteer(AfterStep(3, Stop()))
    support.train(job, link)
    assert [event.step for event in link.of(Evaluated)] == [0, 2]
    again = Puppeteer()
    support.train(support.job_for(spec, run_dir, data_dir), again)
    assert [event.step for event in again.of(Evaluated)] == [4]


def test_heartbeats_tell_the_micro_batch_but_not_too_often() -> None:
    clock = HandClock()
    link = Puppeteer()
    announcer = Announcer(link, clock)
    for micro in range(100):
        announcer.beat(7, micro, 100)
        clock.sleep(0.01)
    assert 5 <= len(link.of(Heartbeat)) <= 6
    assert link.of(Heartbeat)[0] == Heartbeat(7, 0, 100)


def test_passing_the_first_epoch_is_told_once(
    tmp_path: Path, run_dir: Path, data_dir: Path
) -> None:
    small = support.write_corpus(tmp_path / "small", documents=40)
    spec = support.tiny_spec(small, steps=30, eval_every_steps=0, tokenizer_characters=10_000)
    link = Puppeteer()
    assert support.train(support.job_for(spec, run_dir, data_dir), link) == 0
    assert [notice.kind for notice in link.of(Notice)] == ["data_repeats", "epoch_passed"]
    assert link.of(Step)[-1].epoch > 1.0
    assert link.of(Step)[0].epoch < 1.0


def test_a_finish_that_is_taken_back_is_forgotten(
    corpus: Path, run_dir: Path, data_dir: Path
) -> None:
    spec = support.tiny_spec(corpus, steps=6, every_steps=3, eval_every_steps=0)

    def script(event: Event) -> list[Command]:
        return [*AfterStep(1, Finish())(event), *AfterStep(2, Resume())(event)]

    link = Puppeteer(script)
    assert support.train(support.job_for(spec, run_dir, data_dir), link) == 0
    assert isinstance(link.last, Finished)


def test_a_finish_ends_a_pause_because_a_paused_trainer_never_saves(
    corpus: Path, run_dir: Path, data_dir: Path
) -> None:
    spec = support.tiny_spec(corpus, steps=6, every_steps=3, eval_every_steps=0)
    at_pause = AtPhase("paused", Finish())

    def script(event: Event) -> list[Command]:
        return [*AfterStep(1, Pause())(event), *at_pause(event)]

    link = Puppeteer(script)
    assert support.train(support.job_for(spec, run_dir, data_dir), link) == 0
    assert link.last == Stopped(3, "finish")
