"""Small models that are quick on one thread, and the threads back as they were."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import torch

from tests.unit.model.runs import start, tokenizer

__all__ = ["start", "tokenizer"]

# before transformers is imported anywhere: nothing here may need a network
os.environ["HF_HUB_OFFLINE"] = "1"


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
