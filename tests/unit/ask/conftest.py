"""Runs that were really trained for a few steps, one for each recipe, made once."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from tests.unit.loop import support
from tests.unit.loop.support import Puppeteer
from trainer import peak
from trainer.contract.messages import Finished
from trainer.contract.spec import RunSpec


@dataclass(frozen=True)
class Ended:
    """A run that is finished, and what its trainer said last."""

    dir: Path
    data_dir: Path
    spec: RunSpec
    finished: Finished


@pytest.fixture(autouse=True)
def _own_torch_settings() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
    torch.set_deterministic_debug_mode("default")


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("home")
    support.write_corpus(directory / "corpus")
    return directory


@pytest.fixture(scope="session")
def trained(home: Path) -> Callable[[str], Ended]:
    """The run of a recipe; nobody may change it."""
    made: dict[str, Ended] = {}

    def train(precision: str = "fp32") -> Ended:
        if precision not in made:
            spec = support.tiny_spec(
                home / "corpus", name=precision, precision=precision, every_steps=2
            )
            link = Puppeteer()
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(peak, "_CPU_SIZE", 128)
                job = support.job_for(spec, home / "runs" / precision, home / "data")
                assert support.train(job, link) == 0, link.last
            made[precision] = Ended(
                home / "runs" / precision, home / "data", spec, link.one(Finished)
            )
        return made[precision]

    return train


@pytest.fixture
def ended(trained: Callable[[str], Ended], tmp_path: Path) -> Ended:
    """A finished run that a test may damage."""
    original = trained("fp32")
    copy = tmp_path / "runs" / "fp32"
    shutil.copytree(original.dir, copy)
    return Ended(copy, original.data_dir, original.spec, original.finished)
