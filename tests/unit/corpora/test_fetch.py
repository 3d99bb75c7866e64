"""Shards from a hub whose line is cut, whose answers fail, whose bytes are wrong."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from pathlib import Path
from typing import NoReturn

import pytest

from tests.unit.corpora.conftest import SHARDS, Fetch, Told
from tests.unit.corpora.hub_double import COMMIT, Fault, HubDouble
from tests.unit.loop.support import HandClock
from trainer.corpora import download, fetch, inventory
from trainer.corpora import manifest as manifests
from trainer.corpora.sources import source_named
from trainer.data.errors import DataError

FIRST = "shard_00000.parquet"
LAST = f"shard_{SHARDS - 1:05d}.parquet"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "corpus"


def visible(directory: Path) -> list[str]:
    return sorted(
        str(path.relative_to(directory))
        for path in directory.rglob("*")
        if path.is_file() and ".fetch" not in path.parts
    )


def test_the_first_shards_come_and_the_last_one_for_validation(
    get: Fetch, hub: HubDouble, directory: Path, told: Told
) -> None:
    done = get(2)
    assert visible(directory) == [
        "corpus.json",
        FIRST,
        "shard_00001.parquet",
        f"validation/{LAST}",
    ]
    assert (directory / FIRST).read_bytes() == hub.files[FIRST]
    assert (directory / "validation" / LAST).read_bytes() == hub.files[LAST]
    assert (done.shards, done.new_files) == (2, 3)
    manifest = manifests.read(directory)
    assert manifest is not None
    assert manifest.revision == COMMIT
    assert manifest.files[FIRST].sha256 == hashlib.sha256(hub.files[FIRST]).hexdigest()
    assert told.parts == sorted(told.parts)
    assert told.parts[-1] == 1.0
    assert told.words == []


def test_a_second_call_asks_for_nothing_and_more_shards_for_what_is_missing(
    get: Fetch, hub: HubDouble
) -> None:
    get(1)
    hub.requests.clear()
    assert get(1).new_files == 0
    assert hub.requests == []
    hub.asked.clear()
    done = get(3)
    assert (done.shards, done.new_files) == (3, 2)
    assert [name for name, _ in hub.asked] == ["shard_00001.parquet", "shard_00002.parquet"]
    assert f"/{COMMIT}" in "".join(hub.requests), "the revision is the one of the first call"


def test_a_line_that_is_cut_goes_on_at_the_byte_where_it_broke(
    get: Fetch, hub: HubDouble, directory: Path, told: Told
) -> None:
    hub.faults[FIRST] = Fault(cut_after=1000, times=3)
    get(1)
    assert [start for name, start in hub.asked if name == FIRST] == [0, 1000, 2000, 3000]
    assert (directory / FIRST).read_bytes() == hub.files[FIRST]
    assert len(told.words) == 3
    assert "trying again in 2 s" in told.words[0]


def test_what_has_come_before_a_death_is_not_fetched_again(
    get: Fetch, hub: HubDouble, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class PowerCutError(BaseException):
        """Nothing of ours may catch it."""

    def dies(self: HandClock, seconds: float) -> NoReturn:
        raise PowerCutError

    hub.faults[FIRST] = Fault(cut_after=700)
    monkeypatch.setattr(HandClock, "sleep", dies)
    with pytest.raises(PowerCutError):
        get(1)
    assert visible(directory) == ["corpus.json"]
    hub.asked.clear()
    get(1)
    assert hub.asked[0] == (FIRST, 700)
    assert (directory / FIRST).read_bytes() == hub.files[FIRST]


def test_a_server_that_does_not_know_ranges_begins_anew_and_nothing_is_doubled(
    get: Fetch, hub: HubDouble, directory: Path
) -> None:
    (directory / ".fetch").mkdir(parents=True)
    (directory / ".fetch" / f"{FIRST}.part").write_bytes(hub.files[FIRST][:500])
    hub.faults[FIRST] = Fault(whole=True)
    get(1)
    assert (directory / FIRST).read_bytes() == hub.files[FIRST]


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504, 408])
def test_a_hub_in_trouble_is_asked_again_politely(
    get: Fetch, hub: HubDouble, told: Told, status: int
) -> None:
    hub.faults[FIRST] = Fault(status=status, times=2, headers={"Retry-After": "40"})
    assert get(1).new_files == 2
    assert [text.rpartition(" again in ")[2] for text in told.words] == ["40 s", "40 s"]
    assert f"answers {status}" in told.words[0]


def test_a_hub_that_stays_in_trouble_is_left_with_what_has_come(
    get: Fetch, hub: HubDouble, directory: Path, told: Told
) -> None:
    hub.faults["shard_00001.parquet"] = Fault(status=503, times=99)
    with pytest.raises(DataError, match=r"cannot be fetched: .* answers 503") as failed:
        get(2)
    assert "the same command goes on from there" in failed.value.fix
    assert (directory / FIRST).exists()
    waits = [text.rpartition(" again in ")[2] for text in told.words]
    assert waits == ["2 s", "4 s", "8 s", "16 s", "32 s"]
    hub.faults.clear()
    hub.asked.clear()
    assert get(2).new_files == 2
    assert FIRST not in dict(hub.asked)


@pytest.mark.parametrize("status", [401, 403, 404])
def test_what_the_hub_refuses_is_not_asked_again(
    get: Fetch, hub: HubDouble, told: Told, status: int
) -> None:
    hub.faults[FIRST] = Fault(status=status, times=99)
    with pytest.raises(DataError, match=f"answers {status}"):
        get(1)
    assert told.words == []


def test_no_network_at_all_is_said_as_it_is(hub: HubDouble, get: Fetch, directory: Path) -> None:
    hub.url = "http://127.0.0.1:9"  # the discard port, where nobody listens
    with pytest.raises(DataError, match="cannot be fetched: ConnectError"):
        get(1)
    assert visible(directory) == []


def test_offline_by_choice_is_named(get: Fetch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(DataError, match="HF_HUB_OFFLINE forbids it"):
        get(1)


def test_a_dataset_that_is_gone_is_named(get: Fetch, hub: HubDouble) -> None:
    hub.down = 404
    with pytest.raises(DataError, match="answers 404, no such dataset or file"):
        get(1)


def test_one_wrong_bit_is_seen_and_fetched_anew(
    get: Fetch, hub: HubDouble, directory: Path, told: Told
) -> None:
    hub.faults[FIRST] = Fault(flipped=True)
    get(1)
    assert (directory / FIRST).read_bytes() == hub.files[FIRST]
    assert told.words == [
        f"{FIRST} is damaged: its checksum does not fit; it is fetched anew",
    ]


def test_bytes_that_are_never_what_the_hub_says_never_become_part_of_the_corpus(
    get: Fetch, hub: HubDouble, directory: Path
) -> None:
    hub.stated[FIRST] = "0" * 64
    with pytest.raises(DataError, match="its checksum does not fit, 2 times in a row"):
        get(1)
    assert visible(directory) == ["corpus.json"]


def test_a_file_that_ends_early_is_no_file(get: Fetch, hub: HubDouble, directory: Path) -> None:
    whole = hub.files[FIRST]
    hub.stated[FIRST] = hashlib.sha256(whole).hexdigest()
    get_listing = hub.files
    # the listing was made before the file shrank
    hub.files = {**get_listing, FIRST: whole}

    class Shrinking(dict[str, bytes]):
        def __getitem__(self, name: str) -> bytes:
            return super().__getitem__(name)[: 100 if hub.asked and name == FIRST else None]

    hub.files = Shrinking(hub.files)
    with pytest.raises(DataError, match=rf"{FIRST} ends after 100 of {len(whole)} bytes"):
        get(1)
    assert not (directory / FIRST).exists()


def test_a_full_disk_is_seen_before_a_byte_comes(
    get: Fetch, hub: HubDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage("/")._replace(free=fetch._SPARE_BYTES)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(DataError, match=r"the disk has only 0\.3 GB left"):
        get(1)
    assert hub.asked == []


def test_a_disk_that_fills_up_meanwhile_keeps_what_has_come(
    get: Fetch, hub: HubDouble, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(handle: int) -> NoReturn:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(download.os, "fsync", full)
        with pytest.raises(DataError, match="No space left"):
            get(1)
    assert get(1).new_files >= 1


def test_more_shards_than_there_are_is_refused_with_the_number(get: Fetch) -> None:
    with pytest.raises(DataError, match="has 3 shards for training, not 4") as refused:
        get(4)
    assert refused.value.fix == "--shards 3 fetches them all"


def test_two_at_once_do_not_write_the_same_files(get: Fetch, directory: Path) -> None:
    with fetch._alone_in(directory), pytest.raises(DataError, match="fetching into it right now"):
        get(1)


def test_a_directory_with_other_files_is_left_alone(get: Fetch, directory: Path) -> None:
    directory.mkdir()
    (directory / "mine.txt").write_text("precious")
    with pytest.raises(DataError, match="holds other files"):
        get(1)
    assert visible(directory) == ["mine.txt"]
    (directory.parent / "file").write_text("x")
    with pytest.raises(DataError, match="is a file"):
        get(1, directory.parent / "file")


def test_a_manifest_of_something_else_is_refused(get: Fetch, directory: Path) -> None:
    directory.mkdir()
    (directory / "corpus.json").write_text('{"format": 1, "files": {"../x": {}}}')
    with pytest.raises(DataError, match=r"corpus\.json: cannot be used"):
        get(1)
    manifests.write(directory, manifests.Manifest("other", "a/b", COMMIT, {}))
    with pytest.raises(DataError, match="holds other"):
        get(1)


def test_verifying_needs_no_network_and_finds_every_kind_of_damage(
    get: Fetch, hub: HubDouble, directory: Path
) -> None:
    get(2)
    hub.requests.clear()
    (good,) = inventory.verify([directory], [], lambda what, part: None)
    assert good.ok
    (directory / FIRST).write_bytes(hub.files[FIRST][:-1])
    (directory / "validation" / LAST).unlink()
    second = directory / "shard_00001.parquet"
    second.write_bytes(bytes([second.read_bytes()[0] ^ 1]) + second.read_bytes()[1:])
    told: list[float] = []
    (verdict,) = inventory.verify([directory], [], lambda what, part: told.append(part))
    assert set(verdict.problems) == {
        f"{FIRST} has {len(hub.files[FIRST]) - 1} bytes instead of {len(hub.files[FIRST])}",
        "shard_00001.parquet is damaged: its checksum does not fit",
        f"validation/{LAST} is missing",
    }
    assert told[-1] == 1.0
    assert hub.requests == []
    second.unlink()
    assert get(2).new_files == 3
    (mended,) = inventory.verify([directory], [], lambda what, part: None)
    assert mended.ok


def test_an_unknown_corpus_is_named_with_the_nearest() -> None:
    with pytest.raises(DataError, match="no corpus 'finewebedu'") as refused:
        source_named("finewebedu")
    assert "fineweb-edu" in refused.value.fix
