import ctypes
import json
import os
import subprocess
import sys

import pytest

from adtool import runtime

OF_MALLOC = "MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES"
BLOCK = 20 << 20
ONE_BLOCK = f"""
import ctypes, json, sys
from adtool import runtime

NAMES = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost".split()
class Info(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in NAMES]
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.free.argtypes, libc.mallinfo2.restype = ctypes.c_void_p, [ctypes.c_void_p], Info
if sys.argv[1] == "keep":
    runtime.keep_freed_memory()
block = libc.malloc({BLOCK})
mapped = libc.mallinfo2().hblkhd
libc.free(block)
print(json.dumps([mapped, libc.mallinfo2().keepcost]))
"""
glibc = pytest.mark.skipif(
    os.name != "posix" or not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="the C library is no recent glibc"
)


def one_block(how: str, **environment: str) -> tuple[int, int]:
    """Of a process that takes a block and frees it: bytes mapped for the block alone, and bytes kept for the next."""
    command = [sys.executable, "-c", ONE_BLOCK, how]
    others = {name: value for name, value in os.environ.items() if name not in OF_MALLOC}
    ran = subprocess.run(command, env=others | environment, capture_output=True, text=True, check=True)
    mapped, kept = json.loads(ran.stdout)
    return mapped, kept


@glibc
def test_freed_memory_stays_for_the_next_block():
    mapped, kept = one_block("leave")
    assert mapped >= BLOCK > kept, "glibc as it is gives the block back"
    mapped, kept = one_block("keep")
    assert mapped < BLOCK <= kept


@glibc
@pytest.mark.parametrize(
    "wish",
    [
        {"MALLOC_TRIM_THRESHOLD_": "131072"},
        {"MALLOC_MMAP_THRESHOLD_": "131072"},
        {"GLIBC_TUNABLES": "glibc.malloc.trim_threshold=131072"},
    ],
    ids=str,
)
def test_what_the_environment_says_of_memory_stays(wish):
    mapped, kept = one_block("keep", **wish)
    assert mapped >= BLOCK > kept


def test_an_allocator_of_another_kind_is_left_alone(monkeypatch):
    for name in OF_MALLOC:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    runtime.keep_freed_memory()


@pytest.fixture
def environment(monkeypatch):
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def test_threads_spin_for_a_moment(environment):
    runtime.wait_briefly()
    found = {name: os.environ.pop(name) for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")}
    assert found == {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": str(runtime.SPINS)}


@pytest.mark.parametrize(("name", "value"), [("OMP_WAIT_POLICY", "ACTIVE"), ("GOMP_SPINCOUNT", "7")])
def test_what_the_environment_says_of_threads_stays(environment, name, value):
    environment.setenv(name, value)
    runtime.wait_briefly()
    (other,) = {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} - {name}
    assert os.environ[name] == value and other not in os.environ


def test_a_command_says_so_before_it_loads_torch():
    """Of a process of its own: this one has torch, and its environment is prepared."""
    code = (
        "import os, sys; from adtool.cli import CommandFiles; import click\n"
        "seen = lambda: print(os.environ.get('GOMP_SPINCOUNT'), 'torch' in sys.modules)\n"
        "CommandFiles.get_command = lambda *_: click.Command('work', callback=seen)\n"
        "CommandFiles('adtool')(['work'])"
    )
    others = {name: value for name, value in os.environ.items() if name not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")}
    ran = subprocess.run([sys.executable, "-c", code], env=others, capture_output=True, text=True, check=True)
    assert ran.stdout.split() == [str(runtime.SPINS), "False"]
