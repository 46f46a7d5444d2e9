"""Throw-away environments for peers: made once in the user's cache folder, versions pinned beside this file."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from doseloop.pkpd.objects import cache_folder

HERE = Path(__file__).parent
PIN = re.compile(r"[A-Za-z0-9][\w.\-]*(\[[\w,]+\])?==[\w.]+")


def pins(peer: str) -> list[str]:
    """What the peer's environment holds, package==version.

    Raises:
        ValueError: listing every line that is not an exact version (hosts and options do not belong here).
    """
    text = (HERE / f"{peer}.txt").read_text(encoding="utf-8")
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    bad = [line for line in lines if not PIN.fullmatch(line)]
    if bad or not lines:
        raise ValueError(f"{peer}.txt: a line is package==version, not {', '.join(map(repr, bad)) or 'nothing'}")
    return lines


def python_with(peer: str) -> Path | None:
    """The interpreter of the peer's environment, made if need be; None (said in words) where it cannot be made."""
    wanted = "\n".join(pins(peer))
    folder = cache_folder() / "peers" / peer
    python = folder / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    stamp = folder / "pins.txt"
    if stamp.exists() and stamp.read_text(encoding="utf-8").strip() == wanted:
        return python
    print(f"making the environment of {peer}, once: {', '.join(pins(peer))}", file=sys.stderr, flush=True)
    try:
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True, capture_output=True, text=True)
        command = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check", *pins(peer)]
        subprocess.run(command, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        said = getattr(error, "stderr", "") or str(error)
        print(f"{peer} is left out, its environment could not be made: {said[-300:]}", file=sys.stderr, flush=True)
        return None
    stamp.write_text(wanted + "\n", encoding="utf-8")
    return python
