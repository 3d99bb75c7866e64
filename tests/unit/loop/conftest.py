"""What the tests of the loop share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.unit.loop import support
from trainer import peak
from trainer.checkpoint import slots
from trainer.contract.job import Job
from trainer.contract.spec import RunSpec


@pytest.fixture(autouse=True)
def _own_torch_settings() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
    torch.set_deterministic_debug_mode("default")


@pytest.fixture(autouse=True, scope="session")
def _short_measurement() -> Iterator[None]:
    """The CPU's peak is measured at every start; here with matrices as small as the model."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(peak, "_CPU_SIZE", 128)
        yield


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few hundred short texts."""
    return support.write_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the corpus is prepared, once for all tests."""
    return tmp_path_factory.mktemp("data")


@pytest.fixture(autouse=True)
def _memory_given_back(tmp_path: Path) -> Iterator[None]:
    """Runs that a test leaves behind unfinished keep their slots, as they should."""
    yield
    for run_dir in tmp_path.iterdir():
        slots.discard(run_dir)


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """A run that was never started."""
    return tmp_path / "tiny"


@pytest.fixture
def spec(corpus: Path) -> RunSpec:
    """The tiny run."""
    return support.tiny_spec(corpus)


@pytest.fixture
def job(spec: RunSpec, run_dir: Path, data_dir: Path) -> Job:
    """The first attempt at the tiny run."""
    return support.job_for(spec, run_dir, data_dir)


@pytest.fixture(scope="session")
def undisturbed(
    corpus: Path, data_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str]:
    """The bytes that the tiny run ends with when nobody disturbs it."""
    run_dir = tmp_path_factory.mktemp("undisturbed") / "tiny"
    job = support.job_for(support.tiny_spec(corpus), run_dir, data_dir)
    assert support.train(job) == 0
    return support.fingerprint(run_dir)
