"""The digest of a frame: what its rows are, whatever engine or library holds them."""

import hashlib

import polars as pl


def digest_of(rows: pl.DataFrame) -> str:
    """SHA-256 over names, types and values, column by column. Arrow bytes would not do: what lies under a null is not part of the rows.

    Of columns of numbers, truths, texts, bytes, decimals and lists of one of them; see `digestible` for others."""
    total = hashlib.sha256()
    for column in rows:
        _add(total, column)
    return total.hexdigest()


def _add(total: "hashlib._Hash", column: pl.Series) -> None:
    total.update(f"{column.name} {column.dtype} {column.len()};".encode())
    total.update(column.is_null().to_numpy().tobytes())
    if column.dtype == pl.String:
        texts = column.fill_null("")
        total.update(texts.str.len_bytes().to_numpy().tobytes())
        total.update("".join(texts).encode())
    elif column.dtype == pl.Binary:
        data = column.fill_null(b"")
        total.update(data.bin.size().to_numpy().tobytes())
        total.update(b"".join(data))
    elif isinstance(column.dtype, pl.List):
        total.update(column.list.len().fill_null(0).to_numpy().tobytes())
        _add(total, column.drop_nulls().filter(column.drop_nulls().list.len() > 0).explode())
    elif isinstance(column.dtype, pl.Decimal):
        _add(total, column.cast(pl.String))
    else:
        total.update(column.fill_null(value=False if column.dtype == pl.Boolean else 0).to_numpy().tobytes())


def digestible(frame: pl.DataFrame) -> pl.DataFrame:
    """The frame with times as numbers and with whatever is neither number, truth nor text as text."""
    made = []
    for column in frame:
        if column.dtype.is_temporal():
            made.append(column.to_physical())
        elif column.dtype in (pl.String, pl.Boolean) or column.dtype.is_integer() or column.dtype.is_float():
            made.append(column)
        else:
            made.append(pl.Series(column.name, [None if value is None else str(value) for value in column.to_list()], dtype=pl.String))
    return pl.DataFrame(made)
