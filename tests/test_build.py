"""setup.py and the build backend: what is chosen, what is generated, and the one line that says what is missing."""

from __future__ import annotations

import os
import platform
import runpy
import stat
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
import setuptools
import torch
from setuptools import build_meta

from adtool.ops._native import native_info

ROOT = Path(__file__).parents[1]


@pytest.fixture
def setup(monkeypatch):
    """The functions of setup.py, which was run without a command."""
    monkeypatch.setattr(setuptools, "setup", lambda **arguments: None)
    monkeypatch.setattr(sys, "argv", ["setup.py"])
    return runpy.run_path(str(ROOT / "setup.py"))


@pytest.fixture
def backend(monkeypatch, tmp_path):
    """The build backend as it finds an environment at `tmp_path`."""

    def run(with_torch):
        if with_torch:
            (tmp_path / "torch").mkdir()
        monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path))
        monkeypatch.setattr(sys, "path", [*sys.path])
        monkeypatch.setenv("PYTHONPATH", "")
        for kind in ("wheel", "editable"):
            monkeypatch.setattr(build_meta, f"get_requires_for_build_{kind}", lambda settings: ["wheel"])
        return runpy.run_path(str(ROOT / "_build_backend.py"))

    return run


def tool(folder, name, script="exit 1"):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def nvcc(folder, release, knows="sm_75 sm_80 sm_86 sm_89 sm_90 sm_100 sm_120"):
    """A toolkit at `folder`, whose nvcc answers all questions at once."""
    answers = f"echo '#$ TOP={folder}' >&2; echo 'Cuda compilation tools, release {release}'; printf '%s\\n' {knows}"
    return tool(folder / "bin", "nvcc", answers)


def build(path, **environment):
    environment = {"PATH": str(path), "HOME": str(path), **environment}
    command = [sys.executable, "setup.py", "build_ext", "--build-lib", str(path), "--build-temp", str(path)]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)


def test_without_a_compiler_the_build_ends_with_one_line(tmp_path):
    run = build(tmp_path)
    assert run.returncode == 1
    assert run.stderr.splitlines() == [
        "adtool: no C++ compiler: c++ is not on PATH; install g++, name one in CXX, "
        "or set ADTOOL_NATIVE=0 to install without native code"
    ]


def test_without_nvcc_a_cuda_build_ends_with_one_line(tmp_path):
    tool(tmp_path, "c++")
    run = build(tmp_path, ADTOOL_CUDA="1")
    assert run.returncode == 1
    assert run.stderr.splitlines() == ["adtool: ADTOOL_CUDA=1, but no nvcc: put it on PATH or set CUDA_HOME"]


def test_native_code_can_be_left_out(tmp_path):
    run = build(tmp_path, ADTOOL_NATIVE="0")
    assert run.returncode == 0, run.stderr
    assert "adtool: no native code [ADTOOL_NATIVE=0]" in run.stdout
    assert not list(tmp_path.rglob("*.so"))


@pytest.mark.parametrize(
    ("wish", "torch_cuda", "release", "chosen"),
    [
        ("0", "13.0", "13.0", False),
        ("1", None, "13.0", True),
        ("1", "12.8", "13.0", True),
        ("auto", None, "13.0", False),
        ("auto", "13.0", "13.1", True),
        ("auto", "12.8", "13.0", False),
        ("auto", "13.0", None, False),
        ("nvcc", None, "13.0", True),
        ("nvcc", "13.0", None, False),
    ],
)
def test_cuda_is_chosen_as_asked(setup, monkeypatch, capsys, tmp_path, wish, torch_cuda, release, chosen):
    if release:
        nvcc(tmp_path / "toolkit", release)
    monkeypatch.setenv("ADTOOL_CUDA", wish)
    monkeypatch.setenv("CUDA_HOME", str(tmp_path / "toolkit"))
    monkeypatch.setattr(torch.version, "cuda", torch_cuda)
    assert setup["choose_cuda"]() == (tmp_path / "toolkit" if chosen else None)
    said = capsys.readouterr().out
    assert said.startswith(f"adtool: native code for {'CPU and CUDA' if chosen else 'CPU only'}")
    assert f"ADTOOL_CUDA={wish}" in said


@pytest.mark.parametrize(("wish", "chosen"), [("nvcc", None), ("1", SystemExit)])
def test_an_nvcc_that_is_too_old_is_named(setup, monkeypatch, capsys, tmp_path, wish, chosen):
    nvcc(tmp_path, "12.6", knows="sm_75 sm_80 sm_86 sm_89 sm_90")
    monkeypatch.setenv("ADTOOL_CUDA", wish)
    monkeypatch.setenv("CUDA_HOME", str(tmp_path))
    monkeypatch.delenv("TORCH_CUDA_ARCH_LIST", raising=False)
    complaint = f"ADTOOL_CUDA={wish}, but nvcc 12 does not know sm_100, sm_120: "
    if chosen is SystemExit:
        with pytest.raises(SystemExit, match=complaint):
            setup["choose_cuda"]()
    else:
        assert setup["choose_cuda"]() is None
        assert complaint in capsys.readouterr().out
    monkeypatch.setenv("TORCH_CUDA_ARCH_LIST", "8.6;9.0a+PTX")
    assert setup["choose_cuda"]() == tmp_path


def test_a_wrapped_nvcc_on_the_path_is_followed_to_its_toolkit(setup, monkeypatch, tmp_path):
    real = nvcc(tmp_path / "cuda-13.0", "13.0")
    tool(tmp_path / "bin", "nvcc", f'exec {real} "$@"')
    monkeypatch.delenv("CUDA_HOME", raising=False)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    assert setup["cuda_toolkit"]() == (tmp_path / "cuda-13.0", "13")


def test_an_unknown_wish_for_cuda_is_an_error(setup, monkeypatch):
    monkeypatch.setenv("ADTOOL_CUDA", "yes")
    with pytest.raises(SystemExit, match="ADTOOL_CUDA=yes: expected 1, 0, auto or nvcc"):
        setup["choose_cuda"]()


@pytest.mark.parametrize(("machine", "sets"), [("x86_64", ["baseline", "avx2", "avx512"]), ("aarch64", ["baseline"])])
def test_vector_bodies_are_compiled_for_each_instruction_set(setup, monkeypatch, tmp_path, machine, sets):
    (tmp_path / "csrc/cpu").mkdir(parents=True)
    (tmp_path / "csrc/cpu/some_op_body.h").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    sources = list(setup["vector_bodies"]())
    assert [Path(source).stem for source in sources] == [f"some_op_body_{name}" for name in sets]
    for source in sources:
        text = Path(source).read_text(encoding="utf-8")
        assert text.endswith('#include "cpu/some_op_body.h"\n')
        assert ("#pragma GCC target" in text) == ("baseline" not in source)
    os.utime(sources[0], (1, 1))
    list(setup["vector_bodies"]())
    assert os.stat(sources[0]).st_mtime == 1, "a source that has not changed must not be compiled again"


def test_cuda_sources_are_compiled_again_when_a_header_changes(setup, monkeypatch, tmp_path):
    texts = {
        "csrc/cuda/some_op.cu": '#include "kernels/some_op.cuh"\n#include <stdint.h>\n',
        "csrc/cuda/other_op.cu": "",
        "csrc/kernels/some_op.cuh": '#include "shared.h"\n',
        "csrc/shared.h": '#include "kernels/some_op.cuh"\n',
    }
    for name, text in texts.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)

    def generated():
        return [Path(source).read_text(encoding="utf-8") for source in setup["kernels"]()]

    other, some = generated()
    assert some.startswith('#include "cuda/some_op.cu"\n')
    assert generated() == [other, some]
    (tmp_path / "csrc/shared.h").write_text("// changed\n", encoding="utf-8")
    assert generated()[0] == other
    assert generated()[1] != some


@pytest.mark.parametrize("command", ["build_ext --inplace", "bdist_wheel"])
def test_libraries_of_an_earlier_build_do_not_stay_unnoticed(setup, monkeypatch, capsys, tmp_path, command):
    library = tmp_path / "adtool/metrics/_exact.so"
    library.parent.mkdir(parents=True)
    library.touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ADTOOL_NATIVE", "0")
    monkeypatch.setattr(sys, "argv", ["setup.py", *command.split()])
    runpy.run_path(str(ROOT / "setup.py"))
    said = capsys.readouterr().out
    assert library.exists() == ("inplace" not in command)
    assert f"{'' if library.exists() else 'removed '}adtool/metrics/_exact.so" in said


def test_the_backend_uses_the_torch_of_the_environment(backend, tmp_path):
    requirements = backend(with_torch=True)["get_requires_for_build_wheel"]()
    assert requirements == ["wheel"]
    assert sys.path[-1] == os.environ["PYTHONPATH"] == str(tmp_path)


@pytest.mark.parametrize("kind", ["wheel", "editable"])
def test_the_backend_asks_for_torch_where_there_is_none(backend, kind):
    assert backend(with_torch=False)[f"get_requires_for_build_{kind}"]() == ["wheel", "torch>=2.13"]


def test_the_backend_asks_for_no_torch_without_native_code(backend, monkeypatch):
    monkeypatch.setenv("ADTOOL_NATIVE", "0")
    assert backend(with_torch=False)["get_requires_for_build_wheel"]() == ["wheel"]


@pytest.mark.skipif(not native_info()["built"], reason="the native library is not built")
def test_the_library_is_one_binary_for_many_versions():
    import adtool._C as library

    assert library.__file__.endswith("_C.abi3.so")
    binary = Path(library.__file__).read_bytes()
    for name in (b"libc10.so", b"libtorch_python.so", b"libtorch_cuda.so", b"libcudart.so", b"get_current_cuda_stream"):
        assert name not in binary, name
