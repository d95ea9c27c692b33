"""File claims: what has to stay on disk because a backup is being copied from it.

Whoever removes blobs, tables or data files asks here after the records that named them are gone, and leaves them where a backup is running:
it began before its moment, and will read what was named then.
"""

from rota.ports.metadata import Metadata
from rota.records.backup import Backup
from rota.records.time import Micros


def running(metadata: Metadata, now_us: Micros) -> list[Backup]:
    """The backups for which files have to stay; `now_us` is the machine's time. One that was killed counts until its claim has run out."""
    return [backup for backup in metadata.find(Backup, {"state": "running"}) if backup.needs_files(now_us)]
