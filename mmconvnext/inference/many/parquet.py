"""Pictures in Parquet files: as bytes, or as paths."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet, types

from mmconvnext.data.checks import DataError
from mmconvnext.inference.many.sources import Source
from mmconvnext.inference.pictures import PictureError

_OF_PICTURES = ("image", "img", "jpg", "jpeg", "png", "webp", "picture", "photo", "image_bytes")
_OF_BYTES = ("bytes", "content", "data", "binary")
_OF_PATHS = ("path", "image_path", "file_name", "filename", "filepath", "file")
_OF_KEYS = ("key", "__key__", *_OF_PATHS, "name", "image_id", "id")
_ROWS = 16  # that are in memory at a time
_READ_AHEAD = 1 << 20  # bytes


def find_column(source: Source, wanted: str | None) -> str:
    """The column with the pictures: bytes, Hugging Face's struct of bytes and path, or paths.

    Args:
        source: of Parquet files; the first tells.
        wanted: its name, if the user gave one; otherwise the likeliest is taken.

    Raises:
        DataError: there is none, several are as likely, or the file cannot be read.
    """
    where = f"source {Path(source.root, source.files[0])}"
    with _open(source.root, source.files[0]) as file:
        schema = file.schema_arrow
    holding = [field.name for field in schema if _holds_bytes(field.type)]
    paths = [field.name for field in schema if _is_text(field.type)]
    if wanted is not None:
        if wanted in (*holding, *paths):
            return wanted
        found = f"a column of {schema.field(wanted).type}" if wanted in schema.names else "none"
        raise DataError(
            f"{where}: --column {wanted}: expected a column of bytes or paths, found {found}; "
            f"there are {_told(schema)}"
        )
    named = [name for name in (*_OF_PICTURES, *_OF_BYTES) if name in holding]
    named += [name for name in (*_OF_PICTURES, *_OF_PATHS) if name in paths and not holding]
    if named:
        return named[0]
    if len(holding or paths) == 1:
        return (holding or paths)[0]
    raise DataError(
        f"{where}: expected a column of pictures as bytes or paths, found {_told(schema)}; name it "
        "with --column"
    )


def count_rows(root: str, name: str, column: str) -> int:
    """How many rows a file has.

    Raises:
        DataError: it cannot be read, or has no such column.
    """
    with _open(root, name) as file:
        schema = file.schema_arrow
        kind = schema.field(column).type if column in schema.names else pa.null()
        if not (_holds_bytes(kind) or _is_text(kind)):
            raise DataError(
                f"source {Path(root, name)}: expected a column {column} of pictures as in the "
                f"other files, found {_told(schema)}"
            )
        return int(file.metadata.num_rows)


def read_rows(
    root: str, name: str, column: str, first: int, count: int
) -> Iterator[tuple[str, Path | bytes | PictureError]]:
    """Key and picture of ``count`` rows from the row ``first`` on; a few are in memory at a time.

    Yields:
        (the key, or else an empty one, the picture or why there is none).

    Raises:
        DataError: the file cannot be opened.
    """
    with _open(root, name) as file:
        keys = [k for k in _OF_KEYS if k in file.schema_arrow.names and k != column]
        keys = [k for k in keys if _is_text(file.schema_arrow.field(k).type)][:1]
        for group, rows in _rows_by_group(file.metadata, first, count):
            done = 0
            try:
                for row in _rows_of(file, group, rows, [column, *keys]):
                    yield _key(row, column, keys), _picture(row[column], root, name)
                    done += 1
            except (pa.ArrowException, OSError) as error:
                reason = f"{Path(root, name)} cannot be read: {' '.join(str(error).split())}"
                # The reader is behind the damaged place: what it says is true of the whole group.
                for _ in range(done, len(rows)):
                    yield "", PictureError(reason)


def _rows_by_group(
    metadata: parquet.FileMetaData, first: int, count: int
) -> Iterator[tuple[int, range]]:
    """Each row group that has some of the rows, and their places in it."""
    start = 0
    for group in range(metadata.num_row_groups):
        size = metadata.row_group(group).num_rows
        rows = range(max(0, first - start), min(size, first + count - start))
        if rows:
            yield group, rows
        start += size


def _rows_of(
    file: parquet.ParquetFile, group: int, rows: range, columns: list[str]
) -> Iterator[dict[str, Any]]:
    start = 0
    for batch in file.iter_batches(_ROWS, row_groups=[group], columns=columns):
        wanted = range(max(rows.start, start), min(rows.stop, start + len(batch)))
        if wanted:
            yield from batch.slice(wanted.start - start, len(wanted)).to_pylist()
        start += len(batch)
        if start >= rows.stop:
            return


def _key(row: dict[str, Any], column: str, keys: list[str]) -> str:
    value = row[column]
    named = value.get("path") if isinstance(value, dict) else value
    if not isinstance(named, str):
        named = row[keys[0]] if keys else None
    return named or ""


def _picture(value: Any, root: str, name: str) -> Path | bytes | PictureError:
    if isinstance(value, dict):
        value = value.get("bytes") or value.get("path")
    if isinstance(value, bytes) and value:
        return value
    if isinstance(value, str) and value:
        return Path(root, name).parent / value
    return PictureError("the row has no picture")


def _open(root: str, name: str) -> parquet.ParquetFile:
    path = Path(root, name)
    try:
        # Without reading whole row groups ahead: one may be larger than the memory.
        return parquet.ParquetFile(path, pre_buffer=False, buffer_size=_READ_AHEAD)
    except (pa.ArrowException, OSError) as error:
        text = " ".join(str(error).split())
        raise DataError(f"source {path}: expected a Parquet file, found none: {text}") from error


def _holds_bytes(kind: pa.DataType) -> bool:
    if types.is_struct(kind):
        names = [kind.field(n).name for n in range(kind.num_fields)]
        return "bytes" in names and _holds_bytes(kind.field("bytes").type)
    return bool(types.is_binary(kind) or types.is_large_binary(kind) or types.is_binary_view(kind))


def _is_text(kind: pa.DataType) -> bool:
    return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind))


def _told(schema: pa.Schema) -> str:
    return ", ".join(f"{field.name} ({field.type})" for field in schema)
