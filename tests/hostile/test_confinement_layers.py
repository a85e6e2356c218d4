"""The layers one by one: older kernels' Landlock, both architectures' filters, another user."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hostile.without_landlock import PREFIX
from waiting import wait_until_async
from workers.fleets import PROD, running, serving_code

from gateway.config.sections import BranchConfig
from gateway.workers.containment import Containment
from gateway.workers.launch import Interpreter, Launch, environment
from gateway.workers.runner.confinement import calls, files
from gateway.workers.runner.confinement.numbers import MACHINES, NEWEST, numbers

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the layers are Linux's")

NUMBER, ARCHITECTURE, ARGUMENTS = 0, 4, 16
PID = 4321


def verdict(
    machine: str, name: str | int, *arguments: int, network: bool = False, landlock: int = 7
) -> int:
    """What the filter says of a call, by walking through it as the kernel does."""
    number = numbers(machine)[name] if isinstance(name, str) else name
    assert number is not None
    data = {NUMBER: number, ARCHITECTURE: MACHINES[machine].audit}
    for place, value in enumerate(arguments):
        data[ARGUMENTS + 8 * place] = value & 0xFFFFFFFF
        data[ARGUMENTS + 8 * place + 4] = value >> 32
    steps = calls.program(machine, PID, network=network, landlock=landlock)
    at = held = 0
    while True:
        code, yes, no, value = steps[at]
        at += 1
        if code == 0x20:
            held = data.get(value, 0)
        elif code == 0x54:
            held &= value
        elif code == 0x06:
            return value
        else:
            holds = {0x15: held == value, 0x35: held >= value, 0x45: bool(held & value)}[code]
            at += yes if holds else no


BOTH = pytest.mark.parametrize("machine", MACHINES)


@BOTH
def test_programs_processes_sockets_and_tracing_are_refused(machine: str) -> None:
    for name in ("execve", "execveat", "unshare", "io_uring_setup", "shmget", "pidfd_open"):
        assert verdict(machine, name) == calls.NOT_PERMITTED, name
    for name in ("ptrace", "process_vm_writev", "mount", "bpf", "setns", "init_module"):
        assert verdict(machine, name) == calls.KILL, name
    for family in (1, 2, 10, 16, 17):
        assert verdict(machine, "socket", family, 1) == calls.NOT_PERMITTED
    thread, process = 0x3D0F00, 0x1200011
    assert verdict(machine, "clone", thread) == calls.ALLOW
    assert verdict(machine, "clone", process) == calls.NOT_PERMITTED
    assert verdict(machine, "clone3") == calls.NOT_THERE
    assert verdict(machine, NEWEST + 1) == calls.NOT_THERE
    assert verdict(machine, "chmod" if machine == "x86_64" else "fchmodat") == calls.PRETENDED


@BOTH
def test_of_processes_it_may_signal_and_bound_itself_alone(machine: str) -> None:
    for name in ("kill", "tgkill", "rt_sigqueueinfo"):
        assert verdict(machine, name, PID) == calls.ALLOW
        for other in (1, 0, 2**32 - 1):
            assert verdict(machine, name, other) == calls.NOT_PERMITTED
    for name in ("prlimit64", "sched_setaffinity"):
        assert verdict(machine, name, 0) == verdict(machine, name, PID) == calls.ALLOW
        assert verdict(machine, name, 1) == calls.NOT_PERMITTED
    assert verdict(machine, "setpriority", 0, 0) == calls.ALLOW
    assert verdict(machine, "setpriority", 2, 0) == calls.NOT_PERMITTED
    assert verdict(machine, "prctl", 1, 0) == calls.KILL
    assert verdict(machine, "prctl", 15) == calls.ALLOW


@BOTH
def test_the_channel_and_a_loop_of_asyncio_go_on_working(machine: str) -> None:
    assert verdict(machine, "sendto", 700, 2**40, 5, 0, 0) == calls.ALLOW
    assert verdict(machine, "sendto", 700, 2**40, 5, 0, 2**40) == calls.NOT_PERMITTED
    assert verdict(machine, "socketpair", 1, 0o2004001) == calls.ALLOW
    assert verdict(machine, "socketpair", 1, 2) == calls.NOT_PERMITTED
    assert verdict(machine, "socketpair", 2, 1) == calls.NOT_PERMITTED


@BOTH
def test_with_the_network_it_connects_and_still_does_not_listen(machine: str) -> None:
    for family, expected in ((2, calls.ALLOW), (10, calls.ALLOW), (1, calls.NOT_PERMITTED)):
        assert verdict(machine, "socket", family, 1, network=True) == expected
    assert verdict(machine, "connect", network=True) == calls.ALLOW
    assert verdict(machine, "listen", network=True) == calls.NOT_PERMITTED
    assert verdict(machine, "execve", network=True) == calls.NOT_PERMITTED


@BOTH
@pytest.mark.parametrize(("landlock", "refused"), [(1, True), (2, True), (3, False), (7, False)])
def test_what_an_older_landlock_does_not_know_is_refused_by_the_filter(
    machine: str, landlock: int, refused: bool
) -> None:
    """Emptying a file that may only be read."""
    expected = calls.NOT_PERMITTED if refused else calls.ALLOW
    assert verdict(machine, "truncate", landlock=landlock) == expected
    empties = os.O_RDONLY | 0o1000
    assert verdict(machine, "openat", 0, 0, empties, landlock=landlock) == expected
    assert verdict(machine, "openat", 0, 0, os.O_RDONLY, landlock=landlock) == calls.ALLOW


def test_calls_of_another_architecture_end_the_process() -> None:
    assert verdict("x86_64", 0x40000000 + 41) == calls.KILL
    foreign = calls.program("x86_64", PID, network=False, landlock=7)[:3]
    assert foreign[2].value == calls.KILL


def headers() -> Iterator[tuple[str, Path]]:
    places = {
        "x86_64": ("/usr/include/x86_64-linux-gnu/asm/unistd_64.h", "/usr/include/asm/unistd_64.h"),
        "aarch64": ("/usr/include/asm-generic/unistd.h",),
    }
    for machine, found in places.items():
        yield from ((machine, Path(place)) for place in found if Path(place).exists())


@pytest.mark.skipif(
    not any(headers()) and not os.environ.get("CI"), reason="the kernel's headers are not installed"
)
def test_the_numbers_of_the_calls_are_the_kernels() -> None:
    assert any(headers()), "linux-libc-dev is not installed, and under CI that is a failure"
    for machine, header in headers():
        pattern = r"#define __NR(?:3264)?_(\w+)\s+(\d+)"
        known: dict[str, int] = {}
        for name, number in re.findall(pattern, header.read_text()):
            known.setdefault(name, int(number))
        for name, ours in numbers(machine).items():
            if name in known:
                assert known[name] == ours, (machine, name)


CONFINES = """
import json, os, sys
sys.path.insert(0, {runner!r})
import confinement
from pathlib import Path
root, scratch, secret = map(Path, sys.argv[1:4])
order = confinement.Order("best-effort", False, str(scratch), 2**20, None, None)
held = confinement.confine(order, root, newest_landlock=int(sys.argv[4]))
def tried(what):
    try:
        what()
    except OSError as error:
        return type(error).__name__
    return "done"
def moved(folder):
    (folder / "a").mkdir()
    (folder / "new").rename(folder / "a/new")
print(json.dumps({{
    "holds": held.holds,
    "lacks": held.lacks,
    "reads its own": tried(lambda: (root / "own").read_text()),
    "reads another's": tried(lambda: secret.read_text()),
    "writes its own": tried(lambda: (scratch / "new").write_text("x")),
    "moves its own": tried(lambda: moved(scratch)),
    "writes another's": tried(lambda: secret.write_text("x")),
    "empties what it may read": tried(lambda: os.open(root / "own", os.O_RDONLY | os.O_TRUNC)),
    "removes what it may read": tried(lambda: (root / "own").unlink()),
    "makes a link": tried(lambda: os.link(root / "own", scratch / "own")),
}}))
"""


@pytest.mark.parametrize("abi", range(files.NEWEST + 1))
def test_every_version_of_landlock_keeps_files_apart(tmp_path: Path, abi: int) -> None:
    if files.version() < abi:
        pytest.skip(f"this kernel has ABI {files.version()}")
    for name in ("root", "scratch"):
        (tmp_path / name).mkdir()
    (tmp_path / "root" / "own").write_text("own")
    (tmp_path / "secret").write_text("secret")
    runner = Path(calls.__file__).parents[1]
    code = CONFINES.format(runner=str(runner))
    places = [str(tmp_path / name) for name in ("root", "scratch", "secret")]
    command = [sys.executable, "-P", "-c", code, *places, str(abi)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    found = json.loads(done.stdout or f'{{"error": {done.stderr!r}}}')
    assert found["reads its own"] == found["writes its own"] == "done"
    if not abi:
        assert found["lacks"]["landlock"] == "this kernel has none, or it is turned off"
        assert found["reads another's"] == "done"
        return
    assert found["holds"]["landlock"].startswith(f"ABI {abi}: files")
    assert (tmp_path / "root" / "own").read_text() == "own"
    refused = {what for what, how in found.items() if how == "PermissionError"}
    assert {"reads another's", "writes another's", "removes what it may read"} <= refused
    assert "empties what it may read" in refused
    assert (found["moves its own"] == "done") == (abi >= 2)  # into another folder of its own


LOOKS = """
import os
from pathlib import Path
def predict(model, instances):
    seen = {"user": os.getuid(), "groups": os.getgroups(), "temp": os.environ["TMPDIR"]}
    for path in instances[0]:
        try:
            seen[path] = Path(path).read_text()
        except OSError as error:
            seen[path] = error.errno
    return [seen for _ in instances]
"""
#: One whose modules any user may read, which the tests' own need not be.
SYSTEM_PYTHON = Path("/usr/bin/python3")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives a worker another user")
@pytest.mark.skipif(not SYSTEM_PYTHON.exists(), reason="there is no Python for all users")
def test_as_root_each_worker_is_a_user_of_its_own_that_finds_its_snapshot_and_no_more() -> None:
    async def story(folder: Path) -> None:
        state = folder / "state"
        (state / "snapshots").mkdir(parents=True, mode=0o700)
        state.chmod(0o700)
        (state / "store").write_text("of everybody")
        containment = Containment("required", state)
        launch = Launch(Interpreter(str(SYSTEM_PYTHON)), containment=containment)
        branches = {PROD: BranchConfig(workers=2)}
        async with running(state / "snapshots", launch=launch, branches=branches) as world:
            found = await world.settled(serving_code(state / "snapshots", LOOKS))
            assert found["containment"]["lacks"] == {}, found
            await world.joined(2)
            seen = [(await world.ask([[str(state / "store")]]))[0] for _ in range(8)]
            users = {one["user"] for one in seen}
            assert 0 not in users
            assert all(one["groups"] == [] for one in seen)
            assert all(one[str(state / "store")] == errno.EACCES for one in seen)
            assert (state / "store").stat().st_mode & 0o077 == 0
            assert state.stat().st_mode & 0o007 == 0
            assert Path(seen[0]["temp"]).stat().st_uid == seen[0]["user"]  # noqa: ASYNC240 - a stat

    # Not in the tests' own folder, which nobody else may enter.
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        asyncio.run(story(Path(folder)))
        assert not any(Path(folder, "state", "scratch").iterdir())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives a worker another user")
def test_where_other_users_cannot_come_the_worker_stays_and_status_says_why(
    tmp_path: Path,
) -> None:
    async def story(sandbox: str) -> dict[str, Any]:
        folder = tmp_path / sandbox
        folder.mkdir(mode=0o700)
        state = folder / "state"
        (state / "snapshots").mkdir(parents=True)
        launch = Launch(containment=Containment(sandbox, state))
        async with running(state / "snapshots", launch=launch) as world:
            move = serving_code(state / "snapshots", LOOKS)
            if sandbox == "best-effort":
                return await world.settled(move)
            world.fleet.offer(move)
            await wait_until_async(lambda: world.state()["reason"], describe=world.state)
            return world.state()

    found = asyncio.run(story("best-effort"))
    assert found["state"] == "ready"
    why = found["containment"]["lacks"]["user"]
    assert "cannot be read by any user but the gateway's own" in why
    found = asyncio.run(story("required"))
    assert found["state"] == "loading"
    assert found["quarantined"] is None
    assert "sandbox: required, but a worker here lacks user: " in found["reason"]


def test_a_branch_with_the_network_connects_and_others_do_not(tmp_path: Path) -> None:
    code = (
        "import socket\ndef predict(model, rows):\n"
        "    socket.create_connection(('127.0.0.1', rows[0][0]), 5).close()\n"
        "    return ['connected' for _ in rows]\n"
    )

    async def story() -> None:
        launch = Launch(containment=Containment("best-effort"))
        branches = {PROD: BranchConfig(network=True)}
        with socket.create_server(("127.0.0.1", 0)) as home:
            async with running(tmp_path, launch=launch, branches=branches) as world:
                await world.settled(serving_code(tmp_path, code))
                assert await world.ask([[home.getsockname()[1]]]) == ["connected"]

    asyncio.run(story())


SPARED = """
import os, {module}
from pathlib import Path
def predict(model, instances):
    try:
        seen = Path(instances[0][0]).read_text()
    except OSError as error:
        seen = type(error).__name__
    return [[os.getpid(), seen] for _ in instances]
"""
THREADED = (
    "import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()\n"
)


@pytest.mark.parametrize("module", ["statistics", "starts_a_thread"])
def test_a_spare_is_restricted_before_it_loads_and_one_with_threads_is_not_used(
    tmp_path: Path, module: str
) -> None:
    """Landlock binds one thread: what was imported ahead must not have left others."""
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "starts_a_thread.py").write_text(THREADED)

    async def story() -> None:
        variables = {**environment(), "PYTHONPATH": str(tmp_path / "modules")}
        launch = Launch(environment=variables, containment=Containment("best-effort"))
        async with running(tmp_path, launch=launch, spare_workers=1) as world:
            code = SPARED.format(module=module)
            await world.settled(serving_code(tmp_path, code))

            def ready() -> list[int]:
                spares = world.fleet.spares.status
                return [one["pid"] for one in spares if one["state"] == "ready"]

            await wait_until_async(ready, describe=lambda: world.fleet.spares.status)
            (spare,) = ready()
            found = await world.settled(serving_code(tmp_path, code + "# again\n"))
            ((pid, seen),) = await world.ask([[str(tmp_path / "secret")]])
            assert (pid == spare) == (module == "statistics")
            if "landlock" in found["containment"]["holds"]:
                assert seen == "PermissionError"

    asyncio.run(story())


HOLDS = """
import os
from pathlib import Path
def predict(model, instances):
    kinds = {}
    for descriptor in os.listdir("/proc/self/fd"):
        try:
            kinds[int(descriptor)] = os.readlink(f"/proc/self/fd/{descriptor}").partition(":")[0]
        except FileNotFoundError:
            pass  # the folder itself
    return [[kinds, dict(os.environ)] for _ in instances]
"""


def test_a_worker_has_nothing_of_the_gateways_but_its_channel(tmp_path: Path) -> None:
    async def story() -> None:
        launch = Launch(containment=Containment("best-effort"))
        with (tmp_path / "open").open("w"):
            async with running(tmp_path, launch=launch) as world:
                await world.settled(serving_code(tmp_path, HOLDS))
                ((kinds, variables),) = await world.ask([[1]])
        assert sorted(kinds.values()) == ["/dev/null", "pipe", "pipe", "socket"]
        assert variables.keys() - environment().keys() == {"TMPDIR", "JOBLIB_MULTIPROCESSING"}

    asyncio.run(story())


#: Says whether it closed itself, and whether the kernel would let others in.
SHIELDS = """
import ctypes, gateway.shielding
print(gateway.shielding.shield(), ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))
"""


@pytest.mark.parametrize("landlock", [True, False])
def test_a_process_closes_itself_where_no_landlock_keeps_others_out(landlock: bool) -> None:
    if landlock and not files.version():
        pytest.skip("this kernel has no Landlock")
    command = [*([] if landlock else PREFIX), sys.executable, "-c", SHIELDS]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=True)
    assert done.stdout.split() == (["False", "1"] if landlock else ["True", "0"])
