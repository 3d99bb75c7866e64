"""What is saved comes back: the same bytes, names, dtypes, shapes and meta."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.unit.checkpoint.plain import CREATED, ROOT, commit_plain
from tests.unit.checkpoint.rig import StillClock, same, same_tensor, save_step, state
from trainer.checkpoint.catalog import list_checkpoints, verify
from trainer.checkpoint.lease import Lease
from trainer.checkpoint.reader import load, load_newest
from trainer.checkpoint.safetensor import DTYPES
from trainer.checkpoint.writer import SaveError, save


def no_damage(verdict: object) -> None:
    pytest.fail(f"nothing is damaged here: {verdict}")


def every_kind() -> dict[str, Tensor]:
    """Each dtype as random bits, plus empty, 0-d, transposed and NaN-carrying tensors."""
    generator = torch.Generator().manual_seed(5)
    tensors = {}
    for code, dtype in DTYPES.items():
        raw = torch.randint(0, 256, (24 * 8,), dtype=torch.uint8, generator=generator)
        bits = raw % 2 if dtype == torch.bool else raw
        tensors[code] = bits.view(dtype)[: 3 * 5].reshape(3, 5)
    tensors["empty"] = torch.empty(0, 4)
    tensors["empty_odd"] = torch.empty(2, 0, dtype=torch.int8)
    tensors["scalar"] = torch.tensor(3.5, dtype=torch.float64)
    tensors["flag"] = torch.tensor(True)
    tensors["transposed"] = torch.arange(12.0).reshape(3, 4).t()
    tensors["strange"] = torch.tensor([float("nan"), float("-inf"), -0.0])
    tensors["parameter"] = torch.nn.Parameter(torch.ones(2, 2))
    return tensors


@pytest.mark.parametrize("chunk_bytes", [1, 7, 16, 1 << 20])
def test_every_dtype_comes_back_byte_for_byte(
    run_dir: Path, lease: Lease, chunk_bytes: int
) -> None:
    files = {"model": every_kind(), "nothing": {}}
    entry = save_step(run_dir, 3, lease, files=files, chunk_bytes=chunk_bytes)
    loaded = load(entry)
    assert same(loaded.files, files)
    assert verify(entry.path).ok


def test_loaded_tensors_are_plain_memory_of_their_own(run_dir: Path, lease: Lease) -> None:
    entry = save_step(run_dir, 1, lease)
    first, second = load(entry), load(entry)
    first.files["model"]["lm_head"].fill_(0)
    assert same(second.files, state(1))


def test_meta_and_manifest_come_back(run_dir: Path, lease: Lease) -> None:
    meta = {"loss": 0.1 + 0.2, "rng": [1, 2**63], "nested": {"ünï": None}}
    entry = save_step(run_dir, 12, lease, meta=meta)
    [listed] = list_checkpoints(run_dir)
    assert listed == entry
    assert (listed.step, listed.attempt, listed.reason) == (12, 1, "schedule")
    assert listed.created == CREATED
    assert listed.manifest.spec_digest == "cafe"
    assert listed.size_bytes == sum(
        path.stat().st_size for path in entry.path.iterdir() if path.name != "MANIFEST"
    )
    assert load(entry).meta == meta


def test_the_parent_is_remembered(run_dir: Path, lease: Lease) -> None:
    parent = save_step(run_dir, 1, lease)
    save(
        run_dir,
        state(2),
        {},
        run="toy",
        step=2,
        reason="request",
        lease=lease,
        spec_digest="cafe",
        parent=parent.name,
        clock=StillClock(),
    )
    newest, oldest = list_checkpoints(run_dir)
    assert newest.manifest.parent == parent.name
    assert oldest.manifest.parent is None


def test_the_same_state_always_makes_the_same_file(run_dir: Path, lease: Lease) -> None:
    tensors = every_kind()
    turned = dict(reversed(tensors.items()))
    one = save_step(run_dir, 1, lease, files={"model": tensors})
    two = save_step(run_dir, 1, lease, files={"model": turned}, chunk_bytes=5)
    assert one.name != two.name
    assert one.manifest.files == two.manifest.files


def test_load_newest_takes_the_highest_step_then_the_highest_attempt(
    run_dir: Path, lease: Lease
) -> None:
    save_step(run_dir, 9, lease)
    save_step(run_dir, 10, lease, files=state(77))
    lease.release()
    with Lease.take(run_dir, 2) as later:
        save_step(run_dir, 10, later, files=state(78))
        save_step(run_dir, 2, later)
    loaded = load_newest(run_dir, no_damage)
    assert loaded is not None
    assert (loaded.entry.step, loaded.entry.attempt) == (10, 2)
    assert same(loaded.files, state(78))


def test_a_run_without_checkpoints_loads_nothing(tmp_path: Path, run_dir: Path) -> None:
    assert load_newest(run_dir, no_damage) is None
    assert list_checkpoints(tmp_path / "nowhere") == []


def test_two_saves_of_one_step_do_not_collide(run_dir: Path, lease: Lease) -> None:
    names = {save_step(run_dir, 4, lease).name for _ in range(3)}
    assert len(names) == 3


@pytest.mark.parametrize(
    ("tensors", "expected"),
    [
        ({"c": torch.zeros(2, dtype=torch.complex64)}, "complex64"),
        ({"s": torch.eye(2).to_sparse()}, "dense"),
        ({"m": torch.empty(2, device="meta")}, "dense"),
        ({"__metadata__": torch.zeros(1)}, "__metadata__"),
    ],
)
def test_what_cannot_be_stored_is_refused_before_anything_is_written(
    run_dir: Path, lease: Lease, tensors: dict[str, Tensor], expected: str
) -> None:
    with pytest.raises(ValueError, match=expected):
        save_step(run_dir, 1, lease, files={"model": tensors})
    assert not (run_dir / "checkpoints").exists()


def test_meta_that_is_no_json_is_refused_before_anything_is_written(
    run_dir: Path, lease: Lease
) -> None:
    with pytest.raises(TypeError):
        save_step(run_dir, 1, lease, meta={"clock": object()})
    assert not (run_dir / "checkpoints").exists()


@pytest.mark.parametrize("name", ["../evil", "a/b", "", "MANIFEST", ".hidden"])
def test_a_file_name_that_leaves_its_directory_is_refused(run_dir: Path, name: str) -> None:
    with pytest.raises(ValueError, match="no name for a data file"):
        commit_plain(run_dir, 1, files={name: b"x"})
    assert list((run_dir / "checkpoints").iterdir()) == []


def test_a_full_disk_is_noticed_before_writing_and_the_figures_are_named(
    run_dir: Path, lease: Lease
) -> None:
    huge = {"model": {"w": torch.empty(1).expand(1 << 50)}}
    with pytest.raises(SaveError, match=r"\d+ bytes are needed, \d+ bytes are free") as caught:
        save_step(run_dir, 1, lease, files=huge)
    assert caught.value.kind == "disk_full"
    assert list((run_dir / "checkpoints").iterdir()) == []


def test_the_catalog_lists_and_verifies_without_torch(run_dir: Path, lease: Lease) -> None:
    name = save_step(run_dir, 1, lease).name
    code = (
        "import sys, pathlib\n"
        "from trainer.checkpoint import catalog\n"
        "[entry] = catalog.list_checkpoints(pathlib.Path(sys.argv[1]))\n"
        "assert catalog.verify(entry.path).ok\n"
        "assert not {'torch', 'numpy', 'safetensors', 'ray'} & set(sys.modules)\n"
        "print(entry.name)\n"
    )
    words = [sys.executable, "-c", code, str(run_dir)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=ROOT)
    assert (done.stdout, done.stderr) == (f"{name}\n", "")


def test_our_comparison_of_tensors_looks_at_bytes_not_at_values() -> None:
    assert not same_tensor(torch.tensor([0.0]), torch.tensor([-0.0]))
    assert same_tensor(torch.tensor([float("nan")]), torch.tensor([float("nan")]))
