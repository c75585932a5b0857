"""Outputs of numpy's kind."""

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

_AT_ONCE = 2**20


class Npz:
    """Each array is written to a file of its own, since in a zip file one follows the other, and copied at the end."""

    def __init__(self, partial: Path, *, id_name: str, **_: Any) -> None:
        self._partial, self._id_name = partial, id_name
        self._arrays: dict[str, _Array] = {}
        self._archive = zipfile.ZipFile(partial, "w")

    def write(self, ids: np.ndarray | None, fields: Mapping[str, np.ndarray]) -> None:
        for name, values in [*({} if ids is None else {self._id_name: ids}).items(), *fields.items()]:
            if name not in self._arrays:
                place = self._partial.with_name(f"{self._partial.name}.{len(self._arrays)}")
                self._arrays[name] = (_Texts if values.dtype.kind in "OU" else _Array)(place, values)
            self._arrays[name].write(values)

    def finish(self) -> None:
        for name, array in self._arrays.items():
            with self._archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                header = {"descr": np.lib.format.dtype_to_descr(array.dtype), "fortran_order": False}
                np.lib.format.write_array_header_1_0(member, header | {"shape": (array.number, *array.shape)})
                array.copy_to(member)
        self._archive.close()

    def close(self) -> None:
        for array in self._arrays.values():
            array.file.close()
        self._archive.close()


class _Array:
    """Numbers in a file of their own."""

    def __init__(self, place: Path, like: np.ndarray) -> None:
        self.file: IO[bytes] = place.open("w+b")
        self.dtype, self.shape, self.number = like.dtype, like.shape[1:], 0

    def write(self, values: np.ndarray) -> None:
        self.file.write(np.ascontiguousarray(values).data)
        self.number += len(values)

    def copy_to(self, member: IO[bytes]) -> None:
        self.file.seek(0)
        while piece := self.file.read(_AT_ONCE):
            member.write(piece)


class _Texts(_Array):
    """Texts in UTF-8, the length of each before it, until it is known how wide the widest is."""

    def __init__(self, place: Path, like: np.ndarray) -> None:
        super().__init__(place, like)
        self._width = 1

    def write(self, values: np.ndarray) -> None:
        texts = list(map(str, values.tolist()))
        encoded = [text.encode(errors="surrogatepass") for text in texts]
        self.file.write(b"".join(len(text).to_bytes(4, "little") + text for text in encoded))
        self._width = max(self._width, *map(len, texts))
        self.dtype = np.dtype(f"U{self._width}")
        self.number += len(texts)

    def copy_to(self, member: IO[bytes]) -> None:
        self.file.seek(0)
        while texts := list(self._next()):
            member.write(np.array(texts, self.dtype).data)

    def _next(self) -> Any:
        for _ in range(_AT_ONCE // self.dtype.itemsize + 1):
            if not (size := self.file.read(4)):
                return
            yield self.file.read(int.from_bytes(size, "little")).decode(errors="surrogatepass")
