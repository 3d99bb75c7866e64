"""A text in turns: what the model has before it is the text as both have written it."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence

import pytest

from tests.unit.ask.conftest import Ended
from tests.unit.ask.test_trained import open_quietly
from trainer.ask import conversation
from trainer.ask.conversation import HELP, Conversation
from trainer.ask.person import Pipe
from trainer.ask.sampling import write
from trainer.ask.screen import Page
from trainer.ask.trained import Trained, tokenizer_of
from trainer.chat import Choice
from trainer.clock import SystemClock
from trainer.data.tokenizer import Tokenizer
from trainer.kv_cache import KeyValueCache

GREEDY = Choice(temperature=0.0)


class Script:
    """A person whose lines are known; an exception among them is a key that was pressed."""

    def __init__(self, *lines: str | KeyboardInterrupt) -> None:
        self._lines = list(lines)
        self.told: list[str] = []

    def line(self) -> str | None:
        if not self._lines:
            return None
        line = self._lines.pop(0)
        if isinstance(line, KeyboardInterrupt):
            raise line
        return line

    def tell(self, text: str) -> None:
        self.told.append(text)


@pytest.fixture
def opened(trained: Callable[[str], Ended]) -> Trained:
    return open_quietly(trained("fp32").dir)


def converse(opened: Trained, script: Script, tokens: int = 6) -> str:
    page = io.StringIO()
    Conversation(opened, tokenizer_of(opened), GREEDY, tokens).run(script, Page(page))
    return page.getvalue()


def continued(opened: Trained, text: str, tokens: int = 6) -> str:
    shown: list[str] = []
    made = write(
        opened, tokenizer_of(opened), text, tokens, GREEDY, shown.append, SystemClock()
    ).text
    assert "".join(shown) == made
    return made


def test_the_model_goes_on_from_all_that_was_written(opened: Trained) -> None:
    first = continued(opened, "the run")
    assert converse(opened, Script("the run")) == first + "\n"
    # the second turn has the first one before it, and the line that follows
    tokenizer = tokenizer_of(opened)
    cache = KeyValueCache(opened.model)
    cache.extend([tokenizer.bos, *tokenizer.encode("the run")])
    assert converse(opened, Script("the run", "goes")).startswith(first + "\n")


def test_enter_alone_lets_it_write_on(opened: Trained) -> None:
    in_two = converse(opened, Script("the run", ""), tokens=5)
    in_one = converse(opened, Script("the run"), tokens=10)
    assert in_two.replace("\n", "") == in_one.replace("\n", "")


def test_a_new_text_forgets_the_old_one(opened: Trained) -> None:
    once = converse(opened, Script("the run"))
    script = Script("something else", "/new", "the run")
    assert converse(opened, script).endswith(once)
    assert script.told == ["a new text"]


@pytest.mark.parametrize("end", ["/quit", "/exit", KeyboardInterrupt()])
def test_the_conversation_ends_when_the_person_wants(
    opened: Trained, end: str | KeyboardInterrupt
) -> None:
    script = Script("/help", end, "never said")
    assert converse(opened, script) == ""
    assert script.told == [HELP]


def test_ctrl_c_stops_the_writing_and_not_the_conversation(
    opened: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = conversation.continuation, [0]

    def interrupted(*given: object, **more: object) -> object:
        calls[0] += 1
        tokens = real(*given, **more)  # type: ignore[arg-type] # handed through as they came
        if calls[0] > 1:
            yield from tokens
            return
        yield next(tokens)
        raise KeyboardInterrupt

    monkeypatch.setattr(conversation, "continuation", interrupted)
    whole = converse(opened, Script("the run", ""))
    assert calls[0] == 2
    assert whole.replace("\n", "") == converse(opened, Script("the run"), tokens=7).replace(
        "\n", ""
    )


def test_when_the_model_ends_the_text_the_next_line_begins_one(
    opened: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[list[int]] = []

    def ends_at_once(cache: KeyValueCache, *rest: object, **more: object) -> Sequence[int]:
        read.append(list(cache.ids))
        return []

    monkeypatch.setattr(conversation, "continuation", ends_at_once)
    script = Script("one", "two")
    assert converse(opened, script) == ""
    tokenizer: Tokenizer = tokenizer_of(opened)
    assert read == [[tokenizer.bos, *tokenizer.encode(word)] for word in ("one", "two")]
    assert script.told == ["(the text ends here; a new one begins)"] * 2


def test_a_pipe_gives_its_lines_and_hears_what_is_said() -> None:
    words = io.StringIO()
    pipe = Pipe(io.StringIO("one\r\ntwo"), words)
    assert [pipe.line(), pipe.line(), pipe.line()] == ["one", "two", None]
    pipe.tell("something")
    assert words.getvalue() == "something\n"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_nothing_that_the_model_writes_steers_the_terminal() -> None:
    wild = "a\x1b[2J\u202eb\tc\n"
    terminal, file = Terminal(), io.StringIO()
    Page(terminal).write(wild)
    Page(file).write(wild)
    assert terminal.getvalue() == "a [2J b\tc\n"
    assert file.getvalue() == wild


def test_a_page_ends_its_line_once() -> None:
    file = io.StringIO()
    page = Page(file)
    page.end_line()
    page.write("x")
    page.write("")
    page.end_line()
    page.end_line()
    assert file.getvalue() == "x\n"
