"""nvcc as setup.py calls it: a kernel that spills, has local memory or computes in double by accident is an error.

    python _nvcc.py NVCC ARGUMENT ...

ptxas warns of all three for each architecture, and here a warning of any kind fails the build. Double precision is no
accident where `double` is among the kernel's template arguments.
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

WARNINGS = "-warn-spills,-warn-lmem-usage,-warn-double-usage"
DOUBLE = re.compile(r"ptxas .*warning : Program is doing double precision")
FUNCTION = re.compile(r"^(?:\.\w+ )*\.(entry|func)\b.*?(\w+)\s*(?=\(|$)", re.MULTILINE)
FLOAT64 = re.compile(r"^\s*[^.\s].*\.f64\b", re.MULTILINE)  # an instruction, not a directive


def demangled(names):
    """The C++ names, in the same order."""
    if not names:
        return []
    listed = subprocess.run(["c++filt"], input="\n".join(names), capture_output=True, text=True, check=True)
    return listed.stdout.splitlines()


def with_doubles(ptx):
    """Mangled names of the kernels of a PTX text that compute in double precision, or call a function that does."""
    ptx = re.sub(r"//.*", "", ptx)
    starts = list(FUNCTION.finditer(ptx))
    ends = [start.start() for start in starts[1:]] + [len(ptx)]
    bodies = {start[2]: ptx[start.end() : end] for start, end in zip(starts, ends, strict=False)}
    found = {name for name, body in bodies.items() if FLOAT64.search(body)}
    while callers := {name for name in bodies if found & set(re.findall(r"\w+", bodies[name]))} - found:
        found |= callers
    return sorted(found & {start[2] for start in starts if start[1] == "entry"})


def template_arguments(kernel):
    """`float, 2, Team<float>` of `void f<float, 2, Team<float> >(float*, double)`."""
    head = kernel[: kernel.rindex("(")]
    return head.partition("<")[2].rpartition(">")[0]


def refusals(output, ptx):
    """What is wrong, a line each: doubles by accident in the `ptx` texts, and whatever else ptxas warned of."""
    doubles = {name for text in ptx for name in with_doubles(text)}
    for kernel in demangled(sorted(doubles)):
        if not re.search(r"\bdouble\b", template_arguments(kernel)):
            yield f"double precision in {kernel}, which has no template argument `double`"
    warnings = dict.fromkeys(line for line in output.splitlines() if re.match(r"ptxas.*warning", line))
    yield from (line for line in warnings if not (doubles and DOUBLE.match(line)))


def main(nvcc, *arguments):
    """nvcc's exit status; 1, and no object, if it compiled what is refused."""
    with tempfile.TemporaryDirectory() as folder:
        command = [nvcc, *arguments, "-Xptxas", WARNINGS, "--keep", "--keep-dir", folder]
        run = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        ptx = [path.read_text(encoding="utf-8") for path in sorted(Path(folder).glob("*.ptx"))]
    print("".join(line for line in run.stdout.splitlines(keepends=True) if not DOUBLE.match(line)), end="")
    refused = list(refusals(run.stdout, ptx)) if run.returncode == 0 else []
    for line in refused:
        print(f"adtool: refused: {line}")
    if refused:
        Path(arguments[arguments.index("-o") + 1]).unlink(missing_ok=True)
    return run.returncode or int(bool(refused))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
