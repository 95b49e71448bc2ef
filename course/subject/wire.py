"""Messages between a test and a child process: a JSON header, then raw tensor bytes. No pickle."""

import json
import struct
from typing import Any, BinaryIO

import torch
from torch import Tensor

_LENGTH = struct.Struct("<Q")


def send(stream: BinaryIO, message: Any) -> None:
    """Write one message: JSON values, with tensors and dtypes anywhere in them."""
    blobs: list[bytes] = []
    header = json.dumps(_encode(message, blobs)).encode()
    for part in (header, *blobs):
        stream.write(_LENGTH.pack(len(part)))
        stream.write(part)
    stream.flush()


def receive(stream: BinaryIO) -> Any:
    """Read one message.

    Raises:
        EOFError: the other side has gone.
    """
    return _decode(json.loads(_read(stream)), stream)


def _read(stream: BinaryIO) -> bytes:
    (length,) = _LENGTH.unpack(_exactly(stream, _LENGTH.size))
    return _exactly(stream, length)


def _exactly(stream: BinaryIO, count: int) -> bytes:
    data = stream.read(count)
    if data is None or len(data) != count:
        raise EOFError("the other process has gone")
    return data


def _encode(value: Any, blobs: list[bytes]) -> Any:
    if isinstance(value, Tensor):
        # the whole storage travels, so that strides, offsets and stride 0 survive
        if value.device.type != "meta":  # which has no data, and stands for a wrong device
            flat = torch.empty(0, dtype=torch.uint8).set_(value.detach().untyped_storage().cpu())
            blobs.append(flat.numpy().tobytes())
        return {
            "tensor": str(value.dtype).removeprefix("torch."),
            "shape": list(value.shape),
            "stride": list(value.stride()),
            "offset": value.storage_offset(),
            "device": value.device.type,
            "requires_grad": value.requires_grad,
        }
    if isinstance(value, torch.dtype):
        return {"dtype": str(value).removeprefix("torch.")}
    if isinstance(value, dict):
        return {"dict": {k: _encode(v, blobs) for k, v in value.items()}}
    if isinstance(value, (list, tuple)):
        return [_encode(v, blobs) for v in value]
    return value


def _decode(value: Any, stream: BinaryIO) -> Any:
    if isinstance(value, list):
        return [_decode(v, stream) for v in value]
    if not isinstance(value, dict):
        return value
    if "dict" in value:
        return {k: _decode(v, stream) for k, v in value["dict"].items()}
    if "dtype" in value:
        return getattr(torch, value["dtype"])
    dtype, shape, stride = getattr(torch, value["tensor"]), value["shape"], value["stride"]
    if value["device"] == "meta":
        return torch.empty_strided(shape, stride, dtype=dtype, device="meta")
    data = bytearray(_read(stream))
    flat = torch.frombuffer(data, dtype=torch.uint8) if data else torch.empty(0, dtype=torch.uint8)
    storage = flat.to(value["device"]).untyped_storage()
    empty = torch.empty(0, dtype=dtype, device=value["device"])
    tensor = empty.set_(storage, value["offset"], tuple(shape), tuple(stride))
    return tensor.requires_grad_(value["requires_grad"])
