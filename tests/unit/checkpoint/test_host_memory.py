"""What memory there is: the machine's, or what a container or a unit allows of it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.memory_group import NoMemoryGroup, make_memory_group
from tests.unit.checkpoint.group_files import GroupFiles
from trainer.checkpoint import host_memory
from trainer.checkpoint.control_group import Files
from trainer.checkpoint.host_memory import Memory

_MEGABYTE = 1 << 20
_MACHINE = Memory(16_000 * _MEGABYTE, 9_000 * _MEGABYTE)


class Kernel(GroupFiles):
    """With a /proc/meminfo too."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.meminfo = root / "meminfo"
        self.meminfo.write_text(
            f"MemTotal:       {_MACHINE.total // 1024} kB\nMemFree: 1 kB\n"
            f"MemAvailable:    {_MACHINE.available // 1024} kB\n"
        )

    def read(self) -> Memory:
        return host_memory.read(self.meminfo, self.files)


@pytest.fixture
def kernel(tmp_path: Path) -> Kernel:
    return Kernel(tmp_path)


def test_without_control_groups_the_machine_is_all(kernel: Kernel) -> None:
    assert kernel.read() == _MACHINE


def test_a_limit_of_the_unit_counts_and_cache_does_not(kernel: Kernel) -> None:
    kernel.v2("/system.slice/homerun.service")
    kernel.write("system.slice/homerun.service", max=str(4000 * _MEGABYTE))
    kernel.write("system.slice/homerun.service", current=str(3000 * _MEGABYTE))
    stat = f"anon 1\ninactive_anon 7\ninactive_file {500 * _MEGABYTE}\nactive_file 9"
    kernel.write("system.slice/homerun.service", stat=stat)
    kernel.write("system.slice", max="max", current="1")
    assert kernel.read() == Memory(4000 * _MEGABYTE, 1500 * _MEGABYTE)


def test_a_tighter_group_above_counts(kernel: Kernel) -> None:
    kernel.v2("/user.slice/me")
    kernel.write("user.slice/me", max=str(4000 * _MEGABYTE), current="0")
    kernel.write("user.slice", max=str(3000 * _MEGABYTE), current=str(2900 * _MEGABYTE))
    assert kernel.read() == Memory(3000 * _MEGABYTE, 100 * _MEGABYTE)


def test_a_container_sees_its_own_group_as_the_root(kernel: Kernel) -> None:
    # version 1: the path is the one outside, the mount shows only what is inside
    kernel.v1("/docker/0123abc")
    kernel.write("", limit_in_bytes=str(2000 * _MEGABYTE), usage_in_bytes=str(500 * _MEGABYTE))
    kernel.write("", stat=f"inactive_file 5\ntotal_inactive_file {100 * _MEGABYTE}")
    assert kernel.read() == Memory(2000 * _MEGABYTE, 1600 * _MEGABYTE)


def test_a_path_above_what_is_mounted_leads_nowhere(kernel: Kernel) -> None:
    kernel.v2("/../../else/where")
    (kernel.root / "memory.max").write_text("1\n")
    kernel.write("", max=str(2000 * _MEGABYTE), current="0")
    assert kernel.read() == Memory(2000 * _MEGABYTE, 2000 * _MEGABYTE)


@pytest.mark.parametrize("limit", ["max", "-1", "", "rubbish", "9223372036854771712"])
def test_what_is_no_limit_is_none(kernel: Kernel, limit: str) -> None:
    kernel.v2("/me")
    kernel.write("me", max=limit, current=str(15_999 * _MEGABYTE))
    assert kernel.read() == _MACHINE


def test_more_used_than_allowed_leaves_nothing(kernel: Kernel) -> None:
    kernel.v2("/me")
    kernel.write("me", max="1000000", current="2000000")
    assert kernel.read() == Memory(1_000_000, 0)


def test_where_nobody_tells_there_is_none(tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere"
    assert host_memory.read(nowhere, Files(nowhere, nowhere)) == Memory(0, 0)


def test_a_real_control_group_limits_what_its_process_sees() -> None:
    try:
        group = make_memory_group()
    except NoMemoryGroup as missing:
        pytest.skip(str(missing))
    code = (
        "import json\nfrom trainer.checkpoint import host_memory\n"
        "memory = host_memory.read()\nprint(json.dumps([memory.total, memory.available]))"
    )
    try:
        group.limit(512 * _MEGABYTE)
        line = [*group.wrapper, sys.executable, "-c", code]
        done = subprocess.run(line, capture_output=True, text=True, check=True)
    finally:
        group.close()
    total, available = json.loads(done.stdout)
    assert total == 512 * _MEGABYTE
    assert 256 * _MEGABYTE < available < total
