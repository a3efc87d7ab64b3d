"""BTAD, beanTech anomaly detection (Mishra et al., ISIE 2021): products 01, 02 and 03, formats mixed.

PRODUCT/train/ok/0000.bmp
PRODUCT/test/{ok,ko}/0000.bmp
PRODUCT/ground_truth/ko/0000.png     any image format, matched by stem
"""

from __future__ import annotations

from pathlib import Path

from adtool.data import Dataset
from adtool.data.listing import named
from adtool.data.mvtec import read_tree

EXPECTED = "train/ok/, test/ok/, test/ko/ and ground_truth/ko/, in the folder itself or in its folders"


def categories(root: Path) -> dict[str, Path]:
    """Products at `root`: name -> folder."""
    return named(root, lambda folder: (folder / "train" / "ok").is_dir())


def read(folder: Path, category: str, seed: int) -> Dataset:
    """One product."""
    return read_tree(folder, category, "btad")
