"""Named arrays as one file in the safetensors format, streamed out and strictly parsed.

The file is a length, a JSON header (dtype, shape and place of every array) and the bytes; see the
`format <https://github.com/huggingface/safetensors#format>`_. Writing needs no copy of the arrays;
reading goes through the safetensors library, which refuses headers whose shapes do not fit the
bytes. Dtypes that the format has no word for (the structured states of environments) travel as
bytes, with their NumPy description beside the file.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

HEADER_LIMIT = 2**24  # bytes
_TYPES = {
    "f8": "F64", "f4": "F32", "f2": "F16", "i8": "I64", "u8": "U64", "i4": "I32", "u4": "U32",
    "i2": "I16", "u2": "U16", "i1": "I8", "u1": "U8", "b1": "BOOL", "c8": "C64",
}  # fmt: skip


def as_arrays(tensors: Mapping[str, Any]) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Turn torch tensors and NumPy arrays into what ``tensor_chunks`` can write.

    Args:
        tensors: arrays of any shape by name; torch tensors are copied to the CPU.

    Returns:
        Contiguous little-endian arrays, and the description of every dtype beyond the format's
        (those arrays became ``uint8`` with the item's bytes as last axis).

    Raises:
        ValueError: a dtype that is not plain data (objects) or that NumPy lacks (bfloat16).
    """
    arrays: dict[str, np.ndarray] = {}
    dtypes: dict[str, Any] = {}
    for name, value in tensors.items():
        array = _to_numpy(name, value)
        if array.dtype.str[1:] not in _TYPES:
            if array.dtype.hasobject or array.dtype.kind not in "VSUMm":
                raise ValueError(f"tensor {name} has dtype {array.dtype}, which is not storable")
            dtypes[name] = json.loads(json.dumps(np.lib.format.dtype_to_descr(array.dtype)))
            array = array.reshape(*array.shape, 1).view(np.uint8)
        arrays[name] = array
    return arrays, dtypes


def tensor_chunks(arrays: Mapping[str, np.ndarray]) -> Iterator[bytes | memoryview]:
    """Yield the file piece by piece: length, header, then each array's bytes."""
    header: dict[str, Any] = {}
    offset = 0
    order = sorted(arrays, key=lambda name: (-arrays[name].dtype.itemsize, name))
    for name in order:
        array = arrays[name]
        end = offset + array.nbytes
        kind = _TYPES[array.dtype.str[1:]]
        header[name] = {"dtype": kind, "shape": [*array.shape], "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    yield len(text).to_bytes(8, "little")
    yield text
    for name in order:
        if arrays[name].nbytes:
            yield arrays[name].reshape(-1).view(np.uint8).data


def parse_tensors(content: bytes, dtypes: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Parse a file's bytes.

    Args:
        content: the whole file.
        dtypes: the descriptions that ``as_arrays`` returned.

    Returns:
        Arrays by name; writable, and views of memory that nobody else holds.

    Raises:
        ValueError: not a safetensors file, shapes that do not fit, or a dtype that is no data.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    if len(content) < 8 or int.from_bytes(content[:8], "little") > HEADER_LIMIT:
        raise ValueError(f"its header is cut or above {HEADER_LIMIT} bytes")
    try:
        tensors = dict(load(content))
    except (SafetensorError, ValueError, KeyError, OverflowError, MemoryError) as error:
        raise ValueError(f"not a safetensors file ({error})") from error
    for name, descr in dtypes.items():
        tensors[name] = _view(name, tensors.get(name), descr)
    return tensors


def _to_numpy(name: str, value: Any) -> np.ndarray:
    if hasattr(value, "detach"):
        try:
            value = value.detach().cpu().numpy()
        except TypeError as error:
            raise ValueError(f"tensor {name}: {error}") from error
    array = np.asarray(value)
    if array.dtype.byteorder == ">":
        array = array.astype(array.dtype.newbyteorder("<"))
    return array if array.flags.c_contiguous else array.copy()


def _view(name: str, array: np.ndarray | None, descr: Any) -> np.ndarray:
    """Give bytes their dtype back; object dtypes are refused before any view is made."""
    try:
        dtype: np.dtype[Any] = np.lib.format.descr_to_dtype(_tuples(descr))
        if array is None or array.dtype != np.uint8 or dtype.hasobject or not dtype.itemsize:
            raise ValueError("no array of bytes or no plain dtype")
        return array.view(dtype)[..., 0]
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError) as error:
        raise ValueError(f"dtype of {name}: {error}") from error


def _tuples(descr: Any) -> Any:
    """JSON turned the tuples of a dtype description into lists; turn them back."""
    if not isinstance(descr, list):
        return descr
    return [
        (field[0], _tuples(field[1]), *(tuple(shape) for shape in field[2:])) for field in descr
    ]
