"""One prediction process over a home directory, as `rota up` starts it: run with the home as argument; prints its port."""

import socket
import sys
from pathlib import Path

import uvicorn

from rota.backends.clocks import SystemClock
from rota.backends.models.lightgbm_format import LightGBMFormat
from rota.backends.online.lmdb_online import LmdbOnline
from rota.backends.sql.metadata import SqlMetadata
from rota.backends.storage.blob_directory import BlobDirectory
from rota.backends.storage.segment_journal import SegmentJournal
from rota.manage.features.online.reader import OnlineFeatures
from rota.serve.asgi import PredictionApp
from rota.serve.predicting import PredictionCore
from rota.serve.release_poller import ModelSource, OpenedFeatures, ReleasePoller


def main(home: Path) -> None:
    clock, online = SystemClock(), LmdbOnline(home / "online", size_mb=64)
    core = PredictionCore(SegmentJournal(home / "log"), clock)
    model_source = ModelSource(
        SqlMetadata(home / "metadata.db"),
        BlobDirectory(home / "blobs"),
        {"lightgbm": LightGBMFormat()},
        lambda service: OpenedFeatures(OnlineFeatures(online, service)),
    )
    app = PredictionApp(core, ReleasePoller(core, model_source, clock=clock, process="host-0", poll_s=0.02))
    listener = socket.create_server(("127.0.0.1", 0), backlog=128)
    sys.stdout.write(f"{listener.getsockname()[1]}\n")
    sys.stdout.flush()
    uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False)).run(sockets=[listener])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
