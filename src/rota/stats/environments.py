"""Where a column is expected: in training the label is there, in serving it is not yet known (TFDV's environments)."""

from rota.records.schema import ColumnSchema, Schema


def expected(schema: Schema, column: ColumnSchema, environment: str = "") -> bool:
    """Whether data of an environment must have the column; without an environment every column is expected.

    `in_environment` and `not_in_environment` of the column say so for themselves, else the schema's environments do. A column
    outside its environment may be there all the same, and is then held to its other expectations.
    """
    if not environment or environment in column.in_environment:
        return True
    return environment not in column.not_in_environment and environment in schema.environments
