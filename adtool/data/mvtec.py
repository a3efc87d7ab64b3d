"""MVTec AD (Bergmann et al., IJCV 129, 2021) and every tree built like it, the converted VisA among them.

CATEGORY/train/good/000.png
CATEGORY/test/good/000.png
CATEGORY/test/<defect>/000.png
CATEGORY/ground_truth/<defect>/000_mask.png     or 000.png, or a folder 000/ with several masks
"""

from __future__ import annotations

from pathlib import Path

from adtool.data import Dataset, Sample
from adtool.data.listing import folders_in, good_folders, images_in, is_good, masks_of, named, natural_key
from adtool.errors import AdtoolError

EXPECTED = "train/good/, test/<defect>/ and ground_truth/<defect>/, in the folder itself or in its folders"
VALIDATION = ("validation", "val", "valid")


def categories(root: Path) -> dict[str, Path]:
    """Categories at `root`: name -> folder."""
    return named(root, lambda folder: (folder / "train" / "good").is_dir())


def read(folder: Path, category: str, seed: int) -> Dataset:
    """One category."""
    return read_tree(folder, category, "mvtec")


def read_tree(folder: Path, category: str, layout: str) -> Dataset:
    """A category of train/, validation/, test/ and ground_truth/; good folders may be called good, ok or normal."""
    train = _good(folder / "train", "train", category)
    if not train:
        raise AdtoolError(f"{folder / 'train'}: no good images found; put images without defect into its folder good/")
    held_out = [sample for name in VALIDATION for sample in _good(folder / name, "val", category)]
    test = [sample for kind in folders_in(folder / "test") for sample in _test(kind, folder / "ground_truth", category)]
    samples = sorted(train + held_out + test, key=lambda sample: natural_key(sample.path))
    return Dataset(folder, layout, category, tuple(samples), notes=tuple(_notes(folder, test)))


def _good(folder: Path, split: str, category: str) -> list[Sample]:
    images = [path for child in good_folders(folder) or [folder] for path in images_in(child)]
    return [Sample(path, split, 0, category=category) for path in images]


def _test(folder: Path, ground_truth: Path, category: str) -> list[Sample]:
    images = images_in(folder)
    if is_good(folder.name):
        return [Sample(path, "test", 0, category=category) for path in images]
    masks = masks_of(images, ground_truth / folder.name)
    return [Sample(path, "test", 1, folder.name, mask, category) for path, mask in zip(images, masks, strict=True)]


def _notes(folder: Path, test: list[Sample]) -> list[str]:
    """What a person should know: images without label or mask, masks without image."""
    notes = []
    defective = [sample for sample in test if sample.label == 1]
    if bare := sum(not sample.mask_paths for sample in defective):
        notes.append(f"{bare} of {len(defective)} defective images have no mask: they count for image metrics only")
    if loose := len(images_in(folder / "test")):
        notes.append(f"{loose} images directly in test/ are left out: without a folder their label is unknown")
    for split in ("train", *VALIDATION):
        others = [child.name for child in folders_in(folder / split) if not is_good(child.name)]
        if others:
            notes.append(f"{split}/ is used for its good images only; left out: {', '.join(others)}")
    used = {path for sample in test for path in sample.mask_paths}
    masks = [path for kind in folders_in(folder / "ground_truth") for path in images_in(kind)]
    if orphans := [path for path in masks if path not in used and not is_good(path.parent.name)]:
        notes.append(f"{len(orphans)} masks fit no test image, {orphans[0].relative_to(folder)} among them")
    return notes
