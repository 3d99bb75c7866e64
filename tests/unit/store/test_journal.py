"""Stories of the journal."""

from __future__ import annotations

import math
from datetime import timedelta

from orchestrator.domain import AttemptEnd
from orchestrator.store import Store
from orchestrator.store.journal import Journal
from tests.unit.store.world import START, later


def fill(store: Store, count: int) -> list[int]:
    with store.transaction() as tx:
        return [
            tx.journal.write("tick", f"entry {i}", later(i), run="ab"[i % 2]).id
            for i in range(count)
        ]


def test_entry_comes_back_as_it_was_written(store: Store) -> None:
    data = {"attempt": 3, "nested": {"list": [1, 2.5, None, True]}, "text": "größer"}
    with store.transaction() as tx:
        written = tx.journal.write(
            "attempt_ended", "killed", START, severity="error", run="gone", data=data
        )
    with store.transaction() as tx:
        (read,) = tx.journal.newest(10)
    assert read == written
    assert (read.kind, read.message, read.time) == ("attempt_ended", "killed", START)
    assert (read.severity, read.run, read.data) == ("error", "gone", data)
    assert read.time.utcoffset() == timedelta(0)


def test_whatever_a_dying_trainer_says_can_be_written(store: Store) -> None:
    data = {
        "loss": math.nan,
        "when": START,
        "end": AttemptEnd.CRASHED,
        "tail": "\0\udcff\ud83d\ude00",
    }
    with store.transaction() as tx:
        entry = tx.journal.write("attempt_ended", "nul \0 half \ud800 \U0001f600", START, data=data)
    with store.transaction() as tx:
        assert tx.journal.newest(1) == [entry]
    assert entry.message == "nul \ufffd half \ufffd \U0001f600"
    assert entry.data["loss"] is None
    assert entry.data["when"] == "2026-12-01T18:30:15.123456Z"
    assert entry.data["end"] == "crashed"
    entry.data["tail"].encode()


def test_reader_goes_on_after_the_last_entry_it_saw(store: Store) -> None:
    ids = fill(store, 10)
    with store.transaction() as tx:
        assert [entry.id for entry in tx.journal.after(0, 3)] == ids[:3]
        assert [entry.id for entry in tx.journal.after(ids[2], 100)] == ids[3:]
        assert tx.journal.after(ids[-1], 100) == []
        assert [entry.id for entry in tx.journal.after(ids[2], 2, run="a")] == [ids[4], ids[6]]


def test_newest_entries_are_given_oldest_first(store: Store) -> None:
    ids = fill(store, 10)
    with store.transaction() as tx:
        assert [entry.id for entry in tx.journal.newest(4)] == ids[-4:]
        assert [entry.id for entry in tx.journal.newest(2, run="b")] == [ids[7], ids[9]]
        assert tx.journal.newest(5, run="nobody") == []


def test_absurd_limits_and_ids_are_answered_alike_on_every_database(store: Store) -> None:
    ids = fill(store, 3)
    with store.transaction() as tx:
        assert tx.journal.after(0, -1) == []
        assert tx.journal.newest(0) == []
        assert tx.journal.after(10**30, 5) == []
        assert [entry.id for entry in tx.journal.after(-5, 10**30)] == ids


def test_journal_can_only_be_written_and_read() -> None:
    verbs = {name for name in vars(Journal) if not name.startswith("_")}
    assert verbs == {"write", "after", "newest"}
