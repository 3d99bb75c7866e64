"""The dashboards against Grafana's own types, by its npm package and the TypeScript compiler.

Under ``make test-long`` only: it fetches from npm, which nothing else here needs.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.unit.web.tools import tool_or_skip

from .boards import NAMES, board

pytestmark = pytest.mark.long

_TYPES = Path(__file__).parent / "types"
_IMPORT = "import type { Board } from './board';"

Check = Callable[..., str]


@pytest.fixture(scope="module")
def check(tmp_path_factory: pytest.TempPathFactory) -> Check:
    """What the compiler says of a dashboard; nothing when it is right."""
    npm = tool_or_skip("npm", "npm")
    folder = tmp_path_factory.mktemp("types") / "types"
    shutil.copytree(_TYPES, folder)
    subprocess.run(
        [npm, "install", "--ignore-scripts", "--no-audit", "--no-fund", "--no-package-lock"],
        cwd=folder,
        check=True,
        capture_output=True,
        timeout=240,
    )

    def compile_it(*boards: dict[str, Any]) -> str:
        for number, content in enumerate(boards):
            text = (
                f"import type {{ Board }} from './board';\n({json.dumps(content)}) satisfies Board;"
            )
            (folder / f"dashboard{number}.ts").write_text(text + "\n", encoding="utf-8")
        compiler = folder / "node_modules/.bin/tsc"
        done = subprocess.run([compiler], cwd=folder, capture_output=True, text=True, check=False)
        for path in folder.glob("dashboard*.ts"):
            path.unlink()
        return done.stdout + done.stderr

    return compile_it


def test_all_are_what_grafana_takes_for_a_dashboard(check: Check) -> None:
    assert check(*(board(name) for name in NAMES)) == ""


@pytest.mark.parametrize(
    ("field", "value"), [("graphTooltip", 7), ("panels", [{"id": "one"}]), ("titel", "no")]
)
def test_a_mistake_would_be_found(check: Check, field: str, value: object) -> None:
    assert "error TS" in check({**board("run"), field: value})
