"""Training and scoring of two checkouts by turns, in two processes that wait for each other.

    python benchmarks/end_to_end.py OLD NEW DATA [--rounds 5] [--output FILE]

OLD and NEW are folders with an `adtool` package, native code built or not; DATA is a data set with at least 32 good
pictures. Both run the same models with the same settings on the same pictures, decoded beforehand. A row is the median
over the rounds of each, and of their ratio. `masked-rd step` is a step of 16 images as its training takes it: what a
frozen part makes of the images is made in every step, or once and then shared by 1,000 steps, as the checkout does.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "2000")  # for both checkouts

BATCH, STEPS = 16, 1000
MASKED_RD = {
    "backbone": "efficientnet_lite0",
    "strides": (8, 16, 32),
    "decoder_channels": (64, 128, 256),
    "block": "basic",
    "depths": (2, 2, 2),
}
Case = Callable[[], float]
"""Does the work once; its seconds."""


def timed(work: Callable[[], Any]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def detector(name: str, preset: str, settings: dict[str, Any]) -> Any:
    """An untrained model with the published weights of its backbone."""
    from adtool import fitting
    from adtool.weights import load_backbone

    built = fitting.build(name, preset, settings, 0)
    for backbone in built.backbones.values():
        load_backbone(backbone)
    return built.eval()


def images(data: Path, side: int, count: int) -> list[Any]:
    from adtool.data import open_dataset
    from adtool.data.batches import ImageBatches

    good = [sample for sample in open_dataset(data).samples if sample.split == "train"][:count]
    return list(ImageBatches(good, (side, side), batch_size=BATCH))


def training_of_patchcore(data: Path, side: int, count: int) -> Case:
    batches = images(data, side, count)

    def run() -> float:
        import torch

        model = detector("patchcore", "default", {"height": side, "width": side})
        with torch.no_grad():
            return timed(lambda: (model.prepare(batches), model.finish(batches)))

    return run


def step_of_masked_rd(data: Path) -> Case:
    import torch

    batch = images(data, 256, BATCH)[0]
    model = detector("masked-rd", "paper", MASKED_RD)
    stage = model.stages()[0]
    encode = getattr(stage, "encode", None)

    def step(given: Any) -> None:
        model.train()
        for optimizer, loss in zip(stage.optimizers, stage.losses(given), strict=True):
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    def run() -> float:
        if encode is None:
            return timed(lambda: step(batch))
        with torch.no_grad():
            given = [part.clone() for part in encode(batch)]
            once = timed(lambda: encode(batch))
        # a set of 20 batches is encoded once
        return timed(lambda: step(given)) + 20 * once / STEPS

    return run


def scoring(data: Path, name: str, preset: str, settings: dict[str, Any], count: int) -> Case:
    import torch

    batches = images(data, 256, 2 * BATCH)
    model = detector(name, preset, settings)
    with torch.no_grad():
        model.prepare(batches)
        model.finish(batches)
    model.eval()

    def run() -> float:
        with torch.inference_mode():
            return timed(lambda: model.predict(batches[0][:count]))

    return run


def cases(data: Path) -> dict[str, Case]:
    return {
        "patchcore training, 32 images of 512 px": training_of_patchcore(data, 512, 32),
        "masked-rd step, 16 images": step_of_masked_rd(data),
        "patchcore scoring, 16 images": scoring(data, "patchcore", "default", {}, BATCH),
        "patchcore scoring, 1 image": scoring(data, "patchcore", "default", {}, 1),
        "masked-rd scoring, 16 images": scoring(data, "masked-rd", "paper", MASKED_RD, BATCH),
        "masked-rd scoring, 1 image": scoring(data, "masked-rd", "paper", MASKED_RD, 1),
    }


def serve(data: Path) -> None:
    """Tell whether there is native code, name the cases, then time each that standard input names."""
    # that of an editable install would lend a checkout without native code its own
    sys.meta_path[:] = [finder for finder in sys.meta_path if "EditableFinder" not in getattr(finder, "__name__", "")]
    import torch

    from adtool.ops._native import native_info

    torch.set_num_threads(os.cpu_count() or 1)
    known = cases(data)
    print(json.dumps([native_info()["built"], list(known)]), flush=True)
    for line in sys.stdin:
        print(json.dumps(known[json.loads(line)]()), flush=True)


class Checkout:
    """A process with the package of one checkout."""

    def __init__(self, tree: Path, data: Path) -> None:
        if not (tree / "adtool").is_dir():
            raise SystemExit(f"{tree}: expected a folder with the package adtool in it")
        command = [sys.executable, __file__, "--serve", str(data.resolve())]
        environment = {**os.environ, "PYTHONPATH": str(tree.resolve())}
        self.process = subprocess.Popen(
            command, env=environment, cwd=tree, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self.native, self.cases = self._answer()

    def _answer(self) -> Any:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.process.args}: ended with status {self.process.wait()}")
        return json.loads(line)

    def seconds(self, case: str) -> float:
        assert self.process.stdin is not None
        print(json.dumps(case), file=self.process.stdin, flush=True)
        return float(self._answer())


def compare(old: Checkout, new: Checkout, rounds: int) -> list[dict[str, Any]]:
    """A row for each case, after an untimed run of it in both."""
    rows = []
    for case in old.cases:
        pairs = [(old.seconds(case), new.seconds(case)) for _ in range(rounds + 1)][1:]
        row = {
            "case": case,
            "old_s": statistics.median(a for a, _ in pairs),
            "new_s": statistics.median(b for _, b in pairs),
            "times_faster": statistics.median(a / b for a, b in pairs),
            "rounds": rounds,
        }
        print(json.dumps(row), flush=True)
        rows.append(row)
    return rows


def main() -> None:
    import click

    @click.command(help=__doc__)
    @click.argument("old", type=click.Path(exists=True, file_okay=False, path_type=Path))
    @click.argument("new", type=click.Path(exists=True, file_okay=False, path_type=Path))
    @click.argument("data", type=click.Path(exists=True, file_okay=False, path_type=Path))
    @click.option("--rounds", default=5, show_default=True)
    @click.option("--output", type=click.Path(path_type=Path), help="Write the rows as JSON.")
    def command(old: Path, new: Path, data: Path, rounds: int, output: Path | None) -> None:
        both = Checkout(old, data), Checkout(new, data)
        native = dict(zip(("old", "new"), (each.native for each in both), strict=True))
        print(f"native code: {native}", file=sys.stderr)
        rows = compare(*both, rounds)
        if output:
            document = {"data": data.name, "native": native, "rows": rows}
            output.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")

    command()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        serve(Path(sys.argv[2]))
    else:
        main()
