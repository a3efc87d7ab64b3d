"""The room rules of ARCHITECTURE.md: which part may import what, and what only some parts may do."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "adtool"
FILES = sorted(PACKAGE.rglob("*.py"))

# room: what its files may import besides the standard library, `errors` and the room itself. The longest name that fits
# a file is its room; `models` as an import is the lookup by name, and with it no concrete model.
ROOMS = {
    "ops": "torch",
    "layers": "torch ops",
    "models": "torch ops layers models._detector models._simulator",
    "data": "torch numpy PIL",
    "metrics": "numpy scipy torch",
    "calibration": "",
    "heatmaps": "numpy PIL",
    "settings": "",
    "runs": "",
    "rows": "",
    "interrupt": "",
    "runtime": "",
    "checkpoint": "torch safetensors version models models._detector calibration runtime",
    "weights": "torch safetensors layers.backbones",
    "holdout": "data",
    "resume": "torch checkpoint models._detector",
    "devices": "torch",
    "encoding": "torch data devices",
    "pairing": "torch data models._detector",
    "validation": "torch devices encoding",
    "training": "torch data models._detector devices encoding interrupt pairing resume validation",
    "scoring": "torch numpy data calibration checkpoint",
    "outputs": "data calibration heatmaps rows scoring",
    "evaluation": "torch numpy data metrics heatmaps checkpoint scoring",
    "building": "torch models models._detector layers.backbones data holdout weights runtime",
    "preview": "torch models._detector layers.defects data holdout heatmaps building pairing",
    "gallery": "torch models._detector data checkpoint heatmaps preview",
    "fitting": "torch numpy version models._detector data holdout building training runs checkpoint calibration",
    "timing": "torch",
    "bench": "torch version timing ops models models._detector layers.backbones data weights checkpoint runs building"
    " fitting scoring runtime",
    "cli": "torch click rich version models data metrics ops settings runs checkpoint fitting preview scoring rows"
    " outputs evaluation gallery bench runtime",
    "errors": "",
    "__init__": "",
    "__main__": "cli",
}
TOUCH_FILES = {"bench", "data", "checkpoint", "weights", "holdout", "settings", "heatmaps", "rows", "runs", "outputs"}
FILE_CALLS = {
    "open",
    "read_text",
    "write_text",
    "read_bytes",
    "write_bytes",
    "mkdir",
    "unlink",
    "rmdir",
    "touch",
    "rename",
}
FILE_CALLS |= {"TemporaryFile", "TemporaryDirectory", "NamedTemporaryFile", "mkstemp", "rmtree", "copyfile"}
FILE_CALLS |= {"load_file", "save_file", "torch.load", "torch.save", "np.load", "np.save"}
PROCESS_CALLS = {"print", "input", "exit", "_exit", "system", "Popen"}


def dotted(file: Path) -> str:
    """`models.padim` for adtool/models/padim.py; a package is called as its folder."""
    name = ".".join(file.relative_to(PACKAGE).with_suffix("").parts)
    return name.removesuffix(".__init__")


def room_of(name: str) -> str:
    return name.split(".")[0]


def imports(tree: ast.AST) -> Iterator[str]:
    """Everything imported anywhere in a file, `adtool.x` as `x`; `from a import b` is `a.b` where that is a module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.removeprefix("adtool.") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module, "imports are absolute"
            yield from (_imported(node.module, alias.name) for alias in node.names)


def _imported(module: str, name: str) -> str:
    if room_of(module) != "adtool":
        return module
    if (module, name) == ("adtool", "__version__"):
        return "version"
    inner = f"{module}.{name}"
    file = ROOT.joinpath(*inner.split("."))
    return (inner if file.is_dir() or file.with_suffix(".py").exists() else module).removeprefix("adtool.")


def parsed(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def called(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """(name, line) of every call: `f`, `a.f`, and `f` for a method of anything but `os`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            if isinstance(node.func, ast.Name):
                yield node.func.id, node.lineno
            elif isinstance(node.func, ast.Attribute):
                of = node.func.value.id if isinstance(node.func.value, ast.Name) else ""
                yield f"{of}.{node.func.attr}", node.lineno
                if of != "os":
                    yield node.func.attr, node.lineno


def may_import(name: str, found: str) -> bool:
    """Whether the file `name` may import `found`."""
    room, top = room_of(name), room_of(found)
    if top in sys.stdlib_module_names or found == "errors":
        return True
    if top == room and room != "models":
        return True
    allowed = ROOMS[room].split()
    if top == "models":  # the lookup or the contract, never a model
        return found in allowed
    return found in allowed or top in allowed


@pytest.mark.parametrize("file", FILES, ids=dotted)
def test_file_imports_only_what_its_room_may(file: Path) -> None:
    name = dotted(file) or "__init__"
    assert room_of(name) in ROOMS, f"{name} is a new room: say in this table and in ARCHITECTURE.md what it may import"
    assert [found for found in imports(parsed(file)) if not may_import(name, found)] == []


def test_every_room_of_the_table_is_there_and_drawn() -> None:
    rooms = {room_of(dotted(file) or "__init__") for file in FILES}
    assert rooms == set(ROOMS)
    page = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    assert [room for room in sorted(rooms) if not re.search(rf"\b{room}\b", page)] == []


@pytest.mark.parametrize("name", ["ops.simam", "models.padim", "scoring", "data.mvtec"])
def test_the_import_rule_refuses(name: str) -> None:
    assert not may_import(name, "cli._console")
    assert not may_import(name, "models.patchcore")
    assert not may_import(name, "timm")


@pytest.mark.parametrize("file", FILES, ids=dotted)
def test_file_does_only_what_its_room_may(file: Path) -> None:
    room = room_of(dotted(file) or "__init__")
    forbidden = set() if room == "training" else {"backward"}
    forbidden |= set() if room == "cli" else PROCESS_CALLS
    forbidden |= set() if room in TOUCH_FILES else FILE_CALLS
    forbidden |= set() if room in {"cli", *TOUCH_FILES} else {"os.open"}  # a descriptor: stdout, or a folder to sync
    assert [f"{name} in line {line}" for name, line in called(parsed(file)) if name in forbidden] == []


@pytest.mark.parametrize("file", [file for file in FILES if room_of(dotted(file)) != "cli"], ids=dotted)
def test_only_the_command_line_swallows_errors_of_any_kind(file: Path) -> None:
    for node in ast.walk(parsed(file)):
        if isinstance(node, ast.ExceptHandler) and (node.type is None or _any_error(node.type)):
            assert any(isinstance(inner, ast.Raise) for inner in ast.walk(node)), f"line {node.lineno}"


def _any_error(kind: ast.expr) -> bool:
    names = {node.id for node in ast.walk(kind) if isinstance(node, ast.Name)}
    return bool(names & {"Exception", "BaseException"})


def test_only_ops_doctor_and_bench_know_whether_native_code_exists() -> None:
    know = {dotted(file) for file in FILES if "ops._native" in set(imports(parsed(file)))}
    assert {name for name in know if room_of(name) != "ops"} == {"cli.doctor", "bench.ops"}


def test_ops_package_offers_no_functions() -> None:
    tree = parsed(PACKAGE / "ops" / "__init__.py")
    assert [type(node).__name__ for node in tree.body] == ["Expr"]  # its docstring


def stems(folder: str, pattern: str) -> set[str]:
    return {file.stem for file in (ROOT / folder).glob(pattern)}


def test_an_operator_has_one_name_everywhere() -> None:
    ops = stems("adtool/ops", "[!_]*.py")
    assert stems("csrc/cpu", "*.cpp") == ops
    assert stems("tests/ops", "test_*.py") == {f"test_{op}" for op in ops} | {"test_every_op", "test_native"}
    bodies = {stem.removesuffix("_body") for stem in stems("csrc/cpu", "*_body.h")}
    assert bodies <= ops
    with_kernels = stems("csrc/cuda", "*.cu")  # of its own, not only those of operators that it calls
    assert with_kernels == ops & stems("csrc/kernels", "*.cuh")
    assert with_kernels <= stems("csrc/cuda", "*.cpp") <= ops


def test_a_test_has_the_name_of_what_it_tests() -> None:
    beyond = {
        "test_rooms",
        "test_docs",
        "test_build",
        "test_nvcc",
        "test_cuda_static",
        "ops/test_native",
        "ops/test_every_op",
        "emulation/test_emulated_cosine",
        "emulation/test_emulated_ops",
        "emulation/test_device",
        "emulation/test_planted_bugs",
        "emulation/test_sanitizers",
        "models/test_every_model",
    }
    beyond |= {"data/test_open_dataset", "metrics/test_sorters", "cli/test_help", "cli/test_errors"}
    for test in sorted((ROOT / "tests").rglob("test_*.py")):
        name = test.relative_to(ROOT / "tests").with_suffix("").as_posix()
        folder, stem = PACKAGE / Path(name).parent, test.stem.removeprefix("test_")
        candidates = [folder / stem, *folder.glob(f"{stem}.py"), *folder.glob(f"_{stem}.py")]
        assert name in beyond or any(path.exists() for path in candidates), f"tests/{name}.py tests nothing of its name"
    stems = [test.stem for test in (ROOT / "tests").rglob("*.py") if test.stem != "conftest"]
    assert sorted(stems) == sorted(set(stems)), "pytest imports test modules by their stem: no two may share one"


def test_names_say_what_is_inside() -> None:
    empty = re.compile(r"(^|_)(utils?|common|helpers?|misc|manager|wrapper|engine|base)(_|$)|^(fused|fast)_|_v\d+$")
    named = [*FILES, *(ROOT / "csrc").rglob("*.*"), *(ROOT / "tests").rglob("*.py")]
    assert {file.stem for file in named if empty.search(file.stem)} == {"mobilenet_v2"}  # a network's own name


INCLUDE = re.compile(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]', re.MULTILINE)


KERNELS = [*(ROOT / "csrc").rglob("*.cu"), *(ROOT / "csrc").rglob("*.cuh")]


@pytest.mark.parametrize("file", KERNELS, ids=lambda file: file.name)
def test_cuda_kernels_see_no_torch(file: Path) -> None:
    seen = _reached(file)
    assert [header for header in sorted(seen) if re.match(r"(torch|ATen|c10)/", header)] == []


@pytest.mark.parametrize("file", [file for file in KERNELS if file.name != "launch.cuh"], ids=lambda file: file.name)
def test_cuda_kernels_also_run_emulated(file: Path) -> None:
    """What g++ cannot compile is spelled by the macros of launch.cuh, or left out."""
    text = re.sub(r"//.*", "", file.read_text(encoding="utf-8"))
    assert re.findall(r"<<<|\b__shared__|\basm\b|cooperative_groups|\b__activemask|__constant__", text) == []


def test_the_emulation_needs_no_torch() -> None:
    reached = set().union(*map(_reached, (ROOT / "csrc/emulation").iterdir()))
    assert [header for header in reached if re.match(r"(torch|ATen|c10)/", header)] == []


@pytest.mark.parametrize("file", sorted((ROOT / "csrc/cpu").glob("*_body.h")), ids=lambda file: file.name)
def test_vector_bodies_see_neither_torch_nor_the_standard_library(file: Path) -> None:
    """They are compiled once per instruction set: an inline function of another header would be merged across them."""
    assert {header for header in _reached(file) if not (ROOT / "csrc" / header).exists()} <= {"stdint.h"}


def _reached(file: Path) -> set[str]:
    """All headers that a source includes, those of this project followed."""
    seen: set[str] = set()
    waiting = [file]
    while waiting:
        source = waiting.pop()
        for header in INCLUDE.findall(source.read_text(encoding="utf-8")):
            place = next((p for p in (ROOT / "csrc" / header, source.parent / header) if p.exists()), None)
            name = place.relative_to(ROOT / "csrc").as_posix() if place else header
            if name not in seen:
                seen.add(name)
                waiting += [place] if place else []
    return seen
