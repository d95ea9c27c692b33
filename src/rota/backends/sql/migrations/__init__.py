"""How a SQL store of an older Rota becomes today's: Alembic steps, one file in `versions/` for each SCHEMA_VERSION."""
