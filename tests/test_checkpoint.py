"""Model files: what is written comes back, and whatever is not an intact file of ours is a clear error."""

from __future__ import annotations

import errno
import json
import os
import resource
import struct
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import toys
from safetensors import safe_open
from safetensors.torch import save_file

from adtool import __version__, checkpoint, models
from adtool.errors import AdtoolError, ModelFileError


@pytest.fixture(autouse=True)
def toy_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "load", lambda name: toys)


@pytest.fixture
def model() -> toys.Model:
    torch.manual_seed(0)
    model = toys.Model(toys.Config(scales=(3, 4))).eval()
    model.bank = torch.rand(5, 8)
    model.discard()
    return model


@pytest.fixture
def file(tmp_path: Path, model: toys.Model) -> Path:
    checkpoint.save_model(tmp_path / "model.safetensors", model, {"model": "toy", "calibration": None})
    return tmp_path / "model.safetensors"


def rewritten(path: Path, change: Any, digest: bool = True) -> None:
    """Write the file again after `change(tensors, meta)`, with a right digest unless told otherwise."""
    tensors, meta = checkpoint.read(path)
    change(tensors, meta)
    if digest:
        meta.pop("sha256")
        meta["sha256"] = checkpoint._digest(tensors, meta)
    save_file(tensors, path, metadata={"adtool": json.dumps(meta)})


TENSORS = {
    "floats": torch.tensor([[1.5, -2.0], [0.1, 1e-38]]),
    "half": torch.tensor([1.0, 2.0], dtype=torch.bfloat16),
    "whole": torch.tensor(7),
    "none": torch.empty(0, 3),
    "flags": torch.tensor([True, False]),
    "strided": torch.arange(6.0).reshape(2, 3).t(),
}


def test_tensors_and_description_come_back_bit_for_bit(tmp_path: Path) -> None:
    meta = {"kind": "model", "text": "naïve", "number": 0.1, "list": (1, 2.5, None), "rows": {2: "b", 10: "a"}}
    checkpoint.save(tmp_path / "new" / "file", TENSORS, meta)
    tensors, read = checkpoint.read(tmp_path / "new" / "file")
    assert tensors.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert tensors[name].dtype == tensor.dtype
        assert torch.equal(tensors[name], tensor)
    assert read["text"] == "naïve"
    assert read["list"] == [1, 2.5, None]
    assert (read["format"], read["adtool"]) == (1, __version__)
    assert checkpoint.read_meta(tmp_path / "new" / "file") == read


def test_tensors_that_share_memory_are_both_kept(tmp_path: Path) -> None:
    row = torch.arange(6.0)
    checkpoint.save(tmp_path / "file", {"a": row, "b": row, "c": row[2:4]}, {})
    tensors, _ = checkpoint.read(tmp_path / "file")
    assert tensors["a"].equal(row)
    assert tensors["b"].equal(row)
    assert tensors["c"].tolist() == [2.0, 3.0]


def test_any_safetensors_reader_opens_the_file(file: Path, model: toys.Model) -> None:
    with safe_open(file, "np") as opened:
        assert json.loads(opened.metadata()["adtool"])["model"] == "toy"
        assert (opened.get_tensor("decoder.bias") == model.decoder.bias.detach().numpy()).all()


def test_a_model_comes_back_with_its_bank_and_configuration(file: Path, model: toys.Model) -> None:
    loaded = checkpoint.load_model(file)
    assert loaded.model.config == model.config  # the tuple is a tuple again
    assert loaded.calibration is None
    assert not loaded.model.training
    images = torch.rand(2, 3, 16, 16)
    assert torch.equal(loaded.model.predict(images).maps, model.predict(images).maps)
    assert torch.equal(loaded.model.get_buffer("bank"), model.bank)


def test_a_model_that_is_loaded_keeps_freed_memory(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []
    monkeypatch.setattr(checkpoint, "keep_freed_memory", lambda: asked.append(True))
    checkpoint.load_model(file)
    assert asked == [True]


def test_the_description_is_read_without_torch(file: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from adtool.checkpoint import read_meta;"
        f"print(read_meta(Path({str(file)!r}))['model'], 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["toy", "False"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (b"\x01\x02", "not a safetensors file"),
        (b"PK\x03\x04\x14\x00\x08\x08 and more", "pickled PyTorch"),
        (b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19", "pickle"),
        (b"\x89PNG\r\n\x1a\n and more", "PNG"),
        (b'{"json": 1, "more": 2}', "text"),
        (b"\x08\x07\x12\x07pytorch", "ONNX"),
        (struct.pack("<Q", 30) + b'{"a": 1', "truncated inside its header"),
        (struct.pack("<Q", 7) + b'{"a": 1', "header is damaged"),
        (struct.pack("<Q", 9) + b'{"a": {}}', "header is damaged"),
        (struct.pack("<Q", 1 << 60) + b"{" * 40, "not a safetensors file"),
    ],
)
def test_a_file_that_is_something_else_is_named(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "some file"
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match=rf"some file: .*{words}"):
        checkpoint.load_model(path)


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="nothing: cannot be read \\(No such file"):
        checkpoint.load_model(tmp_path / "nothing")
    with pytest.raises(ModelFileError, match="cannot be read \\(Is a directory"):
        checkpoint.load_model(tmp_path)


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}])
def test_a_model_of_another_tool_is_said_to_be_one(tmp_path: Path, metadata: dict[str, str] | None) -> None:
    save_file({"layer1.weight": torch.zeros(2), "layer2.weight": torch.zeros(2)}, tmp_path / "other", metadata=metadata)
    with pytest.raises(ModelFileError, match="of another tool \\(2 tensors, the first named 'layer1.weight'\\)"):
        checkpoint.load_model(tmp_path / "other")


def test_every_truncation_and_every_added_byte_is_found(file: Path) -> None:
    content = file.read_bytes()
    for size in [*range(0, len(content), 97), len(content) - 1]:
        file.write_bytes(content[:size])
        with pytest.raises(ModelFileError, match="truncated|empty|not a safetensors"):
            checkpoint.load_model(file)
    file.write_bytes(content + b"\x00")
    with pytest.raises(ModelFileError, match="longer than it was written"):
        checkpoint.load_model(file)


def test_a_flipped_bit_is_found_wherever_it_is(file: Path) -> None:
    content = file.read_bytes()
    for position in range(0, len(content), 101):
        file.write_bytes(content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :])
        with pytest.raises(ModelFileError):
            checkpoint.load_model(file)


def test_an_altered_weight_or_threshold_is_found(file: Path) -> None:
    content = file.read_bytes()
    rewritten(file, lambda tensors, meta: tensors["decoder.bias"].add_(1), digest=False)
    with pytest.raises(ModelFileError, match="do not match their SHA-256 digest"):
        checkpoint.load_model(file)
    file.write_bytes(content)
    rewritten(file, lambda tensors, meta: meta.update(threshold=0.5), digest=False)
    with pytest.raises(ModelFileError, match="do not match their SHA-256 digest"):
        checkpoint.load_model(file)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda tensors, meta: tensors.pop("decoder.bias"), "decoder.bias is missing"),
        (lambda tensors, meta: tensors.update(extra=torch.zeros(1)), "extra is not part of the model"),
        (
            lambda tensors, meta: tensors.update({"decoder.bias": torch.zeros(4)}),
            r"decoder.bias is float32 \(4,\), expected float32 \(3,\)",
        ),
        (
            lambda tensors, meta: tensors.update({"decoder.bias": torch.zeros(3).half()}),
            r"decoder.bias is float16 \(3,\), expected float32 \(3,\)",
        ),
        (lambda tensors, meta: tensors.update(bank=torch.zeros(4)), r"bank is float32 \(4,\)"),
        (lambda tensors, meta: tensors.clear(), r"\(and 10 more differences\)"),
        (lambda tensors, meta: meta["config"].update(wings=2), "cannot build the model"),
        (lambda tensors, meta: meta.pop("config"), "cannot build the model"),
        (lambda tensors, meta: meta.update(kind="training"), "unfinished training.*--resume"),
    ],
)
def test_a_file_that_does_not_fit_its_model_says_where(file: Path, change: Any, words: str) -> None:
    rewritten(file, change)
    with pytest.raises(ModelFileError, match=words):
        checkpoint.load_model(file)


def test_a_file_of_a_later_format_names_the_cure(file: Path) -> None:
    rewritten(file, lambda tensors, meta: meta.update(format=2, adtool="9.0"))
    with pytest.raises(ModelFileError, match="written by adtool 9.0 in format 2.*install"):
        checkpoint.read_meta(file)


def test_an_unknown_model_names_the_version_that_knew_it(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    with pytest.raises(ModelFileError, match=f"cannot build.*toy.*written by adtool {__version__}"):
        checkpoint.load_model(file)


def test_nothing_in_a_file_is_executed(tmp_path: Path) -> None:
    torch.save({"model": SimpleNamespace()}, tmp_path / "pickled.pt")
    with pytest.raises(ModelFileError, match="never loads"):
        checkpoint.load_model(tmp_path / "pickled.pt")


@pytest.mark.parametrize(("call", "code"), [("fsync", errno.ENOSPC), ("replace", errno.EROFS), ("fsync", errno.EDQUOT)])
def test_a_failed_write_keeps_the_old_file_and_leaves_nothing_else(
    file: Path, model: toys.Model, monkeypatch: pytest.MonkeyPatch, call: str, code: int
) -> None:
    def fail(*args: Any, **options: Any) -> None:
        raise OSError(code, os.strerror(code))

    before = file.read_bytes()
    monkeypatch.setattr(os, call, fail)
    with pytest.raises(AdtoolError, match=rf"model.safetensors: cannot be written \({os.strerror(code)}\).*--output"):
        checkpoint.save_model(file, model, {"model": "toy", "new": True})
    assert file.read_bytes() == before
    assert list(file.parent.iterdir()) == [file]


def test_a_disk_that_fills_while_writing_is_an_error(file: Path) -> None:
    before, limits = file.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, limits[1]))
    try:
        with pytest.raises(AdtoolError, match="cannot be written"):
            checkpoint.save(file, {"large": torch.rand(1 << 18)}, {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert file.read_bytes() == before
    assert list(file.parent.iterdir()) == [file]


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(AdtoolError, match="taken/run/file: cannot be written"):
        checkpoint.save(tmp_path / "taken" / "run" / "file", {}, {})


def test_ctrl_c_while_writing_keeps_the_old_file(
    file: Path, model: toys.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(descriptor: int) -> None:
        raise KeyboardInterrupt

    before = file.read_bytes()
    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        checkpoint.save_model(file, model, {"model": "toy"})
    assert file.read_bytes() == before
    assert list(file.parent.iterdir()) == [file]
