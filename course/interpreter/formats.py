"""Small floats as float32: their bits, their values, and the rounding between."""

from typing import Any

import numpy as np
import torch

_FLOAT32_FRACTION = 23


class Format:
    """A float of 8 or 16 bits, each value of which is a float32.

    The upper bits of that float32 tell the values apart, so tables lead from bits to value and
    back, and a value that was only loaded and stored keeps its bits, a NaN's included.

    Args:
        dtype: what PyTorch calls it.
        fraction: bits behind the binary point of a normal number.
    """

    def __init__(self, dtype: torch.dtype, fraction: int) -> None:
        self.torch = dtype
        self.bits = np.dtype(f"uint{8 * dtype.itemsize}")
        # subnormals, which are normal as float32, need no more of its fraction than the others
        self._shift = np.uint32(_FLOAT32_FRACTION - fraction)
        self._below = np.uint32((1 << int(self._shift)) - 1)
        width = 8 * dtype.itemsize
        codes = np.arange(2**width, dtype=self.bits)
        values = torch.from_numpy(codes).view(dtype).float().numpy()
        # a NaN's own bits, which a conversion need not keep
        wide = codes.astype(np.uint32)
        sign, payload = wide >> (width - 1), wide & (2**fraction - 1)
        of_nan = (sign << 31) | 0x7F800000 | (payload << self._shift)
        wide = np.where(np.isnan(values), of_nan, values.view(np.uint32))
        self._values = wide.view(np.float32)
        self._codes = np.zeros(2 ** (32 - int(self._shift)), self.bits)
        self._codes[wide >> self._shift] = codes

    def decode(self, codes: np.ndarray) -> np.ndarray:
        """Bits (uint8 or uint16) -> float32."""
        return self._values[codes]

    def encode(self, values: np.ndarray) -> np.ndarray:
        """What :meth:`decode` or :meth:`rounded` gave -> its bits."""
        return self._codes[values.view(np.uint32) >> self._shift]

    def rounded(self, values: np.ndarray) -> np.ndarray:
        """Floats -> the nearest values as float32; ties, overflow and NaN as PyTorch has them.

        float64 goes by way of float32, as in PyTorch.
        """
        if values.dtype != np.float32:
            with np.errstate(over="ignore", invalid="ignore"):
                values = values.astype(np.float32)
        wide = values.view(np.uint32)
        # all of bf16's upper half are values of it, and most operations move or choose values
        if self.bits.itemsize == 2 and not (wide & self._below).any():
            return values
        # a copy, because PyTorch takes neither read-only nor flipped arrays
        cast = torch.from_numpy(np.array(values, order="C")).to(self.torch)
        nearest = self.decode(cast.view(getattr(torch, self.bits.name)).numpy())
        nan = np.isnan(values)
        if nan.any():
            same = self.decode(self.encode(values)).view(np.uint32) == wide
            nearest = np.where(nan & same, values, nearest)
        return nearest

    def towards_zero(self, values: np.ndarray) -> np.ndarray:
        """The nearest values that are no larger in magnitude, as float32."""
        nearest = self.rounded(values)
        too_large = ~(np.abs(nearest) <= np.abs(values)) & ~np.isnan(values)
        codes = self.encode(nearest)
        # the codes of one sign are in the order of magnitude, and NaN and infinity follow the last
        return self.decode(np.where(too_large, codes - self.bits.type(1), codes))


FORMATS = {
    "bf16": Format(torch.bfloat16, 7),
    "fp8e4nv": Format(torch.float8_e4m3fn, 3),
    "fp8e5": Format(torch.float8_e5m2, 2),
}
# no GPU of this course has them, and PyTorch's casts to them are not tested here
UNSUPPORTED = ("fp8e4b15", "fp8e4b8", "fp8e5b16")


def format_of(dtype: Any) -> Format | None:
    """How a Triton type, or blocks of it, is carried; None for pointers and what NumPy has."""
    return FORMATS.get(dtype.scalar.name)
