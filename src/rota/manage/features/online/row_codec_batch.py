"""Many rows of a scalar view in the bytes of the online store at once: the same bytes as `RowView.encode`, made column by column.

Columns go into one numpy array of the row's layout. An expression that is more than a column's name is computed by the
same row code that pushes use: column code may differ from it in the last digit.
"""

from collections.abc import Sequence
from operator import itemgetter

import msgspec
import numpy as np
import polars as pl

from rota.manage.features.expressions import compiler
from rota.manage.features.expressions.operators import DTYPES
from rota.manage.features.online.row_codec import FORMATS, ID_BYTES, ROW, ROW_WITH_ID, RowView, entity_names, id_digest, layout
from rota.manage.features.rows.source_table import CREATED

Pairs = list[tuple[bytes, bytes]]
_texts = msgspec.msgpack.encode


FEWEST = 16
"""From so many rows on columns are quicker than rows."""


class RowBatches:
    """Encodes rows of one view."""

    def __init__(self, view: RowView) -> None:
        self.view = view
        fields = view.view.source.fields
        expressions = [feature.expression for _, feature in layout(view.view)]
        self._kinds = [compiler.type_of(expression, fields) for expression in expressions]
        read = [compiler.columns_of(expression, fields) for expression in expressions]
        self._plain = {i: text for i, text in enumerate(expressions) if isinstance(text, str) and read[i] == [text] and text in fields}
        self._computed = [i for i in range(len(expressions)) if i not in self._plain]
        self._needed = sorted({column for i in self._computed for column in read[i]})
        self._compute = compiler.compile_values([expressions[i] for i in self._computed], fields)
        self.columns = sorted(
            {column for columns in read for column in columns} | {*view.join_keys, view.timestamp_field, *filter(None, [view.id_field])}
        )
        """The columns of the source that encoding needs, without the created time."""
        self._texts = [i for i, kind in enumerate(self._kinds) if kind not in FORMATS]
        fixed = [i for i, kind in enumerate(self._kinds) if kind in FORMATS]
        form = [("tag", "S1"), ("event", "<i8"), ("created", "<i8"), ("nulls", "u1", ((len(expressions) + 7) // 8,))]
        identity = [("id", f"V{ID_BYTES}")] if view.id_field is not None else []
        self._form = np.dtype([*form, *((f"f{i}", _NUMPY[FORMATS[self._kinds[i]]]) for i in fixed), *identity])

    def pairs(self, found: pl.DataFrame) -> Pairs:
        """Key and stored bytes of each row of a frame with `columns` and the created time; in order of the keys."""
        names = entity_names([found[key].to_list() for key in self.view.join_keys])
        start = self.view.prefix
        pairs = [(start + name, data) for name, data in zip(names, self.stored(found), strict=True) if name is not None]
        pairs.sort(key=itemgetter(0))
        return pairs

    def stored(self, found: pl.DataFrame, identities: Sequence[bytes] = ()) -> list[bytes]:
        """The stored bytes of each row; `identities` are the `id_digest` of the rows where they are known already."""
        values = self._values(found)
        rows = np.zeros(found.height, dtype=self._form)
        rows["event"], rows["created"] = found[self.view.timestamp_field].to_numpy(), found[CREATED].to_numpy()
        rows["tag"] = ROW
        if self.view.id_field is not None:
            rows["tag"] = ROW_WITH_ID
            digests = identities or list(map(id_digest, found[self.view.id_field].to_list()))
            rows["id"] = np.frombuffer(b"".join(digests), dtype=f"V{ID_BYTES}")
        for i, column in enumerate(values):
            nulls = column.is_null().to_numpy() if column.null_count() else None
            if self._kinds[i] in FORMATS:
                numbers = (column if nulls is None else column.fill_null(False if self._kinds[i] == "bool" else 0)).to_numpy()
                if self._kinds[i] == "float" and (nan := np.isnan(numbers)).any():
                    numbers, nulls = np.where(nan, 0.0, numbers), nan if nulls is None else nan | nulls
                rows[f"f{i}"] = numbers
            if nulls is not None:
                rows["nulls"][:, i >> 3] |= nulls.astype(np.uint8) << (i & 7)
        data, size = rows.tobytes(), rows.itemsize
        stored = [data[at : at + size] for at in range(0, len(data), size)]
        if not self._texts:
            return stored
        return [head + _texts(tail) for head, tail in zip(stored, zip(*(values[i].to_list() for i in self._texts), strict=True), strict=True)]

    def _values(self, found: pl.DataFrame) -> list[pl.Series]:
        """The features' values, a column each."""
        made = {i: found[name] for i, name in self._plain.items()}
        if self._computed:
            columns = [found[name].to_list() for name in self._needed]
            rows = zip(*columns, strict=True) if columns else [()] * found.height
            results = [self._compute(dict(zip(self._needed, row, strict=True))) for row in rows]
            for place, i in enumerate(self._computed):
                made[i] = pl.Series([result[place] for result in results], dtype=DTYPES[self._kinds[i]])
        return [made[i] for i in range(len(self._kinds))]


_NUMPY = {"d": "<f8", "q": "<i8", "?": "?"}
