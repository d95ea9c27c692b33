"""Upkeep of tables: what no version needs that may still be read leaves the disk, and damage is found before somebody needs the rows."""

from collections.abc import Callable
from dataclasses import dataclass

from rota.errors import Corrupt, NotFound, is_engine_panic
from rota.manage.repositories import Repositories
from rota.manage.retention import table_pins
from rota.records.condition import Condition
from rota.records.time import Micros


@dataclass(frozen=True, slots=True)
class TableUpkeep:
    """What one round over all tables did: bytes that were freed, by table, and the tables that could not be kept."""

    freed: dict[str, int]
    conditions: tuple[Condition, ...]


def keep(repositories: Repositories, grace_us: Micros, *, wall_us: Micros, progress: Callable[[str], None] = lambda _: None) -> TableUpkeep:
    """Vacuum every table, and look whether its newest version can be read; one that fails keeps no other from it.

    `grace_us` is how long a version stays readable that was the newest, for those who read it now; `wall_us` is the machine's time.
    """
    tables, pins = repositories.tables, table_pins.pinned(repositories)
    since_us = table_pins.readable_since(repositories, grace_us, wall_us=wall_us)
    freed, conditions = dict[str, int](), list[Condition]()
    for name in tables.tables():
        progress(f"vacuuming table {name}")
        try:
            if count := tables.vacuum(name, keep=pins.get(name, ()), before_us=since_us):
                freed[name] = count
            tables.scan(name)
        except NotFound:  # dropped meanwhile
            continue
        except Corrupt as error:
            conditions.append(Condition(f"table:{name}", "failed", str(error), {"table": name}))
        except BaseException as error:
            if not isinstance(error, Exception) and not is_engine_panic(error):
                raise
            conditions.append(Condition(f"table:{name}", "degraded", f"housekeeping of table {name}: {error}", {"table": name}))
    return TableUpkeep(freed, tuple(conditions))
