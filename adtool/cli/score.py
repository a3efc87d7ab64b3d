"""`adtool score`: pictures in, rows and heat maps out."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from adtool.cli import _console, _options
from adtool.errors import AdtoolError

if TYPE_CHECKING:
    from adtool.data import Sample
    from adtool.outputs import Summary
    from adtool.rows import Rows

STDOUT = Path("-")


def _check_output(ctx: click.Context, param: click.Parameter, value: Path) -> Path:
    if value != STDOUT and value.suffix not in (".csv", ".jsonl"):
        raise click.BadParameter(f"{value}: expected a name that ends in .csv or .jsonl, or - for stdout", ctx, param)
    return value


def _folder(name: str, text: str) -> _options.Decorator:
    return click.option(name, type=click.Path(file_okay=False, path_type=Path), metavar="DIR", help=text)


@click.command()
@click.argument("paths", nargs=-1, required=True)
@_options.model_file
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    default=STDOUT,
    show_default=True,
    metavar="FILE.csv|FILE.jsonl|-",
    callback=_check_output,
    help="Where the rows go; - is CSV on stdout.",
)
@_folder("--heatmaps", "Write heat maps over the images as PNG.")
@_folder("--maps", "Write anomaly maps as float32 TIFF, in the folders of the official MVTec evaluation.")
@_folder("--masks", "Write what exceeds the calibrated pixel threshold as PNG, 255 anomalous and 0 good.")
@click.option("--threshold", type=float, help="Image score above which an image is anomalous.  [default: calibrated]")
@click.option("--fail-on-anomaly", is_flag=True, help="Exit with status 4 when any image is anomalous.")
@_options.batch_size
@_options.workers
@_options.device
@_options.threads
@_options.quiet
@_options.debug
def command(
    paths: tuple[str, ...],
    model: Path,
    output: Path,
    fail_on_anomaly: bool,
    workers: int,
    device: str,
    threads: int | None,
    **options: Any,
) -> None:
    """Score pictures: files, folders, globs, or - for a list of paths on stdin.

    A row has path, score, normalized_score (0 to 1, 0.5 at the threshold), p_value, threshold, is_anomalous and error.
    A picture that cannot be read is a row with an error, and the exit status is 3.

    \b
    Example:
      adtool score pictures/new --output scores.csv --heatmaps heat/
      find . -name '*.png' | adtool score - --model runs/bolts --output scores.jsonl
    """
    from adtool.checkpoint import load_model, read_meta
    from adtool.runs import resolve_model

    arguments = _arguments(paths)
    wanted: dict[str, Path | None] = {kind: options.pop(kind) for kind in ("heatmaps", "maps", "masks")}
    folders = [folder for folder in wanted.values() if folder]
    samples = _samples(paths, arguments, folders)
    file = resolve_model(model)
    read_meta(file)  # a wrong file is told before torch is loaded
    torch_device = _options.start_torch(device, threads)

    from adtool.outputs import Pictures, output_names, write_results
    from adtool.scoring import score

    loaded = load_model(file, torch_device)
    if loaded.calibration is None and options["threshold"] is None:
        _console.warn(f"{file}: has no calibrated threshold; rows carry the score only (--threshold gives one)")
    names = output_names([(sample.name, sample.path) for sample in samples], arguments) if folders else {}
    pictures = Pictures(names, loaded.calibration, **wanted)
    results = score(loaded, samples, workers=workers, device=torch_device, **options)
    with _rows(output) as rows, _console.progress(output != STDOUT or not sys.stdout.isatty()) as report:
        summary = write_results(results, rows, pictures, total=len(samples), report=report, workers=workers)
    _tell(summary, [output, *folders])
    _console.leave(_status(summary, fail_on_anomaly))


def _arguments(paths: tuple[str, ...]) -> list[Path]:
    """What was asked for, with `-` replaced by the lines of stdin."""
    listed = sys.stdin.read().splitlines() if "-" in paths else []
    if "-" in paths and not any(listed):
        raise AdtoolError("-: no paths on standard input; expected one path a line")
    return [Path(path) for path in (*(path for path in paths if path != "-"), *filter(None, listed))]


def _samples(paths: tuple[str, ...], arguments: list[Path], outputs: list[Path]) -> list[Sample]:
    """The images, each once, without those in the folders that are written to.

    A path listed on stdin that is not there is kept, so that it becomes a row with an error and not the end of the run.
    """
    from adtool.data import Sample, list_images

    given = {Path(path) for path in paths}
    found: dict[str, Sample] = {}
    for argument in arguments:
        missing = argument not in given and not argument.is_dir()
        for sample in [Sample(argument, label=None, defect_type="")] if missing else list_images([argument]):
            found.setdefault(os.path.abspath(sample.path), sample)
    written = tuple(os.path.join(os.path.abspath(folder), "") for folder in outputs)
    samples = [sample for path, sample in found.items() if not path.startswith(written)]
    if not samples:
        raise AdtoolError(f"{outputs[0]}: all images lie in a folder that is written to; choose another one")
    return samples


@contextlib.contextmanager
def _rows(output: Path) -> Iterator[Rows]:
    from adtool.rows import Rows, open_rows

    if output == STDOUT:
        yield Rows(_Stdout())
    else:
        with open_rows(output) as rows:
            yield rows


class _Stdout:
    """Standard output, a row at a time."""

    def write(self, line: bytes, /) -> None:
        stream = sys.stdout.buffer
        stream.write(line)
        stream.flush()


def _tell(summary: Summary, places: list[Path]) -> None:
    for path, reason in summary.unreadable:
        _console.warn(f"{path}: {reason}")
    rate = summary.images / summary.seconds
    _console.say(
        f"{summary.images} images, {summary.anomalous} anomalous, {len(summary.unreadable)} unreadable, "
        f"{rate:.3g} images/s"
    )
    for place in places:
        if place != STDOUT:
            _console.say(f"wrote {place}")


def _status(summary: Summary, fail_on_anomaly: bool) -> _console.ExitStatus:
    if fail_on_anomaly and summary.anomalous:
        return _console.ExitStatus.ANOMALOUS
    return _console.ExitStatus.UNREADABLE if summary.unreadable else _console.ExitStatus.DONE
