"""Control groups: where they are found, what is written and read there; real ones of both kinds.

Version 1 is real wherever the tests run as root on a host that has it: see also `test_limits.py`.
Of version 2, joining, killing and removing are real where it is mounted; what its controllers say
and are told is checked against files as the kernel's documentation describes them, unless the
controllers are bound to it: then `test_limits.py` meets them.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from fanfold_server.engine import delegation
from fanfold_server.engine.cgroup import Group, Groups, Tree, memory_bytes, settings_of
from fanfold_server.engine.delegation import GroupsMissing, read_trees, try_trees
from fanfold_server.engine.ladder import climb
from fanfold_server.engine.limits import Limits
from fanfold_server.engine.sandbox import Sandbox
from tests.runtime.bench import wait_until

LIMITS = Limits(memory_mib=100, files=64, processes=24, file_mib=8, tmp_mib=10, cpus=0.5)

SYSTEMD = (
    "25 30 0:23 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate",
    "0::/system.slice/fanfold.service",
)
CONTAINER = ("700 690 0:30 / /sys/fs/cgroup ro - cgroup2 cgroup rw,nsdelegate", "0::/")
CONTAINER_V1 = (
    """\
9 8 0:29 /docker/abc /sys/fs/cgroup/memory ro master:11 - cgroup cgroup rw,memory
10 8 0:30 /docker/abc /sys/fs/cgroup/cpu,cpuacct ro - cgroup cgroup rw,cpu,cpuacct
""",
    "5:memory:/docker/abc\n4:cpu,cpuacct:/docker/abc/inner\n1:name=systemd:/docker/abc",
)
HYBRID = (
    """\
32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu
36 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
37 31 0:33 / /sys/fs/cgroup/devices rw - cgroup cgroup rw,devices
41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
42 31 0:39 / /tmp rw - tmpfs tmpfs rw,size=4k
""",
    "7:devices:/\n4:memory:/mine/one\n1:cpu:/\n0::/",
)


@pytest.mark.parametrize(
    ("mounts", "own", "found"),
    [
        (*SYSTEMD, {(2, "/sys/fs/cgroup/system.slice/fanfold.service", ())}),
        (*CONTAINER, {(2, "/sys/fs/cgroup", ())}),
        (
            *CONTAINER_V1,
            {
                (1, "/sys/fs/cgroup/memory", ("memory",)),
                (1, "/sys/fs/cgroup/cpu,cpuacct/inner", ("cpu",)),
            },
        ),
        (
            *HYBRID,
            {
                (1, "/sys/fs/cgroup/memory/mine/one", ("memory",)),
                (1, "/sys/fs/cgroup/cpu", ("cpu",)),
                (2, "/sys/fs/cgroup/unified", ()),
            },
        ),
        ("20 1 0:5 / /proc rw - proc proc rw", "", set()),
    ],
    ids=["systemd", "container", "container with version 1", "both", "none"],
)
def test_the_servers_own_groups_are_found(
    mounts: str, own: str, found: set[tuple[int, str, tuple[str, ...]]]
) -> None:
    trees = read_trees(mounts, own)
    assert {(tree.version, str(tree.own), tree.controllers) for tree in trees} == found


def test_each_version_is_told_the_limits_in_its_own_words() -> None:
    size = str(memory_bytes(LIMITS))
    assert memory_bytes(LIMITS) == (100 + 10 + 16 + 10) << 20
    two = Tree(version=2, own=Path("/two"), controllers=("memory", "pids", "cpu"))
    assert dict(settings_of(two, LIMITS)) == {
        "memory.max": size,
        "memory.oom.group": "1",
        "pids.max": "24",
        "cpu.max": "50000 100000",
    }
    one = replace(two, version=1)
    assert dict(settings_of(one, LIMITS)) == {
        "memory.limit_in_bytes": size,
        "pids.max": "24",
        "cpu.cfs_period_us": "100000",
        "cpu.cfs_quota_us": "50000",
    }
    assert "cpu.max" not in dict(settings_of(two, replace(LIMITS, cpus=None)))


def test_what_the_kernel_says_of_memory_is_read_from_either_version(tmp_path: Path) -> None:
    two = Group({Tree(version=2, own=tmp_path, controllers=("memory",)): tmp_path})
    (tmp_path / "memory.events").write_text(
        "low 0\nhigh 0\nmax 12\noom 2\noom_kill 3\noom_group_kill 1\n"
    )
    assert two.killed() == 3
    assert not two.is_hurt()  # all of it is killed
    assert two.peak_kib() == 0  # a kernel before 5.19 does not say
    (tmp_path / "memory.peak").write_text("104857600\n")
    assert two.peak_kib() == 102_400
    one = Group({Tree(version=1, own=tmp_path, controllers=("memory",)): tmp_path})
    (tmp_path / "memory.oom_control").write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 1\n")
    (tmp_path / "memory.max_usage_in_bytes").write_text("1048576\n")
    assert one.killed() == 1
    assert one.is_hurt()
    assert one.peak_kib() == 1024


# ------------------------------------------------------------------ what is missing


def test_controllers_are_handed_down_to_the_groups_below(tmp_path: Path) -> None:
    (tmp_path / "cgroup.controllers").write_text("cpuset cpu io memory pids\n")
    (tmp_path / "cgroup.subtree_control").write_text("pids\n")
    tree = Tree(version=2, own=tmp_path, controllers=())
    ready = delegation._delegated(tree, ["memory", "pids", "cpu"])
    assert ready.controllers == ("memory", "pids", "cpu")
    assert (tmp_path / "cgroup.subtree_control").read_text().startswith("+memory +cpu")


def test_a_server_that_has_stepped_aside_knows_its_group_again(tmp_path: Path) -> None:
    aside = tmp_path / delegation.ASIDE
    aside.mkdir()
    (tmp_path / "cgroup.controllers").write_text("memory\n")
    (tmp_path / "cgroup.subtree_control").write_text("memory\n")
    tree = Tree(version=2, own=aside, controllers=())
    assert delegation._delegated(tree, ["memory"]).own == tmp_path


def test_a_server_that_shares_its_group_says_what_it_needs(tmp_path: Path) -> None:
    (tmp_path / "cgroup.procs").write_text(f"{os.getpid()}\n1\n")
    with pytest.raises(GroupsMissing, match=r"1 other processes .* Delegate=yes"):
        delegation._step_aside(tmp_path)


@pytest.mark.parametrize(
    ("trees", "why"),
    [
        ([], "no control group with a limit of memory"),
        (
            [Tree(version=1, own=Path("/nowhere"), controllers=("memory",))],
            "/nowhere/.*: No such file or directory",
        ),
        ([Tree(version=2, own=Path("/nowhere"), controllers=())], "/nowhere/cgroup.controllers"),
    ],
)
def test_where_no_group_can_be_made_it_is_said_why(trees: list[Tree], why: str) -> None:
    with pytest.raises(GroupsMissing, match=why):
        try_trees(trees, LIMITS)


def test_what_is_missing_says_what_it_leaves_open(tmp_path: Path) -> None:
    ladder = climb("none")
    none = Sandbox(LIMITS, ladder, groups="no control group with a limit of memory").describe()
    assert none["cgroup"] == {}
    assert any(
        "no control group with a limit of memory; so memory of a worker" in text
        for text in none["missing"]
    )
    tree = Tree(version=2, own=tmp_path, controllers=("memory", "pids"))
    some = Sandbox(LIMITS, ladder, groups=Groups([tree], {"cpu": "not delegated"})).describe()
    assert some["cgroup"] == {"memory": "v2", "pids": "v2"}
    assert (
        "control group, cpu: not delegated; so workers share the processors freely"
        in (some["missing"])
    )


# ------------------------------------------------------------------ real ones


@pytest.fixture(params=[1, 2])
def group(request: pytest.FixtureRequest) -> Iterator[tuple[Groups, Group]]:
    """A real group; of version 2 without controllers where these are bound to version 1."""
    trees = read_trees(
        Path("/proc/self/mountinfo").read_text(), Path("/proc/self/cgroup").read_text()
    )
    tree = next((tree for tree in trees if tree.version == request.param), None)
    if tree is None:
        pytest.skip(f"no control groups of version {request.param} here")
    groups = Groups([tree])
    try:
        made = groups.make(replace(LIMITS, cpus=None))
    except OSError as exc:
        pytest.skip(f"no group can be made: {exc}")
    yield groups, made
    groups.release(made)
    wait_until(groups.tidy, "it is gone")
    assert not list(tree.own.glob(f"{groups.prefix}*"))


def joined(group: Group, command: list[str]) -> subprocess.Popen[bytes]:
    """Start a program in a group, as workers join: without rights of its own."""
    with ExitStack() as stack:
        doors = group.doors()
        for door in doors:
            stack.callback(os.close, door)
        words = "".join(f"echo 0 > /proc/self/fd/{door}; " for door in doors)
        return subprocess.Popen(
            ["/bin/sh", "-c", f'{words}exec "$@"', "sh", *command], pass_fds=doors
        )


def test_a_process_joins_with_what_it_starts_and_is_ended_with_it(
    group: tuple[Groups, Group],
) -> None:
    groups, made = group
    script = "setsid sleep 60 & sleep 60"
    with joined(made, ["/bin/sh", "-c", script]) as process:
        wait_until(lambda: len(made.members()) >= 3, "all are in it")
        assert process.pid in made.members()
        assert not made.remove()
        groups.release(made)
        process.wait(60)
    wait_until(lambda: not made.members(), "nobody is in it any more")


def test_groups_of_servers_that_were_killed_are_removed(group: tuple[Groups, Group]) -> None:
    groups, _ = group
    tree = groups._trees[0]
    with subprocess.Popen(["/bin/true"]) as process:
        process.wait()
    abandoned = tree.own / f"fanfold-{process.pid}-0123abcd-1"
    abandoned.mkdir()
    mine = set(tree.own.glob(f"{groups.prefix}*"))
    delegation._remove_abandoned([tree])
    assert not abandoned.exists()
    assert mine == set(tree.own.glob(f"{groups.prefix}*"))
