import os
from pathlib import Path

import pytest

from workbench.machine import memory_gb, processor_name, usable_processors


@pytest.mark.parametrize(
    ("quota", "count"),
    [
        ("max 100000", 8),
        ("150000 100000", 2),
        ("50000 100000", 1),
        ("1000000 100000", 8),
        ("400000 100000", 4),
    ],
)
def test_a_containers_quota_counts(tmp_path: Path, monkeypatch, quota: str, count: int):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)), raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    file = tmp_path / "cpu.max"
    file.write_text(quota + "\n")
    assert usable_processors(file) == count


def test_without_a_quota_the_processors_of_this_process_count(tmp_path: Path):
    assert 1 <= usable_processors(tmp_path / "none") <= (os.cpu_count() or 1)


def test_the_machine_has_a_name_and_a_memory():
    assert processor_name()
    memory = memory_gb()
    assert memory is None or 0.1 < memory < 1e5
