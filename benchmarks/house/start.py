"""How long the command line takes to start, how much memory that needs, and how many modules it imports.

    python benchmarks/house/start.py

Each program runs six times in a fresh interpreter on a home without records; the first run writes the byte code into a
temporary folder and is not counted. Wall time and processor time are medians of five (the latter is nearer to what an idle
core takes when others share it), memory is the largest of the five.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PROGRAMS = {
    "import rota": "import rota",
    "rota --version": "--version",
    "rota --help": "--help",
    "rota models list": "models list",
    "rota runs list": "runs list",
    "rota sources list": "sources list",
}
COMMAND = """
import sys
from rota.cli.app import main
sys.argv = ["rota", *{words!r}]
try:
    main()
except SystemExit as ended:
    assert not ended.code, ended.code
"""
COUNT = "\nprint(len(sys.modules), file=sys.stderr)"


def measure(program: str, folder: str) -> tuple[float, float, float, int]:
    """Median wall seconds, median processor seconds, peak resident megabytes, number of modules."""
    code = "import sys\n" + (program if program.startswith("import") else COMMAND.format(words=program.split())) + COUNT
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment |= {"PYTHONPYCACHEPREFIX": f"{folder}/bytecode", "ROTA_HOME": f"{folder}/home"}
    walls, processors, modules, peak_kb = [], [], 0, 0
    for turn in range(6):
        started = time.perf_counter()
        process = subprocess.Popen([sys.executable, "-c", code], env=environment, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        assert process.stderr is not None
        output = process.stderr.read()
        _, status, used = os.wait4(process.pid, 0)
        wall = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        process.stderr.close()
        assert process.returncode == 0, output.decode()
        if turn:
            walls.append(wall)
            processors.append(used.ru_utime + used.ru_stime)
            peak_kb = max(peak_kb, used.ru_maxrss)
            modules = int(output.split()[-1])
    return statistics.median(walls), statistics.median(processors), peak_kb / 1_024, modules


def main() -> None:
    print(f"{'program':20} {'wall s':>8} {'cpu s':>8} {'peak MB':>8} {'modules':>8}   (load {os.getloadavg()[0]:.1f})")
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "home").mkdir(mode=0o700)
        for name, program in PROGRAMS.items():
            wall, processor, peak_mb, modules = measure(program, folder)
            print(f"{name:20} {wall:8.3f} {processor:8.3f} {peak_mb:8.1f} {modules:8d}", flush=True)


if __name__ == "__main__":
    main()
