"""What the CUDA kernels of a built library take, as `cuobjdump` reads it out of the binary, and their occupancy."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
RESERVED = 1024  # bytes of shared memory that the driver takes of a block; from sm_90 on the binary counts them in


@dataclass
class Kernel:
    """One kernel, compiled for one architecture; bytes of static shared memory, 128-bit instructions of its SASS."""

    registers: int
    shared: int
    local: int
    loads: int = 0
    stores: int = 0


def short(kernel: str) -> str:
    """`f<float, Team<float>>` of `void adtool::cuda::f<float, adtool::cuda::Team<float> >(float*, long)`."""
    head = kernel.removeprefix("void ").partition("(")[0]
    return head.replace("adtool::cuda::", "").replace("adtool::", "").replace("> >", ">>")


def demangled(names: Iterable[str]) -> dict[str, str]:
    """Mangled names of kernels, and their short ones."""
    names = list(names)
    run = subprocess.run(["c++filt"], input="\n".join(names), capture_output=True, text=True, check=True)
    return {name: short(line) for name, line in zip(names, run.stdout.splitlines(), strict=True) if name != line}


def resources(lines: Iterable[str]) -> Iterator[tuple[str, str, Kernel]]:
    """(mangled name, architecture, what it takes) from `cuobjdump --dump-resource-usage`."""
    architecture = name = ""
    for line in lines:
        if found := re.match(r"arch = (sm_\w+)", line):
            architecture = found[1]
        elif found := re.match(r"\s*Function (\w+):", line):
            name = found[1]
        elif "REG:" in line:
            values = {key: int(value) for key, value in re.findall(r"(\w+):(\d+)", line)}
            counted_in = RESERVED if values["SHARED"] and int(architecture[3:]) >= 90 else 0
            local = values["LOCAL"] + values["STACK"]
            yield name, architecture, Kernel(values["REG"], values["SHARED"] - counted_in, local)


def wide_accesses(lines: Iterable[str]) -> Iterator[tuple[str, str, str]]:
    """(mangled name, architecture, "LDG" or "STG") for each 128-bit access of `cuobjdump --dump-sass`."""
    architecture = name = ""
    for line in lines:
        if found := re.match(r"\s*(?:code for|arch =) (sm_\w+)", line):
            architecture = found[1]
        elif found := re.match(r"\s*Function : (\w+)", line):
            name = found[1]
        elif found := re.search(r"\b(LDG|STG)(?:\.\w+)*\.128\b", line):
            yield name, architecture, found[1]


def kernels(library: Path) -> dict[str, dict[str, Kernel]]:
    """Short name: architecture: what the kernel takes there."""
    found: dict[str, dict[str, Kernel]] = {}
    for name, architecture, kernel in resources(_dumped("--dump-resource-usage", library)):
        found.setdefault(name, {})[architecture] = kernel
    for name, architecture, instruction in wide_accesses(_dumped("--dump-sass", library)):
        kernel = found[name][architecture]
        kernel.loads += instruction == "LDG"
        kernel.stores += instruction == "STG"
    names = demangled(found)
    return {names[name]: dict(sorted(each.items(), key=lambda item: int(item[0][3:]))) for name, each in found.items()}


def _dumped(what: str, library: Path) -> Iterator[str]:
    """The lines of cuobjdump, which finds nvdisasm beside itself."""
    places = [folder / "nvidia/cu13/bin" for folder in map(Path, sys.path)]
    tool = next((str(place / "cuobjdump") for place in places if (place / "cuobjdump").exists()), None)
    tool = tool or shutil.which("cuobjdump")
    if tool is None:
        raise SystemExit('cuobjdump: not found; install the extra: pip install ".[cuda-static]"')
    environment = {"PATH": f"{Path(tool).parent}:/usr/bin:/bin"}
    with subprocess.Popen([tool, what, str(library)], stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout
        yield from process.stdout
    if process.returncode:
        raise SystemExit(f"{tool} {what} {library}: exit status {process.returncode}")


def occupancies(questions: Iterable[tuple[str, int, int, int, int]]) -> list[float]:
    """Share of a multiprocessor's threads that run, for (architecture, registers, shared, dynamic, threads)."""
    lines = "".join(f"{architecture[3:]} {' '.join(map(str, rest))}\n" for architecture, *rest in questions)
    with tempfile.TemporaryDirectory() as folder:
        program = f"{folder}/occupancy"
        subprocess.run(["nvcc", "-std=c++17", str(HERE / "occupancy.cpp"), "-o", program], check=True)
        run = subprocess.run([program], input=lines, stdout=subprocess.PIPE, text=True, check=True)
    return [float(line) for line in run.stdout.split()]
