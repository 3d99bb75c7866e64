"""A run's spec: what is accepted, and how it is refused."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.contract import spec, toml
from trainer.contract.choices import DEFAULT_CORPUS, PRECISIONS
from trainer.contract.spec import (
    CheckpointSpec,
    DataSpec,
    MemorySpec,
    ModelSpec,
    RunSpec,
    TrainSpec,
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["name", "seed", "model", "train", "depth", "steps", "x"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)


@st.composite
def specs(draw: st.DrawFn) -> RunSpec:
    sequence_length = draw(st.integers(8, 64))
    micro_batch = draw(st.integers(1, 8))
    batch_tokens = sequence_length * micro_batch * draw(st.integers(1, 4))
    return RunSpec(
        name=draw(st.from_regex(r"[a-z0-9][a-z0-9._-]{0,20}", fullmatch=True)),
        seed=draw(st.integers(0, (1 << 63) - 1)),
        sample_prompt=draw(st.text(max_size=10)),
        model=ModelSpec(draw(st.sampled_from([1, 2, 4, 20, 32])), 512, sequence_length),
        data=DataSpec(validation_permille=draw(st.integers(1, 500))),
        train=TrainSpec(
            steps=draw(st.integers(0, 10**6)),
            batch_tokens=batch_tokens,
            micro_batch=micro_batch,
            lr_scale=draw(st.floats(1e-6, 1e3)),
            compile=draw(st.booleans()),
        ),
        checkpoint=CheckpointSpec(every_seconds=draw(st.floats(0, 1e9)), keep=2),
    )


def problems_of(plain: Any, text: str = "") -> list[str]:
    with pytest.raises(toml.InvalidFileError) as refused:
        spec.from_dict(plain, file="run.toml", text=text)
    return [str(problem) for problem in refused.value.problems]


@given(specs())
def test_spec_survives_the_way_through_json(run: RunSpec) -> None:
    assert spec.from_dict(json.loads(json.dumps(run.to_dict()))) == run


@given(JSON)
def test_no_json_value_breaks_the_check(plain: Any) -> None:
    with contextlib.suppress(toml.InvalidFileError):
        assert isinstance(spec.from_dict(plain), RunSpec)


def test_only_a_name_is_needed() -> None:
    run = spec.from_dict({"name": "first"})
    assert run == RunSpec(name="first")
    assert run.micro_batches == 524_288 // (8 * 2048)


@pytest.mark.parametrize("plain", [None, 5, [], "text"])
def test_something_that_is_no_table_is_refused(plain: Any) -> None:
    assert any("must be a table" in problem for problem in problems_of(plain))


def test_every_problem_is_told_at_once_with_its_line() -> None:
    text = 'name = "x"\nseed = -1\n[model]\ndeptth = 4\n[train]\nprecision = 16\nsteps = true\n'
    assert problems_of(toml.parse(text, "run.toml"), text) == [
        "run.toml:2: seed: must be at least 0 (is -1)",
        "run.toml:4: model.deptth: unknown key; did you mean 'depth'?",
        "run.toml:6: train.precision: must be a text, not a whole number",
        "run.toml:7: train.steps: must be a whole number, not true or false",
    ]


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("validation_permille", 501, "must be at most 500"),
        ("validation_permille", 0, "must be at least 1"),
        ("tokenizer_characters", 1e9, "must be a whole number, not a number"),
        ("tokenizer_characters", 10**400, "is out of range"),
        ("corpus", "", "name a directory"),
        ("corpus", "a\0b", "name a directory"),
        ("corpus", date(2026, 1, 1), "must be a text, not a date or time"),
        ("corpus", ["a"], "must be a text, not a list"),
        ("corpus", {}, "must be a text, not a table"),
    ],
)
def test_bad_value_is_refused_by_its_key(key: str, value: Any, message: str) -> None:
    (problem,) = problems_of({"name": "x", "data": {key: value}})
    assert problem.startswith(f"run.toml: data.{key}: ")
    assert message in problem


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0, 10**400])
def test_seconds_that_mean_nothing_are_refused(value: float) -> None:
    assert problems_of({"name": "x", "checkpoint": {"every_seconds": value}})


def test_whole_number_is_a_fine_float() -> None:
    run = spec.from_dict({"name": "x", "checkpoint": {"every_seconds": 60}})
    assert isinstance(run.checkpoint.every_seconds, float)


@pytest.mark.parametrize("name", ["", "A", "-a", "a b", "a/b", "..", "a\n", "a" * 64, "ä"])
def test_name_that_cannot_be_a_directory_or_label_is_refused(name: str) -> None:
    (problem,) = problems_of({"name": name})
    assert "lower-case letters" in problem


def test_missing_name_says_how_to_give_one() -> None:
    (problem,) = problems_of({})
    assert 'name = "my-run"' in problem


@pytest.mark.parametrize(
    ("table", "plain", "message"),
    [
        ("train", {"precision": "bf61"}, "did you mean 'bf16'?"),
        ("train", {"device": "metal"}, "choose one of auto, cpu, cuda"),
        ("train", {"batch_tokens": 1000}, "multiple of micro_batch * sequence_length = 16384"),
        ("train", {"steps": 5, "tokens": 10**9}, "not in both"),
        ("train", {"tokens": 1000}, "at least one step's batch_tokens"),
        ("model", {"depth": 21}, "take 20 or 22"),
        ("model", {"kv_heads": 3}, "must divide the 10 query heads"),
        ("model", 5, "must be a table, not a whole number"),
    ],
)
def test_contradiction_is_refused_with_a_way_out(table: str, plain: Any, message: str) -> None:
    (problem,) = problems_of({"name": "x", table: plain})
    assert message in problem


def test_saving_habits_do_not_change_the_digest_and_all_else_does() -> None:
    run = RunSpec(name="x")
    lazier = dataclasses.replace(run, checkpoint=CheckpointSpec(every_seconds=7.0))
    assert lazier.digest() == run.digest()
    others = [
        dataclasses.replace(run, seed=1),
        dataclasses.replace(run, model=ModelSpec(depth=2)),
        dataclasses.replace(run, data=DataSpec(validation_permille=1)),
        dataclasses.replace(run, train=TrainSpec(steps=1)),
    ]
    assert len({other.digest() for other in (run, *others)}) == len(others) + 1


def test_where_state_rests_does_not_change_the_digest_and_what_is_summed_where_does() -> None:
    run = RunSpec(name="x")
    for harmless in (
        MemorySpec(optimizer_state="host"),
        MemorySpec(optimizer_state="device", activation_checkpointing="on"),
    ):
        assert dataclasses.replace(run, memory=harmless).digest() == run.digest()
    others = [
        dataclasses.replace(run, memory=MemorySpec(gradients="host")),
        dataclasses.replace(run, memory=MemorySpec(residual="always")),
        dataclasses.replace(run, memory=MemorySpec(residual="off")),
        dataclasses.replace(run, train=TrainSpec(optimizer="adamw8")),
        dataclasses.replace(run, train=TrainSpec(precision="auto")),
    ]
    assert len({other.digest() for other in (run, *others)}) == len(others) + 1


def test_runs_of_the_first_release_keep_their_digest() -> None:
    """They were pinned before there was a [memory] table."""
    assert RunSpec(name="x").digest() == (
        "31fb99dce623ab2e02bce14007ec5efffdb55095ddbb58ddc7282e9dd90f0448"
    )


def test_the_memory_switches_are_checked() -> None:
    found = problems_of(
        {"name": "x", "memory": {"gradients": "hst", "residual": "warm", "activations": "on"}}
    )
    assert any("memory.activations: unknown key" in problem for problem in found)
    found = problems_of({"name": "x", "memory": {"gradients": "hots", "residual": "warm"}})
    assert any("memory.gradients: no such choice 'hots'" in problem for problem in found)
    assert any("memory.residual" in problem and "warmdown" in problem for problem in found)
    found = problems_of({"name": "x", "train": {"optimizer": "adam8"}})
    assert any("train.optimizer" in p and "did you mean 'adamw8'?" in p for p in found)


def test_too_many_micro_batches_for_a_bf16_sum_are_refused_at_once() -> None:
    train = {"precision": "nf4", "micro_batch": 2}
    (found,) = problems_of({"name": "x", "train": train, "memory": {"gradients": "device"}})
    assert "128 micro-batches" in found
    assert 'set [memory] gradients = "host"' in found
    for fine in ({**train, "micro_batch": 4}, {**train, "precision": "bf16"}):
        spec.from_dict({"name": "x", "train": fine, "memory": {"gradients": "device"}})
    spec.from_dict({"name": "x", "train": train})


@pytest.mark.parametrize("precision", PRECISIONS)
def test_every_recipe_can_be_asked_for(precision: str) -> None:
    found = spec.from_dict({"name": "x", "train": {"precision": precision}})
    assert found.train.precision == precision


def test_relative_corpus_is_taken_from_the_file_s_own_directory(tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    file.write_text('name = "x"\n[data]\ncorpus = "texts/../books"\n')
    assert spec.load(file).data.corpus == str(tmp_path.resolve() / "books")
    file.write_text('name = "x"\n')
    assert spec.load(file).data.corpus == DEFAULT_CORPUS


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(toml.InvalidFileError, match=r"none\.toml: no such file"):
        spec.load(tmp_path / "none.toml")
