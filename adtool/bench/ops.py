"""Operators timed on the same tensors: as the dispatcher runs them, as one writes them without, and that compiled.

The variants are `native`, whichever kernel answers; `eager`, the reference or what the operator's file names in its
place; and `compiled`, the same under torch.compile. A copy that moves as many bytes as the operator has to, and a
matrix product, take part in every round.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator, Sequence
from typing import Any

import torch

from adtool import ops, timing
from adtool.bench import machine
from adtool.bench.op_case import Case
from adtool.errors import AdtoolError
from adtool.models._detector import Report, silent
from adtool.ops._native import kernel_of, native_info
from adtool.runtime import keep_freed_memory

VARIANTS = ("native", "eager", "compiled")
SIZES = ("paper", "small")
KERNELS = {"eager": "torch", "compiled": "inductor"}


def names() -> list[str]:
    """All operators, by the names of their files."""
    return sorted(found.name for found in pkgutil.iter_modules(ops.__path__) if not found.name.startswith("_"))


def cases(name: str, device: torch.device, size: str = "paper") -> Iterator[Case]:
    """An operator's examples, each forward and, where there is a gradient, with it."""
    module = importlib.import_module(f"adtool.ops.{name}")
    for arguments in module.inputs(str(device), torch.float32, size=size):
        yield Case(name, arguments, False, device)
        if not hasattr(module, "NO_GRADIENT"):
            yield Case(name, arguments, True, device)


def bench(
    chosen: Sequence[str] = (),
    *,
    device: torch.device,
    variants: Sequence[str] = VARIANTS,
    size: str = "paper",
    seconds: float = 3.0,
    repeats: int | None = None,
    report: Report = silent,
) -> dict[str, Any]:
    """The document of `adtool bench ops`: the machine, a row per case and variant, and what was skipped and why.

    `seconds` and `repeats` are those of `timing.interleaved`, for all variants of a case together.
    """
    chosen = [name.replace("-", "_") for name in chosen] or names()
    if unknown := sorted(set(chosen) - set(names())):
        raise AdtoolError(f"{unknown[0]}: no such operator; known operators: {', '.join(names())}")
    keep_freed_memory()  # as where operators are used
    document: dict[str, Any] = {"bench": "ops", "machine": machine.describe(device) | machine.rates(device)}
    document["machine"]["instruction_set"] = native_info()["cpu"]
    document |= {"rows": [], "skipped": []}
    for done, name in enumerate(chosen):
        report("operators", done, len(chosen))
        for case in cases(name, device, size):
            rows, skipped = run(case, variants, seconds, repeats)
            document["rows"] += rows
            document["skipped"] += skipped
    report("operators", len(chosen), len(chosen))
    return document


def run(
    case: Case, variants: Sequence[str], seconds: float, repeats: int | None
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Rows of a case, and the variants skipped with the reason."""
    about = {"op": case.op, "shape": case.shape, "pass": case.passes}
    calls, skipped = _calls(case, variants)
    moved = min(case.min_bytes, machine.COPIED)
    yardsticks = {
        "copy": timing.copy(moved, case.device, case.fresh_bytes),
        "copy in place": timing.copy(moved, case.device),
        "product": timing.product(case.device),
    }
    memory = {variant: timing.peak_bytes(call, case.device) for variant, call in calls.items()}
    for call in yardsticks.values():
        call()
    times = timing.interleaved(
        {**calls, **yardsticks}, device=case.device, seconds=seconds, repeats=repeats, warm_up=False
    )
    rows = [
        {**about, "variant": variant, **_measured(case, variant, times), "peak_bytes": memory[variant]}
        for variant in calls
    ]
    return rows, [{**about, "variant": variant, "reason": reason} for variant, reason in skipped.items()]


def _calls(case: Case, variants: Sequence[str]) -> tuple[dict[str, timing.Call], dict[str, str]]:
    calls, skipped = {}, {}
    for variant in variants:
        try:
            calls[variant] = case.call(variant)
        except AdtoolError as error:
            skipped[variant] = str(error)
    return calls, skipped


def _measured(case: Case, variant: str, times: dict[str, timing.Timing]) -> dict[str, Any]:
    """A row's figures. Ratios are medians over the rounds; a share of more than 1 means that work was avoided."""
    own, flops = times[variant], case.flops
    copies = case.min_bytes / min(case.min_bytes, machine.COPIED)  # that move as much
    products = None if flops is None else flops / timing.product_flops(case.device)
    return {
        "median_s": own.median,
        "p95_s": own.percentile(95),
        "p99_s": own.percentile(99),
        "runs": len(own.seconds),
        "times_native": own.over(times["native"]) if "native" in times else None,
        "min_bytes": case.min_bytes,
        "flops": flops,
        "share_of_copy": copies / own.over(times["copy"]),
        "share_of_copy_in_place": copies / own.over(times["copy in place"]),
        "share_of_sgemm": None if products is None else products / own.over(times["product"]),
        "kernel": KERNELS.get(variant) or kernel_of(case.op, case.device.type),
    }
