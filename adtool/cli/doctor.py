"""`adtool doctor`: what is installed and which code answers, for a bug report."""

from __future__ import annotations

from typing import Any

import click

from adtool.cli import _console, _options


@click.command()
@_options.json_output
@_options.debug
def command(as_json: bool) -> None:
    """Show versions, devices, and whether native kernels are built and used.

    \b
    Example:
      adtool doctor
      adtool doctor --json
    """
    found = examine()
    if as_json:
        _console.answer_json(found)
        return
    native = found["native"]
    versions = " ".join(f"{name} {found[name]}" for name in ("adtool", "torch", "python"))
    _console.answer(f"{versions} on {found['platform']}")
    _console.answer(f"devices: {', '.join(found['devices'])}; {found['threads']} CPU threads")
    _console.answer(f"libraries: {', '.join(f'{name} {version}' for name, version in found['libraries'].items())}")
    built = f"built, CPU instruction set {native['cpu']}" if native["built"] else "not built, PyTorch references answer"
    cuda = f"CUDA {' '.join(native['cuda'])}" if native["cuda"] else "no CUDA"
    _console.answer(f"native kernels: {built}, {cuda}; metrics: {found['metrics']}")
    if native.get("error"):
        _console.warn(f"native kernels do not load: {native['error']}")
    rows = [[op, where["cpu"] or "none", where["cuda"] or "none"] for op, where in found["ops"].items()]
    _console.table(["op", "cpu", "cuda"], rows, left=3)


def examine() -> dict[str, Any]:
    """Everything that `adtool doctor` shows."""
    import platform

    import torch

    from adtool import __version__, metrics
    from adtool.ops import _native

    cards = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return {
        "adtool": __version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "devices": ["cpu", *(f"cuda:{index} {name}" for index, name in enumerate(cards))],
        "threads": torch.get_num_threads(),
        "native": _native.native_info(),
        "metrics": "native" if metrics.native() else "reference",
        "ops": {op: _kernels(op, with_cuda=bool(cards)) for op in _ops()},
        "libraries": _versions(),
    }


def _ops() -> list[str]:
    """Names of all operators of this package, once every file has registered its own."""
    import importlib
    import pkgutil

    import torch

    from adtool import ops

    for module in pkgutil.iter_modules(ops.__path__):
        importlib.import_module(f"adtool.ops.{module.name}")
    registered = torch._C._dispatch_get_all_op_names()
    return sorted(name.removeprefix("adtool::") for name in registered if name.startswith("adtool::"))


def _kernels(op: str, with_cuda: bool) -> dict[str, str | None]:
    from adtool.ops import _native

    return {"cpu": _native.kernel_of(op, "cpu"), "cuda": _native.kernel_of(op, "cuda") if with_cuda else None}


def _versions() -> dict[str, str]:
    from importlib.metadata import version

    return {name: version(name) for name in ("numpy", "scipy", "pillow", "click", "rich", "safetensors")}
