"""Feast's feature server on SQLite, one worker, without an access log: feast_server.py HOME ENTITIES PORT. Runs in Feast's environment."""

import sys
from pathlib import Path

from feast_repository import repository

home, entities, port = sys.argv[1:]
repository(Path(home), int(entities)).serve("127.0.0.1", int(port), max_requests=0, max_requests_jitter=0)
