"""Environments of peers: each in a virtual environment of its own, made once and kept, so that its libraries do not meet ours.

python benchmarks/features/peers/environment.py "feast[duckdb]==0.67.0"
"""

import hashlib
import os
import re
import subprocess
import sys
from pathlib import Path


def python_of(requirement: str, *more: str) -> Path:
    """The interpreter of an environment that holds the requirements; made on first use with `uv`, under ROTA_BENCH_PEERS or ~/.cache."""
    root = Path(os.environ.get("ROTA_BENCH_PEERS") or Path.home() / ".cache" / "rota-benchmarks")
    name = f"{re.split(r'[^A-Za-z0-9]', requirement)[0]}-{hashlib.sha256(' '.join([requirement, *more]).encode()).hexdigest()[:8]}"
    home = root / name
    python, done = home / "bin" / "python", home / "complete"
    if not done.exists():
        uv = str(Path(sys.executable).with_name("uv")) if Path(sys.executable).with_name("uv").exists() else "uv"
        subprocess.run([uv, "venv", "--clear", "--python", "3.11", str(home)], check=True)
        subprocess.run([uv, "pip", "install", "--python", str(python), "--compile-bytecode", requirement, *more], check=True)
        done.touch()
    return python


if __name__ == "__main__":
    print(python_of(*sys.argv[1:]))
