"""Builds the native code: the operators `adtool._C` and the exact metrics `adtool.metrics._exact`.

Environment:
  ADTOOL_NATIVE=0          no native code; the PyTorch and NumPy references answer
  ADTOOL_CUDA=1|0|auto     CUDA kernels or fail | none | if torch is a CUDA build and nvcc of its version (default)
  ADTOOL_CUDA=nvcc         CUDA kernels if there is an nvcc for them, whatever torch is
  CUDA_HOME                the CUDA toolkit, if nvcc is not on PATH
  TORCH_CUDA_ARCH_LIST     GPU architectures to compile for, e.g. "8.6;9.0+PTX"
"""

import hashlib
import os
import platform
import re
import shlex
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


def nvcc_says(nvcc, *arguments):
    """All that it prints."""
    return subprocess.run([nvcc, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True).stdout


def cuda_toolkit():
    """(root, major version) of nvcc's toolkit, asked of nvcc itself, since the one on PATH may be a script; or None."""
    home = os.environ.get("CUDA_HOME")
    nvcc = shutil.which("nvcc", path=f"{home}/bin" if home else None)
    if nvcc is None:
        return None
    root = re.search(r"#\$ TOP=(\S+)", nvcc_says(nvcc, "--dryrun", "-x", "cu", "-c", os.devnull, "-o", os.devnull))
    version = re.search(r"release (\d+)", nvcc_says(nvcc, "--version"))
    return Path(root[1] if root else Path(nvcc).parents[1]).resolve(), version[1] if version else "?"


def lacking(toolkit):
    """What keeps a toolkit from compiling for every architecture, or ""."""
    if toolkit is None:
        return "no nvcc: put it on PATH or set CUDA_HOME"
    wanted = re.findall(r"(\d+)\.(\d+\w?)", os.environ.get("TORCH_CUDA_ARCH_LIST", ARCHITECTURES))
    known = nvcc_says(f"{toolkit[0]}/bin/nvcc", "--list-gpu-code").split()
    unknown = [name for name in (f"sm_{major}{minor}" for major, minor in wanted) if name.rstrip("af") not in known]
    cure = "a newer toolkit does, or set TORCH_CUDA_ARCH_LIST"
    return f"nvcc {toolkit[1]} does not know {', '.join(unknown)}: {cure}" if unknown else ""


def choose_cuda():
    """Root of the CUDA toolkit to build with, None for a CPU build; says which and why."""
    import torch

    wish, toolkit = os.environ.get("ADTOOL_CUDA", "auto"), cuda_toolkit()
    if wish not in ("0", "1", "auto", "nvcc"):
        raise SystemExit(f"adtool: ADTOOL_CUDA={wish}: expected 1, 0, auto or nvcc")
    lack = lacking(toolkit) if wish in ("1", "nvcc") else ""
    if wish == "1" and lack:
        raise SystemExit(f"adtool: ADTOOL_CUDA=1, but {lack}")
    wanted, reason = wish in ("1", "nvcc") and not lack, f"ADTOOL_CUDA={wish}" + (lack and f", but {lack}")
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


def headers(source):
    """All headers of csrc that a source includes, those that they include among them, by their paths there."""
    found, waiting = set(), [source]
    while waiting:
        names = re.findall(r'^#include "(.+)"', Path("csrc", waiting.pop()).read_text(encoding="utf-8"), re.MULTILINE)
        waiting += set(names) - found
        found.update(names)
    return sorted(found)


def kernels():
    """A source for each csrc/cuda/*.cu that names what it includes: beside a CPU build of torch nobody else looks."""
    for kernel in sorted(Path("csrc/cuda").glob("*.cu")):
        digest = hashlib.sha256()
        for name in [f"cuda/{kernel.name}", *headers(f"cuda/{kernel.name}")]:
            digest.update(Path("csrc", name).read_bytes())
        yield generated(f"{kernel.stem}_kernels.cu", f'#include "cuda/{kernel.name}"\n// {digest.hexdigest()}\n')


def operators(cpp_extension, root):
    """`adtool._C`, on the LibTorch stable ABI and the limited Python API: one binary serves many versions of both."""
    architectures = os.environ.setdefault("TORCH_CUDA_ARCH_LIST", ARCHITECTURES) if root else ""
    constant = f'#include "module.h"\n\nconst char* const adtool::cuda_architectures = "{architectures}";\n'
    sources = sorted(glob("csrc/*.cpp") + glob("csrc/cpu/*.cpp"))
    sources += [*vector_bodies(), generated("architectures.cpp", constant)]
    extension = Extension("adtool._C", sources, language="c++", py_limited_api=True)
    extension.include_dirs = [os.path.abspath("csrc"), *cpp_extension.include_paths()]
    extension.library_dirs, extension.libraries = cpp_extension.library_paths(), ["torch_cpu"]
    extension.extra_compile_args = {"cxx": CXX_FLAGS + STABLE_ABI, "nvcc": ["-O3", "--compress-mode=size"]}
    extension.extra_link_args = ["-s"]
    if root:
        cpp_extension.CUDA_HOME = str(root)
        os.environ["PYTORCH_NVCC"] = shlex.join([sys.executable, os.path.abspath("_nvcc.py"), f"{root}/bin/nvcc"])
        extension.sources += sorted(glob("csrc/cuda/*.cpp")) + list(kernels())
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
        for library in sorted(glob("adtool/**/*.so", recursive=True)):
            if "build_ext" in sys.argv and "--inplace" in sys.argv:
                os.remove(library)
                print(f"adtool: removed {library}, built in place before")
            else:
                print(f"adtool: {library} stays, built in place before; it answers where this tree is imported")
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
