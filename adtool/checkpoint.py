"""Model files: one .safetensors file in, one out; never a pickled object.

The JSON under the metadata key `adtool` says everything about the file: its format version, what it holds, and a
SHA-256 digest over that JSON and every tensor, so that a truncated, foreign or altered file is an error and never a
wrong score.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adtool import __version__
from adtool.errors import AdtoolError, ModelFileError
from adtool.runtime import keep_freed_memory

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from adtool.calibration import Calibration
    from adtool.models._detector import Detector

FORMAT = 1
"""Version of the layout of these files; raised when an older adtool could not read a newer file rightly."""

MAX_HEADER_BYTES = 100_000_000
"""The safetensors format's own limit on its header."""

EXPECTED = "a model file written by adtool (runs/NAME/model.safetensors)"

FOREIGN = {
    b"PK\x03\x04": "a zip archive, perhaps a pickled PyTorch file, which adtool never loads",
    b"\x80": "a Python pickle, which adtool never loads",
    b"\x89HDF": "an HDF5 file (Keras)",
    b"\x89PNG": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"\x08": "perhaps an ONNX file",
    b"{": "a text file",
}
"""First bytes -> what such a file is."""


@dataclass(frozen=True)
class LoadedModel:
    """A trained model as read from its file, in eval mode."""

    model: Detector
    meta: dict[str, Any]
    calibration: Calibration | None
    """None when there were too few good images to hold any out."""


def save(path: Path, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> None:
    """Write tensors and their JSON description so that `path` is either the old file or the whole new one.

    Raises AdtoolError when the file cannot be written; nothing is left behind then.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    described = json.loads(_text({**meta, "format": FORMAT, "adtool": __version__}))
    described["sha256"] = _digest(plain, described)
    with _replacing(path) as temporary:
        try:
            save_file(_unshared(plain), temporary, metadata={"adtool": _text(described)})
        except SafetensorError as error:
            raise _unwritable(path, str(error)) from error


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """All tensors (on the CPU) and the description in a file written by `save`; ModelFileError if it is not intact."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    meta = read_meta(path)
    try:
        tensors: dict[str, Tensor] = load_file(path)
    except (OSError, SafetensorError) as error:
        raise ModelFileError(f"{path}: the file is damaged ({error}); copy it again or train again") from error
    if _digest(tensors, {key: value for key, value in meta.items() if key != "sha256"}) != meta.get("sha256"):
        raise ModelFileError(
            f"{path}: the contents do not match their SHA-256 digest, so the file was altered or damaged after it was "
            "written; copy it again or train again"
        )
    return tensors, meta


def read_meta(path: Path) -> dict[str, Any]:
    """The description alone, from the header, without torch; ModelFileError on a truncated or foreign file."""
    header = _header(path)
    metadata = header.get("__metadata__")
    text = metadata.get("adtool") if isinstance(metadata, dict) else None
    if text is None:
        names = sorted(name for name in header if name != "__metadata__")
        holds = f"{len(names)} tensors, the first named {names[0]!r}" if names else "no tensors"
        raise ModelFileError(f"{path}: a safetensors file of another tool ({holds}); expected {EXPECTED}")
    try:
        meta = json.loads(text)
        version = meta["format"]
    except (ValueError, TypeError, KeyError) as error:
        raise ModelFileError(f"{path}: adtool's description in the header is damaged; train again") from error
    if version != FORMAT:
        raise ModelFileError(
            f"{path}: written by adtool {meta.get('adtool')} in format {version}, this is adtool {__version__}, which "
            f"reads format {FORMAT}; install the adtool that wrote it, or train again"
        )
    return dict(meta)


def save_model(path: Path, model: Detector, meta: Mapping[str, Any]) -> None:
    """Write a trained model; `meta` needs `model`, the name that `models.load` takes, and says the rest for people."""
    save(path, model.state_dict(), {**meta, "kind": "model", "config": asdict(model.config)})


def load_model(path: Path, device: torch.device | str = "cpu") -> LoadedModel:
    """Build the model that a file describes and fill it strictly: every tensor present, of the right shape and type.

    Raises ModelFileError when the file is not an intact model or does not fit the model it names.
    """
    from adtool.calibration import Calibration

    keep_freed_memory()
    tensors, meta = read(path)
    if meta.get("kind") != "model":
        raise ModelFileError(f"{path}: holds the state of an unfinished training, not a model; finish it with --resume")
    model = _build(path, meta)
    model.discard()
    _make_room(model, tensors)
    _check_fit(path, meta["model"], model.state_dict(), tensors)
    model.load_state_dict(tensors)
    calibration = meta.get("calibration")
    return LoadedModel(model.to(device).eval(), meta, calibration and Calibration.from_json(calibration))


def _build(path: Path, meta: Mapping[str, Any]) -> Detector:
    """The untrained model named in the description, with its configuration."""
    from adtool import models

    try:
        module = models.load(meta["model"])
        values = {name: tuple(v) if isinstance(v, list) else v for name, v in meta["config"].items()}
        model: Detector = module.Model(module.Config(**values))
    except (AdtoolError, KeyError, TypeError, AttributeError) as error:
        raise ModelFileError(
            f"{path}: adtool {__version__} cannot build the model that the file describes ({error}); it was written by "
            f"adtool {meta.get('adtool')}: install that version, or train again"
        ) from error
    return model


def _make_room(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Give buffers whose size training decided (a memory bank) the size they have in the file."""
    for name in getattr(model, "variable_buffers", ()):
        owner, _, leaf = name.rpartition(".")
        empty = model.get_buffer(name)
        if name in tensors and tensors[name].dim() == empty.dim():
            model.get_submodule(owner).register_buffer(leaf, empty.new_empty(tensors[name].shape))


def _check_fit(path: Path, name: str, expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> None:
    """Raise ModelFileError naming the first tensor that is missing, superfluous, or of another shape or type."""
    differences = [f"{key} is missing" for key in expected if key not in found]
    differences += [f"{key} is not part of the model" for key in found if key not in expected]
    differences += [
        f"{key} is {_kind(found[key])}, expected {_kind(tensor)}"
        for key, tensor in expected.items()
        if key in found and _kind(found[key]) != _kind(tensor)
    ]
    if differences:
        more = f" (and {len(differences) - 1} more differences)" if len(differences) > 1 else ""
        raise ModelFileError(f"{path}: does not fit the model {name}: {differences[0]}{more}; train again")


def _kind(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"


def _header(path: Path) -> dict[str, Any]:
    """The safetensors header: 8 bytes of little-endian length, then JSON; checked against the size of the file."""
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            start = file.read(8)
            length = int.from_bytes(start, "little")
            text = file.read(length) if length <= min(size - 8, MAX_HEADER_BYTES) else b""
    except OSError as error:
        raise ModelFileError(f"{path}: cannot be read ({error.strerror}); expected {EXPECTED}") from error
    if not text.startswith(b"{"):
        raise ModelFileError(f"{path}: {_what(start, size, length)}; expected {EXPECTED}")
    try:
        header = json.loads(text)
        end = max((entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"), default=0)
    except (ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
        raise ModelFileError(f"{path}: the header is damaged; copy the file again or train again") from error
    if size != 8 + length + end:
        state = "truncated" if size < 8 + length + end else "longer than it was written"
        raise ModelFileError(
            f"{path}: the file is {state}: {size} bytes where its header says {8 + length + end}; copy it again or "
            "train again"
        )
    return dict(header)


def _what(start: bytes, size: int, length: int) -> str:
    """Words for a file that has no safetensors header."""
    if size == 0:
        return "the file is empty"
    if size >= 8 and length <= MAX_HEADER_BYTES:
        return "truncated inside its header, or not a safetensors file"
    known = [words for magic, words in FOREIGN.items() if start.startswith(magic)]
    return f"this is {known[0]}" if known else "not a safetensors file"


def _text(meta: Mapping[str, Any]) -> str:
    return json.dumps(meta, sort_keys=True, allow_nan=False)


def _digest(tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> str:
    """SHA-256 over the description and over name, type, shape and bytes of each tensor in the order of their names."""
    import torch

    digest = hashlib.sha256(_text(meta).encode())
    for name in sorted(tensors):
        digest.update(f"\n{name} {_kind(tensors[name])}\n".encode())
        digest.update(tensors[name].reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _unshared(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors, with a copy of each whose memory another one already uses, as the format requires."""
    seen: set[int] = set()
    result: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        memory = tensor.untyped_storage().data_ptr()
        result[name] = tensor.clone() if memory in seen else tensor
        seen.add(memory)
    return result


@contextlib.contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`; on success it is synced to disk and renamed over it, otherwise removed."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.touch()
        yield temporary
        _sync(temporary)
        os.replace(temporary, path)
        _sync(path.parent)
    except OSError as error:
        raise _unwritable(path, error.strerror or str(error)) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def _sync(path: Path) -> None:
    """Ask the system to have a file, or the entries of a folder, on disk before going on."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _unwritable(path: Path, reason: str) -> AdtoolError:
    return AdtoolError(
        f"{path}: cannot be written ({reason}); free some space, or name a folder you may write to with --output"
    )
