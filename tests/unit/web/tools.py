"""Programs of the distribution that some tests need."""

from __future__ import annotations

import os
import shutil

import pytest


def tool_or_skip(name: str, package: str) -> str:
    """The program's path. Where CI is set it must be there; elsewhere its tests are skipped."""
    found = shutil.which(name)
    if found is not None:
        return found
    why = f"no {name} here: apt-get install --no-install-recommends {package}"
    if os.environ.get("CI"):
        pytest.fail(why)
    pytest.skip(why)
