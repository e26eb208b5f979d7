"""Parquet files of strangers: what one says it holds, and the text in it, are held against its bytes before they take memory."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from ecgsynth.places import open_file
from ecgsynth.untrusted import MOST_SAMPLES, refuse_unbacked

if TYPE_CHECKING:
    import pyarrow as pa


class TableFile:
    """A Parquet file with a column of lists, opened for a block.

    Text is read as its dictionary, so that what many rows have is in memory once: in an array of numpy each row would take as much as
    the longest of all.

    Parameters
    ----------
    path : Path
        The file.
    lists : str
        The column of lists.

    Raises
    ------
    OSError or ValueError
        If it is no Parquet file, or says that it holds far more than so many bytes can; those of Arrow are among these.
    """

    def __init__(self, path: Path, lists: str) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        source = open_file(path)
        self.metadata = pq.read_metadata(source)
        self.schema = self.metadata.schema.to_arrow_schema()
        text = [field.name for field in self.schema if pa.types.is_string(field.type)]
        self._path, self._rows, self._longest = path, 0, dict[str, int]()
        self._numbers = _size_of(self.metadata, self.schema, lists)
        refuse_unbacked(self._numbers, path)
        self._file = pq.ParquetFile(source, metadata=self.metadata, read_dictionary=text)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close(force=True)  # what is at an address, too

    def read(self, columns: Sequence[str] | None = None) -> "pa.Table":
        """Read some columns, or all."""
        return self._checked(self._file.read(columns))

    def groups(self) -> Iterator["pa.Table"]:
        """Read all columns, row group by row group."""
        for number in range(self._file.num_row_groups):
            yield self._checked(self._file.read_row_group(number))

    def _checked(self, table: "pa.Table") -> "pa.Table":
        """Give a table back, if the text of all rows so far can be set in arrays."""
        import pyarrow as pa
        import pyarrow.compute as pc

        self._rows += len(table)
        for name in table.column_names:
            if pa.types.is_dictionary(table.schema.field(name).type):
                letters = [pc.max(pc.utf8_length(chunk.dictionary)).as_py() or 0 for chunk in table[name].chunks]
                self._longest[name] = max([self._longest.get(name, 0), *letters])
        refuse_unbacked(self._numbers + 4 * self._rows * sum(self._longest.values()), self._path)
        return table


def _size_of(known: Any, schema: "pa.Schema", lists: str) -> int:
    """Say how many bytes a file says that it holds, in numbers of four bytes, or in pages once they are unpacked."""
    width = getattr(schema.field(lists).type, "list_size", MOST_SAMPLES) if lists in schema.names else 0
    groups = [known.row_group(number) for number in range(known.num_row_groups)]
    columns = [group.column(place) for group in groups for place in range(known.num_columns)]
    numbers = 4 * max(sum(column.num_values for column in columns), known.num_rows * width)
    return max(numbers, sum(column.total_uncompressed_size for column in columns))
