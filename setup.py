"""Builds the native code: the operators `adtool._C` and the exact metrics `adtool.metrics._exact`.

Environment:
  ADTOOL_NATIVE=0          no native code; the PyTorch and NumPy references answer
  ADTOOL_CUDA=1|0|auto     CUDA kernels or fail | none | if torch is a CUDA build and nvcc of its version (default)
  CUDA_HOME                the CUDA toolkit, if nvcc is not on PATH
  TORCH_CUDA_ARCH_LIST     GPU architectures to compile for, e.g. "8.6;9.0+PTX"
"""

import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
from glob import glob
from pathlib import Path

from setuptools import Extension, setup

BUILDING = {"bdist_wheel", "build", "build_ext", "develop", "editable_wheel", "install"} & set(sys.argv)
ARCHITECTURES = "7.5;8.0;8.6;8.9;9.0;10.0;12.0+PTX"
CXX_FLAGS = "-O3 -g0 -fvisibility=hidden -fopenmp-simd -fno-math-errno -fno-trapping-math -Wno-psabi".split()
CXX_FLAGS.append(f"-ffile-prefix-map={os.getcwd()}/=")  # error messages name sources from the project's root
STABLE_ABI = ["-DTORCH_TARGET_VERSION=0x020d000000000000ULL", "-DTORCH_STABLE_ONLY"]
INSTRUCTION_SETS = {  # name: (bytes of a vector, what the compiler may use)
    "baseline": (16, ""),
    "avx2": (32, '#pragma GCC target("arch=x86-64-v3")\n'),
    "avx512": (64, '#pragma GCC target("arch=x86-64-v4,prefer-vector-width=512")\n'),
}


def require_compiler():
    """Stop with one line when there is no C++ compiler or no Python headers."""
    compiler = os.environ.get("CXX", "c++")
    cure = "or set ADTOOL_NATIVE=0 to install without native code"
    if not shutil.which(compiler):
        raise SystemExit(f"adtool: no C++ compiler: {compiler} is not on PATH; install g++, name one in CXX, {cure}")
    if not Path(sysconfig.get_path("include"), "Python.h").exists():
        raise SystemExit(f"adtool: no Python.h: install the Python headers (python3-dev), {cure}")


def cuda_toolkit():
    """(root, major version) of nvcc's toolkit, asked of nvcc itself, since the one on PATH may be a script; or None."""
    home = os.environ.get("CUDA_HOME")
    nvcc = shutil.which("nvcc", path=f"{home}/bin" if home else None)
    if nvcc is None:
        return None
    dry_run = [nvcc, "--dryrun", "-x", "cu", "-c", os.devnull, "-o", os.devnull]
    root = re.search(r"#\$ TOP=(\S+)", subprocess.run(dry_run, capture_output=True, text=True).stderr)
    version = re.search(r"release (\d+)", subprocess.run([nvcc, "--version"], capture_output=True, text=True).stdout)
    return Path(root[1] if root else Path(nvcc).parents[1]).resolve(), version[1] if version else "?"


def choose_cuda():
    """Root of the CUDA toolkit to build with, None for a CPU build; says which and why."""
    import torch

    wish, toolkit = os.environ.get("ADTOOL_CUDA", "auto"), cuda_toolkit()
    if wish not in ("0", "1", "auto"):
        raise SystemExit(f"adtool: ADTOOL_CUDA={wish}: expected 1, 0 or auto")
    if wish == "1" and toolkit is None:
        raise SystemExit("adtool: ADTOOL_CUDA=1, but no nvcc: put it on PATH or set CUDA_HOME")
    wanted, reason = wish == "1", f"ADTOOL_CUDA={wish}"
    if wish == "auto":
        ours, theirs = torch.version.cuda, toolkit and toolkit[1]
        wanted = ours is not None and theirs == ours.split(".")[0]
        reason += f": torch {torch.__version__} is for CUDA {ours or 'none'}, nvcc is {theirs or 'not found'}"
    root = toolkit[0] if wanted else None
    print(f"adtool: native code for {f'CPU and CUDA, with {root}' if root else 'CPU only'} [{reason}]")
    return root


def generated(name, text):
    """A source of one include, for files that are compiled more than once or whose object would take another's name."""
    path = Path("build/generated", name)
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists() or path.read_text() != text:
        path.write_text(text)
    return str(path)


def vector_bodies():
    """Every csrc/cpu/*_body.h once for each instruction set of this processor family."""
    names = list(INSTRUCTION_SETS) if platform.machine() in ("x86_64", "AMD64") else ["baseline"]
    for body in sorted(Path("csrc/cpu").glob("*_body.h")):
        for name in names:
            width, pragma = INSTRUCTION_SETS[name]
            defines = f"#define ADTOOL_BODY {name}\n#define ADTOOL_VECTOR_BYTES {width}\n"
            yield generated(f"{body.stem}_{name}.cpp", f'{pragma}{defines}#include "cpu/{body.name}"\n')


def operators(cpp_extension, root):
    """`adtool._C`, on the LibTorch stable ABI and the limited Python API: one binary serves many versions of both."""
    sources = sorted(glob("csrc/*.cpp") + glob("csrc/cpu/*.cpp")) + list(vector_bodies())
    extension = Extension("adtool._C", sources, language="c++", py_limited_api=True)
    extension.include_dirs = [os.path.abspath("csrc"), *cpp_extension.include_paths()]
    extension.library_dirs, extension.libraries = cpp_extension.library_paths(), ["torch_cpu"]
    extension.extra_compile_args = {"cxx": CXX_FLAGS + STABLE_ABI, "nvcc": ["-O3"]}
    extension.extra_link_args = ["-s"]
    if root:
        cpp_extension.CUDA_HOME = str(root)
        architectures = os.environ.setdefault("TORCH_CUDA_ARCH_LIST", ARCHITECTURES)
        extension.sources += sorted(glob("csrc/cuda/*.cpp"))
        for kernel in sorted(Path("csrc/cuda").glob("*.cu")):
            extension.sources.append(generated(f"{kernel.stem}_kernels.cu", f'#include "cuda/{kernel.name}"\n'))
        extension.extra_compile_args["cxx"].append(f'-DADTOOL_CUDA="{architectures}"')
        extension.library_dirs += [f"{root}/lib64", f"{root}/lib"]
        extension.libraries += ["cudart_static", "rt", "dl", "pthread"]
        extension.extra_link_args.append("-Wl,--exclude-libs,ALL")
    return extension


def native_code():
    """The arguments of `setup` that build native code; none for commands that build nothing."""
    if not BUILDING:
        return {}
    if os.environ.get("ADTOOL_NATIVE") == "0":
        print("adtool: no native code [ADTOOL_NATIVE=0]")
        return {}
    require_compiler()
    root = choose_cuda()
    from torch.utils import cpp_extension  # it may speak of CUDA, so the choice comes first

    extensions = [operators(cpp_extension, root)]
    if sources := sorted(glob("csrc/metrics/*.cpp")):  # pybind11's headers come with torch
        include_dirs = [os.path.abspath("csrc"), *cpp_extension.include_paths()]
        flags = {"cxx": CXX_FLAGS}
        extensions.append(Extension("adtool.metrics._exact", sources, include_dirs, extra_compile_args=flags))
    return {"ext_modules": extensions, "cmdclass": {"build_ext": cpp_extension.BuildExtension}}


setup(**native_code())
