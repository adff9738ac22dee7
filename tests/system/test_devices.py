"""How many threads a process computes with."""

import os

import pytest
import torch

from colour.system import devices

CPU = torch.device("cpu")


GROUPS = {  # what is in proc/self/cgroup, the files below sys/fs/cgroup, the CPUs
    "version 2": ("0::/\n", {"cpu.max": "150000 100000\n"}, 1),
    "three CPUs": ("0::/a/b\n", {"a/b/cpu.max": "350000 100000\n"}, 3),
    "less than one": ("0::/\n", {"cpu.max": "5000 100000\n"}, 1),
    "a group above": ("0::/a/b/c\n", {"a/cpu.max": "200000 100000", "a/b/cpu.max": "max 100000",
                                     "a/b/c/cpu.max": "700000 100000"}, 2),
    "no limit": ("0::/a\n", {"cpu.max": "max 100000\n", "a/cpu.max": "max 100000\n"}, 8),
    "version 1": ("7:memory:/a\n4:cpu,cpuacct:/a\n", {"cpu/a/cpu.cfs_quota_us": "400000\n",
                                                       "cpu/a/cpu.cfs_period_us": "100000\n"}, 4),
    "seen from inside": ("4:cpuacct,cpu:/docker/1f\n1:name=systemd:/docker/1f\n0::/system.slice\n",
                         {"cpu/cpu.cfs_quota_us": "100000\n", "cpu/cpu.cfs_period_us": "50000\n"}, 2),
    "no limit in version 1": ("4:cpu:/\n", {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 8),
    "other controllers": ("4:cpuset:/\n", {"cpu/cpu.cfs_quota_us": "100000", "cpu/cpu.cfs_period_us": "100000"}, 8),
    "nonsense": ("none\n", {"cpu.max": "many"}, 8),
    "nonsense in a file": ("0::/\n", {"cpu.max": "many\n"}, 8),
    "another system": (None, {}, 8),
}


@pytest.mark.parametrize("name", GROUPS)
def test_threads_follow_the_quota(name, tmp_path, monkeypatch):
    groups, files, cpus = GROUPS[name]
    for path, content in {"proc/self/cgroup": groups, **{f"sys/fs/cgroup/{file}": text for file, text in files.items()
                                                         }}.items():
        if content is not None:
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_text(content)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)), raising=False)
    assert devices.usable_cpus(tmp_path) == cpus
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {3}, raising=False)
    assert devices.usable_cpus(tmp_path) == 1
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    assert devices.usable_cpus(tmp_path) == cpus


@pytest.mark.parametrize("threads, quota, busy, asked, expected", [
    (6, 8, 0.0, None, 6),
    (6, 2, 0.0, None, 2),
    (6, 8, 51.0, None, 4),  # of 8 CPUs
    (6, 8, 12.0, None, 6),
    (6, 8, 100.0, None, 1),
    (6, 2, 100.0, "6", 6),
])
def test_threads_take_the_cpus_that_are_idle(threads, quota, busy, asked, expected, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if asked:
        monkeypatch.setenv("OMP_NUM_THREADS", asked)
    monkeypatch.setattr(devices, "usable_cpus", lambda: quota)
    monkeypatch.setattr(devices.psutil, "cpu_count", lambda: 8)
    monkeypatch.setattr(devices.psutil, "cpu_percent", lambda interval: busy)
    with devices.threads(threads):
        devices.pick_device(gpu=False)
        assert torch.get_num_threads() == expected


def test_a_gpu_computes_exactly_and_the_same_each_time(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(devices.torchrun, "own_gpu", lambda: torch.device("cuda"))
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", False)
    assert devices.pick_device(gpu=True).type == "cuda"
    assert torch.backends.cudnn.deterministic and not torch.backends.cudnn.allow_tf32


def test_denormal_numbers_count_as_zero():
    devices.pick_device(gpu=False)
    try:
        assert (torch.tensor(1e-38) / 100).item() == 0
    finally:
        torch.set_flush_denormal(False)


@pytest.mark.parametrize("count", [0, -1, 10**9, "2", None, True])
def test_no_number_of_threads(count, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    before = torch.get_num_threads()
    devices.use_threads(count)
    assert torch.get_num_threads() == before


def test_threads_are_put_back():
    before = torch.get_num_threads()
    with pytest.raises(ValueError), devices.threads(before + 1):
        assert torch.get_num_threads() == before + 1
        raise ValueError
    assert torch.get_num_threads() == before
