"""The commands of homerun data, from the first byte to the prepared data set."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from pyarrow import parquet

from tests.unit.corpora.conftest import Fetch, shard
from tests.unit.corpora.hub_double import HubDouble
from trainer.contract.spec import DataSpec
from trainer.corpora.__main__ import main
from trainer.data import open_dataset, prepare

ROOT = Path(__file__).parents[3]
SETTINGS = ["--vocab-size=300", "--tokenizer-characters=20000"]


def run(*arguments: str | Path) -> int:
    return main([str(argument) for argument in arguments])


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def fetched(get: Fetch) -> Path:
    return get(2).directory


def contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def test_a_fetched_corpus_is_prepared_with_the_hubs_own_validation_shard(
    fetched: Path, data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("prepare", "--json", f"--corpus={fetched}", f"--data-dir={data_dir}", *SETTINGS) == 0
    made = json.loads(capsys.readouterr().out)
    assert (made["train_documents"], made["validation_documents"]) == (120, 60)
    dataset = open_dataset(data_dir, made["id"])
    text = dataset.tokenizer.decode(dataset.validation.document(0)[1:].tolist())
    first = next(iter(_texts(shard(3))))
    assert text == first


def _texts(raw: bytes) -> list[str]:
    return [str(text) for text in parquet.read_table(io.BytesIO(raw))["text"].to_pylist()]


@pytest.mark.parametrize("jobs", [1, 2, 5])
def test_however_many_jobs_the_bytes_are_those_of_the_trainers_own_preparation(
    fetched: Path, tmp_path: Path, data_dir: Path, jobs: int, capsys: pytest.CaptureFixture[str]
) -> None:
    code = run(
        "prepare",
        "--json",
        f"--jobs={jobs}",
        f"--corpus={fetched}",
        f"--data-dir={data_dir}",
        *SETTINGS,
    )
    assert code == 0
    made = json.loads(capsys.readouterr().out)
    spec = DataSpec(str(fetched.resolve()), tokenizer_characters=20_000)
    own = prepare(spec, 300, tmp_path / "own", lambda detail, fraction: None, threads=1)
    assert own.id == made["id"]
    assert contents(own.dir) == contents(data_dir / made["id"])


def test_a_run_finds_what_was_prepared_by_its_own_file(
    fetched: Path, tmp_path: Path, data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = tmp_path / "run.toml"
    spec.write_text(
        'name = "a"\n[model]\ndepth = 1\nvocab_size = 512\nsequence_length = 32\n'
        f'[data]\ncorpus = "{fetched}"\n[train]\nbatch_tokens = 64\nmicro_batch = 2\n'
    )
    assert run("prepare", f"--spec={spec}", f"--data-dir={data_dir}") == 0
    assert f"{fetched} is prepared: " in capsys.readouterr().out
    spec.write_text("name = 3\n")
    assert run("prepare", f"--spec={spec}", f"--data-dir={data_dir}") == 1
    assert "run.toml:1" in capsys.readouterr().err


def test_everything_is_listed_and_verified_and_damage_is_1(
    fetched: Path, data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    places = [f"--data-dir={data_dir}", f"--corpora-dir={fetched.parent}"]
    assert run("prepare", f"--corpus={fetched}", f"--data-dir={data_dir}", *SETTINGS) == 0
    capsys.readouterr()
    assert run("list", *places) == 0
    listed = capsys.readouterr().out
    assert f"corpus   {fetched}  fineweb-edu, 3 files" in listed
    assert "vocabulary 300" in listed
    assert run("list", "--json", *places) == 0
    plain = json.loads(capsys.readouterr().out)
    (dataset,) = plain["datasets"]
    assert plain["corpora"][0]["missing"] == 0
    assert run("verify", *places) == 0
    assert capsys.readouterr().out.count("good") == 2
    tokens = next((data_dir / dataset["id"]).glob("train-*.tokens"))
    tokens.write_bytes(tokens.read_bytes()[:-2] + b"\0\0")
    (fetched / "shard_00000.parquet").unlink()
    assert run("verify", "--json", *places) == 1
    verdicts = json.loads(capsys.readouterr().out)["verdicts"]
    assert [verdict["ok"] for verdict in verdicts] == [False, False]
    assert run("verify", f"--directory={fetched}", *places) == 1
    assert "shard_00000.parquet is missing" in capsys.readouterr().out
    assert run("list", *places) == 0
    assert "1 of them missing: fetch again" in capsys.readouterr().out


def test_nothing_yet_says_how_to_begin(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    places = [f"--data-dir={tmp_path / 'none'}", f"--corpora-dir={tmp_path / 'none'}"]
    assert run("list", *places) == 0
    assert "homerun data fetch fineweb-edu" in capsys.readouterr().err
    assert run("verify", f"--directory={tmp_path}", *places) == 1
    assert "nothing is known of its files" in capsys.readouterr().err


def test_a_process_of_its_own_fetches_by_hf_endpoint_without_pytorch(
    hub: HubDouble, tmp_path: Path
) -> None:
    kept = {name: value for name, value in os.environ.items() if name != "HF_HUB_OFFLINE"}
    ours = {"HF_ENDPOINT": hub.url, "PYTHONPATH": str(ROOT), "HOME": str(tmp_path)}
    env = {**kept, **ours, "NO_PROXY": "127.0.0.1"}
    program = [sys.executable, "-X", "importtime", "-m", "trainer.corpora"]
    done = subprocess.run(
        [*program, "fetch", "fineweb-edu", "--shards=1", f"--to={tmp_path / 'c'}"],
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "1 shards for training and one for validation" in done.stdout
    assert f'[data] corpus = "{tmp_path / "c"}"' in done.stderr
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "huggingface_hub" in imported
    assert "torch" not in imported


@pytest.mark.parametrize(
    "arguments", [["fetch", "fineweb", "--shards=1"], ["fetch", "fineweb-edu", "--shards=0"]]
)
def test_what_cannot_be_fetched_is_said_before_anything_is_made(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*arguments, f"--to={tmp_path / 'c'}") == 1
    assert "homerun: no " in capsys.readouterr().err
    assert not (tmp_path / "c").exists()
