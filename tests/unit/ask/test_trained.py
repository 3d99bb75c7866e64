"""Opening a run's model: whatever its recipe, whatever became of its checkpoints."""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.unit.ask.conftest import Ended
from trainer import record
from trainer.ask import evaluation
from trainer.ask.errors import AskError
from trainer.ask.trained import Trained, open_trained, tokenizer_of
from trainer.chat import Choice, sample
from trainer.checkpoint import catalog
from trainer.checkpoint.format import decode_manifest, encode_manifest
from trainer.checkpoint.lease import Lease, is_held
from trainer.precision import RECIPES

CPU = torch.device("cpu")


def open_quietly(run_dir: Path, checkpoint: str | None = None) -> Trained:
    def tell(text: str) -> None:
        raise AssertionError(text)

    return open_trained(run_dir, CPU, tell, checkpoint)


def silent(what: str, fraction: float) -> None:
    """Progress that nobody reads."""


def contents(directory: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize("precision", RECIPES)
def test_the_opened_model_is_the_one_that_was_trained(
    trained: Callable[[str], Ended], precision: str
) -> None:
    ended = trained(precision)
    before = contents(ended.dir)
    opened = open_quietly(ended.dir)
    assert opened.entry.step == ended.finished.step
    assert opened.spec.train.precision == precision
    found = evaluation.of_validation(opened, None, None, silent)
    assert found.bits_per_byte == ended.finished.bits_per_byte
    text = sample(
        opened.model,
        tokenizer_of(opened),
        ended.spec.sample_prompt,
        96,
        Choice(0.8, seed=ended.spec.seed),
    )
    assert text == ended.finished.sample
    assert contents(ended.dir) == before, "opening changes nothing"


def damage(checkpoint: Path) -> None:
    with (checkpoint / "model.safetensors").open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        last = file.read(1)
        file.seek(-1, os.SEEK_END)
        file.write(bytes([last[0] ^ 1]))


def test_a_damaged_checkpoint_is_passed_over_told_and_left_where_it_is(ended: Ended) -> None:
    newest, older = catalog.list_checkpoints(ended.dir)[:2]
    damage(newest.path)
    told: list[str] = []
    opened = open_trained(ended.dir, CPU, told.append)
    assert opened.entry.name == older.name
    assert len(told) == 1
    assert newest.name in told[0]
    assert "checksum" in told[0]
    assert newest.path.is_dir(), "setting it aside is the trainer's affair"


def test_a_damaged_checkpoint_that_was_asked_for_is_refused(ended: Ended) -> None:
    newest = catalog.list_checkpoints(ended.dir)[0]
    damage(newest.path)
    with pytest.raises(AskError, match=r"is damaged: model\.safetensors"):
        open_quietly(ended.dir, newest.name)


def test_nothing_whole_is_an_error_and_not_a_model_of_random_numbers(ended: Ended) -> None:
    for entry in catalog.list_checkpoints(ended.dir):
        damage(entry.path)
    told: list[str] = []
    with pytest.raises(AskError, match="no checkpoint of fp32 is whole"):
        open_trained(ended.dir, CPU, told.append)
    assert len(told) == 2


def test_a_checkpoint_is_chosen_by_step_or_by_name(ended: Ended) -> None:
    older = catalog.list_checkpoints(ended.dir)[1]
    assert open_quietly(ended.dir, str(older.step)).entry == older
    assert open_quietly(ended.dir, older.name).entry == older
    with pytest.raises(AskError, match="no checkpoint '999'") as refused:
        open_quietly(ended.dir, "999")
    assert refused.value.fix == "there are those of steps 4, 2"


def test_a_checkpoint_that_the_trainer_deletes_meanwhile_is_no_damage(
    ended: Ended, monkeypatch: pytest.MonkeyPatch
) -> None:
    newest, older = catalog.list_checkpoints(ended.dir)[:2]
    listed = catalog.generations(ended.dir)

    def stale(run_dir: Path) -> list[object]:
        if not newest.path.exists():
            return listed
        # somebody else lists, and the trainer's retention comes between that and our reading
        shutil.rmtree(newest.path)
        return listed

    monkeypatch.setattr(catalog, "generations", stale)
    assert open_quietly(ended.dir).entry.name == older.name


def test_a_run_without_a_checkpoint_says_what_to_wait_for(ended: Ended) -> None:
    shutil.rmtree(ended.dir / "checkpoints")
    with pytest.raises(AskError, match="fp32 has no checkpoint yet"):
        open_quietly(ended.dir)


def test_what_is_no_run_is_said_to_be_none(tmp_path: Path) -> None:
    with pytest.raises(AskError, match=r"no run that was ever started: it has no run\.json"):
        open_quietly(tmp_path)
    (tmp_path / record.FILE).write_text("{")
    with pytest.raises(AskError, match=r"run\.json cannot be used"):
        open_quietly(tmp_path)


def test_checkpoints_of_another_run_are_named_and_not_asked(
    ended: Ended, trained: Callable[[str], Ended]
) -> None:
    shutil.rmtree(ended.dir / "checkpoints")
    shutil.copytree(trained("bf16").dir / "checkpoints", ended.dir / "checkpoints")
    told: list[str] = []
    with pytest.raises(AskError, match="no checkpoint of fp32 is whole"):
        open_trained(ended.dir, CPU, told.append)
    assert told
    assert all("belongs to run 'bf16'" in text for text in told)


def test_a_checkpoint_of_another_model_is_refused(
    ended: Ended, trained: Callable[[str], Ended]
) -> None:
    shutil.rmtree(ended.dir / "checkpoints")
    shutil.copytree(trained("bf16").dir / "checkpoints", ended.dir / "checkpoints")
    pinned = record.read(ended.dir)
    assert pinned is not None
    for path in (ended.dir / "checkpoints").glob("gen-*/MANIFEST"):
        # as if this run had saved them
        manifest = dataclasses.replace(
            decode_manifest(path.read_bytes()),
            run=pinned.spec["name"],
            spec_digest=pinned.spec_digest,
        )
        path.write_bytes(encode_manifest(manifest))
    with pytest.raises(AskError, match=r"does not fit its run: .*bfloat16.* in the checkpoint"):
        open_quietly(ended.dir)


def test_a_corpus_that_moved_is_found_where_prepared_corpora_are_now(
    ended: Ended, tmp_path: Path
) -> None:
    pinned = record.read(ended.dir)
    assert pinned is not None
    shutil.copytree(ended.data_dir / pinned.dataset, tmp_path / "new" / pinned.dataset)
    opened = open_quietly(ended.dir)
    moved = Trained(
        opened.spec,
        record.Record(**{**vars(pinned), "data_dir": str(tmp_path / "gone")}),
        opened.entry,
        opened.model,
        opened.recipe,
        CPU,
    )
    assert tokenizer_of(moved, tmp_path / "new").vocab_size == 512
    with pytest.raises(AskError, match="no tokenizer"):
        tokenizer_of(moved)
    with pytest.raises(AskError, match="prepared corpus cannot be used"):
        evaluation.of_validation(moved, None, None, silent)


def test_a_lock_tells_whether_a_trainer_lives_on_the_run(tmp_path: Path) -> None:
    assert not is_held(tmp_path / "run")
    with Lease.take(tmp_path / "run", 1):
        assert is_held(tmp_path / "run")
    assert not is_held(tmp_path / "run")
