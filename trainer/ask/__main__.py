"""``python -m trainer.ask sample|chat|eval RUN_DIR``: use a run's model. Needs no daemon.

Reads one of the run's checkpoints and changes nothing, so it works while the run is training.
Exit code 0, or 1 with what is wrong on standard error, or 130 after Ctrl-C.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainer.ask.screen import Page
from trainer.bar import Bar
from trainer.clock import SystemClock
from trainer.contract.spec import RunSpec
from trainer.openmp import share_the_cores
from trainer.program import end_with, in_words, natural

if TYPE_CHECKING:
    from trainer.ask.trained import Trained
    from trainer.chat import Choice
    from trainer.data.tokenizer import Tokenizer

_CLOCK = SystemClock()


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says; the exit code."""
    given = _parser().parse_args(arguments)
    end_with(given.parent)
    return in_words(lambda: given.run(given))


def _sample(given: argparse.Namespace) -> int:
    from trainer.ask import sampling

    trained, tokenizer = _open(given)
    choice = _choice(given, trained.spec)
    prompt = trained.spec.sample_prompt if given.prompt is None else given.prompt
    page = Page(sys.stdout)
    if not given.json:
        page.write(prompt)
    show: Callable[[str], None] = (lambda bit: None) if given.json else page.write
    made = sampling.write(trained, tokenizer, prompt, given.tokens, choice, show, _CLOCK)
    page.end_line()
    if given.json:
        _print(
            trained,
            prompt=prompt,
            text=made.text,
            tokens=made.tokens,
            ended=made.ended,
            temperature=choice.temperature,
            top_k=choice.top_k,
            seed=choice.seed,
            seconds=made.seconds,
        )
    return 0


def _chat(given: argparse.Namespace) -> int:
    from trainer.ask.conversation import Conversation
    from trainer.ask.person import person_at

    trained, tokenizer = _open(given)
    choice = _choice(given, trained.spec)
    person = person_at(sys.stdin, sys.stderr)
    person.tell(
        f"{trained.spec.name} is a pretrained base model: it does not answer, it continues "
        "what you write. /help says more."
    )
    Conversation(trained, tokenizer, choice, given.tokens).run(person, Page(sys.stdout))
    # pressed once more while we leave, Ctrl-C must not look like a failure
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    return 0


def _eval(given: argparse.Namespace) -> int:
    from trainer.ask import evaluation

    trained, tokenizer = _open(given)
    bar = Bar(sys.stderr, _CLOCK)
    begun = _CLOCK.monotonic()
    try:
        if given.text:
            what = ", ".join(given.text)
            found = evaluation.of_texts(trained, tokenizer, given.text, bar.show)
        else:
            what = "the run's validation split"
            found = evaluation.of_validation(trained, given.data_dir, given.tokens, bar.show)
    finally:
        bar.clear()
    seconds = _CLOCK.monotonic() - begun
    if given.json:
        _print(
            trained,
            texts=given.text or None,
            bits_per_byte=found.bits_per_byte,
            loss=found.loss,
            bytes=found.text_bytes,
            tokens=found.tokens,
            seconds=seconds,
        )
    else:
        sys.stdout.write(
            f"{found.bits_per_byte:.4f} bits per byte on {what}: {found.text_bytes:,} bytes, "
            f"{found.tokens:,} tokens, loss {found.loss:.4f} nats per token, {seconds:.1f} s\n"
        )
    return 0


def _open(given: argparse.Namespace) -> tuple[Trained, Tokenizer]:
    """The model and its tokenizer, with a line on standard error that says which it is."""
    share_the_cores()
    # only now, since PyTorch takes a second or two
    from trainer.ask import place as places
    from trainer.ask.trained import open_trained, read_run, tokenizer_of

    read_run(given.run_dir)
    place = places.choose(given.run_dir, given.device, given.threads)
    places.settle(place)
    trained = open_trained(given.run_dir, place.device, _say, given.checkpoint)
    note = f", {place.note}" if place.note else ""
    if not given.json:
        _say(f"{trained.spec.name} after step {trained.entry.step} ({trained.entry.name}){note}")
    return trained, tokenizer_of(trained, given.data_dir)


def _choice(given: argparse.Namespace, spec: RunSpec) -> Choice:
    """The run's own seed unless another is given: the same command writes the same text."""
    from trainer.chat import Choice

    seed = spec.seed if given.seed is None else given.seed
    return Choice(given.temperature, given.top_k, seed)


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def _print(trained: Trained, **figures: Any) -> None:
    about = {
        "run": trained.spec.name,
        "checkpoint": trained.entry.name,
        "step": trained.entry.step,
        "device": trained.device.type,
    }
    sys.stdout.write(json.dumps({**about, **figures}) + "\n")


def _warmth(text: str) -> float:
    value = float(text)
    if not 0.0 <= value <= 1e6:
        raise argparse.ArgumentTypeError("must be a number from 0 on")
    return value


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m trainer.ask", description=__doc__)
    parser.add_argument("--parent", type=int, default=0, help="end when this process does")
    commands = parser.add_subparsers(required=True)
    for name, run in (("sample", _sample), ("chat", _chat), ("eval", _eval)):
        command = commands.add_parser(name)
        command.set_defaults(run=run)
        command.add_argument("run_dir", type=Path)
        command.add_argument("--checkpoint", help="a name or a step; the newest whole one if not")
        command.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
        command.add_argument("--threads", type=natural, default=0, help="CPU threads; 0: as fits")
        command.add_argument("--data-dir", type=Path, help="prepared corpora, if they were moved")
        command.add_argument("--json", action="store_true")
        if name == "eval":
            command.add_argument(
                "--text", action="append", default=[], help="a file, a directory, or - for stdin"
            )
            command.add_argument("--tokens", type=natural, help="of the validation split; 0: all")
            continue
        if name == "sample":
            command.add_argument("--prompt")
        command.add_argument("--tokens", type=natural, default=256 if name == "sample" else 128)
        command.add_argument("--temperature", type=_warmth, default=0.8)
        command.add_argument("--top-k", type=natural, default=50)
        command.add_argument("--seed", type=natural)
    return parser


if __name__ == "__main__":
    sys.exit(main())
