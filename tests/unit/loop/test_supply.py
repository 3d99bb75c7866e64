"""A text is not read twice unless the run says so."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from tests.unit.loop import support
from tests.unit.loop.support import Puppeteer
from trainer import record
from trainer.contract.messages import Failed, Finished, Notice, Ready
from trainer.contract.spec import RunSpec
from trainer.supply import Supply, TooLittleDataError, refuse_repeats, repeats, supply_of


@pytest.fixture
def small(tmp_path: Path) -> Path:
    return support.write_corpus(tmp_path / "small", documents=120)


def wanting(corpus: Path, *, allow_repeats: bool, steps: int = 200) -> RunSpec:
    return support.tiny_spec(corpus, steps=steps, eval_every_steps=0, allow_repeats=allow_repeats)


def notices(link: Puppeteer, kind: str) -> list[str]:
    return [notice.message for notice in link.of(Notice) if notice.kind == kind]


def test_a_corpus_that_is_too_small_is_refused_with_what_is_missing_and_pins_nothing(
    small: Path, run_dir: Path, data_dir: Path
) -> None:
    link = Puppeteer()
    spec = wanting(small, allow_repeats=False)
    assert support.train(support.job_for(spec, run_dir, data_dir), link) == 1
    failed = link.one(Failed)
    assert (failed.kind, failed.retry) == ("too_little_data", False)
    for expected in (
        "tokens for training and the run wants 38,400: it would be read",
        "more files like its 1 are missing",
        "[data] allow_repeats = true",
    ):
        assert expected in failed.message
    assert link.of(Ready) == []
    pinned = record.read(run_dir)
    assert pinned is not None
    assert pinned.dataset == ""


def test_with_more_files_the_refused_run_starts(small: Path, run_dir: Path, data_dir: Path) -> None:
    spec = wanting(small, allow_repeats=False, steps=40)
    support.write_corpus(small, documents=8)
    assert support.train(support.job_for(spec, run_dir, data_dir)) == 1
    support.write_corpus(small, documents=300)
    link = Puppeteer()
    assert support.train(support.job_for(spec, run_dir, data_dir), link) == 0
    assert link.one(Finished).step == 40
    assert notices(link, "epoch_passed") == []


def test_repeats_that_are_allowed_are_told_once_and_the_run_stays_the_same_run(
    small: Path, run_dir: Path, data_dir: Path
) -> None:
    spec = wanting(small, allow_repeats=True)
    link = Puppeteer(stop_at_poll=8)
    assert support.train(support.job_for(spec, run_dir, data_dir), link) == 0
    (told,) = notices(link, "data_repeats")
    assert "as its spec allows" in told
    # the permission is no part of what is computed: taking it back later changes nothing
    forbidden = dataclasses.replace(spec, data=dataclasses.replace(spec.data, allow_repeats=False))
    assert forbidden.digest() == spec.digest()
    link = Puppeteer(stop_at_poll=8)
    assert support.train(support.job_for(forbidden, run_dir, data_dir), link) == 0
    assert notices(link, "data_repeats") == []


def test_exactly_one_pass_is_no_repeat() -> None:
    enough = Supply("/c", 4, train_tokens=1000, wanted_tokens=1000)
    assert repeats(enough) == ""
    refuse_repeats(enough)
    assert enough.missing_files == 0


@pytest.mark.parametrize(
    ("tokens", "files", "missing"), [(1000, 4, 1), (500, 4, 6), (10, 1, 120), (1200, 4, 1)]
)
def test_missing_files_are_counted_in_files_like_those_that_are_there(
    tokens: int, files: int, missing: int
) -> None:
    supply = Supply("/c", files, train_tokens=tokens, wanted_tokens=1210)
    assert supply.missing_files == missing
    with pytest.raises(TooLittleDataError, match=rf"about {missing} more files"):
        refuse_repeats(supply)


def test_the_default_corpus_has_no_more_files_to_add() -> None:
    supply = supply_of(RunSpec("a"), 5_000_000, 700)
    assert supply.wanted_tokens == 21_400 * 524_288
    with pytest.raises(TooLittleDataError, match="homerun data fetch fineweb-edu"):
        refuse_repeats(supply)
