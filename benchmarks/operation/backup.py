"""What a backup costs against a plain copy of the same bytes on the same disk, and what the next one costs.

    python benchmarks/operation/backup.py [--mb 1000]

The home holds model files of 8 MB and small artifacts. `cp -r` and `sync` is the plain copy, which neither checks nor names anything. One run
of each, in this order: the first reads what the page cache may hold already, so look at the ratio of the second pair as well.
"""

import argparse
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from rota import backups, wiring
from rota.settings import Settings


def seconds(act) -> float:
    start = time.perf_counter()
    act()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mb", type=int, default=1_000)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    asked = parser.parse_args()
    folder = Path(tempfile.mkdtemp(dir=asked.folder))
    try:
        with wiring.opened(Settings(home=folder / "home")) as platform:
            blobs = platform.repositories.blobs
            for _ in range(asked.mb // 8):
                blobs.put(os.urandom(8_000_000))
            for _ in range(500):
                blobs.put(os.urandom(2_000))
            os.sync()
            for number in range(2):
                copied = seconds(lambda to=folder / f"copy{number}": subprocess.run(f"cp -r {folder}/home {to} && sync", shell=True, check=True))
                made = seconds(lambda to=folder / f"place{number}": backups.make(platform, str(to)))
                print(f"{asked.mb} MB: cp -r {copied:.1f} s, backup {made:.1f} s, ratio {made / copied:.2f}, {asked.mb / made:.0f} MB/s")
            again = seconds(lambda: backups.make(platform, str(folder / "place1")))
            verified = seconds(lambda: backups.verify(str(folder / "place1")))
            print(f"the next backup {again:.2f} s; verify {verified:.1f} s, {asked.mb / verified:.0f} MB/s")
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
