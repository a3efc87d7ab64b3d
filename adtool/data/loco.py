"""MVTec LOCO AD (Bergmann et al., IJCV 130, 2022): logical and structural anomalies, one mask per defect channel.

CATEGORY/{train,validation}/good/000.png
CATEGORY/test/{good,logical_anomalies,structural_anomalies}/000.png
CATEGORY/ground_truth/<anomalies>/000/000.png, 001.png, ...     0 and one value that names the rule
CATEGORY/defects_config.json                                    value -> when the channel counts as found
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from adtool.data import Dataset, Saturation
from adtool.data.listing import named
from adtool.data.mvtec import read_tree
from adtool.errors import AdtoolError

EXPECTED = "defects_config.json beside train/good/, test/ and ground_truth/<anomalies>/<image>/"
MERGED = (
    "ground_truth has one merged mask per image, not a folder of defect channels: "
    "pixel AUROC, AP and AUPRO can be computed, sPRO cannot"
)


def categories(root: Path) -> dict[str, Path]:
    """Categories at `root`: name -> folder."""
    return named(root, lambda folder: (folder / "defects_config.json").is_file() and (folder / "train").is_dir())


def read(folder: Path, category: str, seed: int) -> Dataset:
    """One category; without defect channels its `saturation` is empty and a note says so."""
    rules = _rules(folder / "defects_config.json")
    dataset = read_tree(folder, category, "loco")
    masks = [path for sample in dataset.samples for path in sample.mask_paths]
    if any(path.parent.parent.parent.name != "ground_truth" for path in masks):
        return replace(dataset, notes=(*dataset.notes, MERGED))
    return replace(dataset, saturation=rules)


def _rules(path: Path) -> dict[int, Saturation]:
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
        return {int(entry["pixel_value"]): _rule(entry) for entry in entries}
    except OSError as error:
        raise AdtoolError(f"{path}: cannot be read ({error.strerror}); expected the data set's own file") from error
    except (ValueError, TypeError, KeyError) as error:
        raise AdtoolError(
            f"{path}: not a list of saturation rules ({type(error).__name__}: {error}); each needs defect_name, "
            "pixel_value 1..255, saturation_threshold and relative_saturation; take the file from the original archive"
        ) from error


def _rule(entry: dict[str, Any]) -> Saturation:
    rule = Saturation(
        str(entry["defect_name"]),
        int(entry["pixel_value"]),
        float(entry["saturation_threshold"]),
        bool(entry["relative_saturation"]),
    )
    if not 1 <= rule.pixel_value <= 255:
        raise ValueError(f"pixel_value {rule.pixel_value} is outside 1..255")
    if not 0 < rule.threshold <= (1 if rule.relative else float("inf")):
        raise ValueError(f"saturation_threshold {rule.threshold} of {rule.defect_name} is out of range")
    return rule
