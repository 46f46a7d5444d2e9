"""Throw-away environments for peers: made once in the user's cache folder, versions pinned beside this file."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from doseloop.pkpd.objects import cache_folder


def python_with(peer: str) -> Path | None:
    """The interpreter of the peer's environment, made if need be; None (said in words) where it cannot be made."""
    pins = Path(__file__).parent / f"{peer}.txt"
    folder = cache_folder() / "peers" / peer
    python = folder / "bin" / "python"
    stamp = folder / "pins.txt"
    if stamp.exists() and stamp.read_text() == pins.read_text():
        return python
    try:
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True, capture_output=True)
        subprocess.run([python, "-m", "pip", "install", "-q", "-r", pins], check=True, capture_output=True, text=True)
    except subprocess.CalledProcessError as error:
        print(f"{peer} is left out, its environment could not be made: {str(error.stderr)[-300:]}")
        return None
    stamp.write_text(pins.read_text())
    return python
