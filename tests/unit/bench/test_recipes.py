"""The bench of the recipes in its quick form, so that it still runs when it is wanted."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch

from tests.bench import recipes
from tests.bench.recipes_report import Report, picture
from tests.unit.loop import support
from trainer import peak
from trainer.precision import RECIPES


@pytest.fixture(autouse=True)
def _small_measurements(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The bench settles PyTorch for itself; here everything is put back."""
    monkeypatch.setattr(peak, "_CPU_SIZE", 128)
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
    torch.set_deterministic_debug_mode("default")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few hundred short texts."""
    return support.write_corpus(tmp_path_factory.mktemp("corpus"))


def run(corpus: Path, work: Path, *names: str) -> int:
    """The quick bench of some rows."""
    places = ["--corpus", str(corpus), "--work", str(work), "--out", str(work / "out")]
    return recipes.main(["--quick", *places, "--recipes", *names])


def test_every_recipe_has_a_row() -> None:
    rows = {variant.precision for variant in recipes.VARIANTS}
    assert rows >= RECIPES.keys()


def test_the_quick_bench_measures_every_recipe_and_writes_it_down(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [each.name for each in recipes.VARIANTS if each.precision in RECIPES]
    assert run(corpus, tmp_path, *names) == 0
    printed = capsys.readouterr().out
    table = (tmp_path / "out/recipes.md").read_text()
    assert table in printed
    assert "make bench-recipes ARGS=" in table
    raw = json.loads((tmp_path / "out/recipes.json").read_text())
    assert [cell["variant"] for cell in raw["cells"]] == names
    for name in names:
        assert f"\n| {name} | " in table
        assert raw["timed"][name]["live_bytes"]["weights"] > 0
        assert len(raw["timed"][name]["ratios"]) == 1
    ElementTree.parse(tmp_path / "out/recipes.svg")


def test_finished_cells_are_not_trained_again(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(corpus, tmp_path, "fp32") == 0
    (cell,) = tmp_path.glob("*/cells/*.json")
    first = cell.read_bytes()
    capsys.readouterr()
    assert run(corpus, tmp_path, "fp32", "bf16") == 0
    assert "1 of 2 cells are there already" in capsys.readouterr().out
    assert cell.read_bytes() == first


def test_other_sizes_are_never_mixed() -> None:
    assert recipes.Size().digest() != recipes.Size(steps=251).digest()
    assert recipes.Size().digest() == recipes.Size().digest()


def test_an_unknown_row_names_the_known_ones(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"no row 'fp8'.*fp32.*qlora-4bit"):
        run(corpus, tmp_path, "fp8")


def test_a_cell_that_fails_is_told_and_the_rest_is_reported(
    corpus: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delitem(RECIPES, "bf16")
    assert run(corpus, tmp_path, "fp32", "bf16") == 1
    printed = capsys.readouterr()
    assert "bf16, seed 1: FAILED" in printed.out
    assert "recipe 'bf16' is not in this version" in printed.err
    assert "\n| fp32 | " in printed.out
    assert "\n| bf16 | " not in printed.out


def test_the_picture_compares_seed_by_seed() -> None:
    cells = [
        {"variant": name, "seed": seed, "nats_per_token": loss}
        for name, seed, loss in [("fp32", 1, 2.0), ("fp32", 2, 3.0), ("w3", 1, 2.1), ("w3", 2, 3.2)]
    ]
    report = Report("", {}, cells, {})
    assert report.differences("w3") == pytest.approx([0.1, 0.2])
    drawn = ElementTree.fromstring(picture(report))
    dots = drawn.findall(".//{http://www.w3.org/2000/svg}circle")
    assert len(dots) == 4
    assert float(dots[2].attrib["cx"]) < float(dots[3].attrib["cx"])
