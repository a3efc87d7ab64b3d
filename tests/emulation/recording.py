"""Operator calls, forward and backward, written to a file for recorded_calls.cpp."""

from __future__ import annotations

import struct
from typing import Any

import torch
from emulated import Emulated, signature
from torch import Tensor

# torch's own numbers of the types that operators store
DTYPES = {torch.int32: 3, torch.int64: 4, torch.float16: 5, torch.float32: 6, torch.float64: 7, torch.bool: 11}
DTYPES[torch.bfloat16] = 15


class Recording(Emulated):
    """Keeps the calls that run emulated."""

    def __init__(self) -> None:
        super().__init__()
        self.schemas: dict[str, str] = {}
        self.calls: list[bytes] = []

    def ran(self, function: Any, arguments: tuple[Any, ...]) -> None:
        schema = function._schema
        self.schemas[function._opname] = function._opname + signature(schema)
        left_out = [parameter.default_value for parameter in schema.arguments[len(arguments) :]]
        values = zip(schema.arguments, [*arguments, *left_out], strict=True)
        packed = [_argument(str(parameter.type), value) for parameter, value in values]
        self.calls.append(_text(function._opname) + _count(packed) + b"".join(packed))

    def bytes(self) -> bytes:
        schemas = [_text(schema) for schema in self.schemas.values()]
        return _count(schemas) + b"".join(schemas) + _count(self.calls) + b"".join(self.calls)


def _count(items: Any) -> bytes:
    return struct.pack("<q", len(items))


def _text(text: str) -> bytes:
    return _block(text.encode())


def _integers(values: Any) -> bytes:
    return struct.pack(f"<q{len(values)}q", len(values), *values)


def _tensor(x: Tensor) -> bytes:
    """Element type, sizes, strides, and the bytes in the order of memory."""
    x = x.detach()
    if not (x.is_contiguous() or x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last)):
        x = x.contiguous()
    memory = x.as_strided((x.numel(),), (1,)).clone().view(torch.uint8).numpy().tobytes()
    return struct.pack("<i", DTYPES[x.dtype]) + _integers(x.shape) + _integers(x.stride()) + _block(memory)


def _block(memory: bytes) -> bytes:
    return _count(memory) + memory


def _argument(kind: str, value: Any) -> bytes:
    """A value of this type of the schema."""
    if kind.startswith("Optional["):
        return b"n" if value is None else b"?" + _argument(kind[len("Optional[") : -1], value)
    if kind == "List[Tensor]":
        return b"L" + _count(value) + b"".join(map(_tensor, value))
    pack = {
        "Tensor": (b"T", _tensor),
        "int": (b"i", lambda number: struct.pack("<q", number)),
        "float": (b"d", lambda number: struct.pack("<d", number)),
        "bool": (b"b", lambda number: struct.pack("<?", number)),
        "str": (b"s", _text),
        "List[int]": (b"I", _integers),
    }
    letter, packed = pack[kind]
    return letter + packed(value)
