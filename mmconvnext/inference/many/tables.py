"""The tables of a shard: what was found, and which pictures could not be read."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from mmconvnext.inference.many.plan import Facts
from mmconvnext.inference.many.reading import Item
from mmconvnext.inference.predictions import Detections, Segmentation
from mmconvnext.inference.results import counts_of, map_image
from mmconvnext.version import __version__

ABOUT, SHARD = b"mmconvnext", b"mmconvnext.shard"  # keys in a file's metadata, their values JSON
_ROWS, _BYTES = 256, 4 << 20  # of a row group, which is what is in memory
_PLACE = [("key", pa.string()), ("file", pa.string()), ("row", pa.int64())]
ERRORS = pa.schema([*_PLACE, ("error", pa.string())])


def schema_of(facts: Facts, settings: Mapping[str, Any]) -> pa.Schema:
    """The columns of predictions, with what is true of all of them as metadata."""
    columns = [*_PLACE, ("width", pa.int32()), ("height", pa.int32())]
    about: dict[str, Any] = {
        "version": __version__,
        "task": facts.task,
        "classes": list(facts.classes),
        "settings": dict(settings),
    }
    if facts.task == "detection":
        columns += [
            ("boxes", pa.list_(pa.list_(pa.float32(), 4))),
            ("scores", pa.list_(pa.float32())),
            ("labels", pa.list_(pa.int32())),
        ]
        if facts.masks:
            columns.append(("masks", pa.list_(pa.string())))
        about["boxes"] = "left, top, right, bottom in the picture's pixels"
        about["labels"] = "from 0, places in classes"
    else:
        columns.append(("classes", pa.binary()))
        about["zero_is_ignored"] = facts.zero_is_ignored
        start = "label + 1, 0 is no class" if facts.zero_is_ignored else "the label"
        about["maps"] = f"PNG; a pixel's value is {start}"
    return pa.schema(columns, metadata={ABOUT: json.dumps(about)})


def row_of(
    item: Item, size: tuple[int, int], found: Detections | Segmentation, facts: Facts
) -> dict[str, Any]:
    """A row of predictions: ``found`` in a picture of ``size`` (height, width)."""
    row = {**item._asdict(), "width": size[1], "height": size[0]}
    if isinstance(found, Segmentation):
        png = io.BytesIO()
        map_image(found, facts.zero_is_ignored).save(png, format="PNG")
        return {**row, "classes": png.getvalue()}
    row |= {
        "boxes": found.boxes.tolist(),
        "scores": found.scores.tolist(),
        "labels": found.labels.tolist(),
    }
    if facts.masks:
        row["masks"] = [counts_of(rle) for rle in found.rles or ()]
    return row


class TableFile:
    """A Parquet file that takes row by row; as many as a row group has are in memory.

    Args:
        path: of the file.
        schema: its columns.
    """

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._schema = schema
        names = [name for name in schema.names if name != "classes"]  # PNGs are compressed already
        compression = {**dict.fromkeys(names, "zstd"), "classes": "none"}
        self._writer = parquet.ParquetWriter(path, schema, compression=compression)
        self._rows: list[dict[str, Any]] = []
        self._bytes = 0

    def __enter__(self) -> TableFile:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self._flush()
        self._writer.close()

    def add(self, row: dict[str, Any]) -> None:
        """Append a row."""
        self._rows.append(row)
        self._bytes += len(row.get("classes", "")) + sum(map(len, row.get("masks", ())))
        if len(self._rows) >= _ROWS or self._bytes >= _BYTES:
            self._flush()

    def describe(self, facts: Mapping[str, Any]) -> None:
        """Say in the file's metadata what came of the shard."""
        self._writer.add_key_value_metadata({SHARD: json.dumps(facts)})

    def _flush(self) -> None:
        if self._rows:
            self._writer.write_batch(pa.RecordBatch.from_pylist(self._rows, self._schema))
        self._rows, self._bytes = [], 0
