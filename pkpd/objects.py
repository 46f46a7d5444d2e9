"""Compiled kernels: IR text to machine code, the cache on disk, and the raw addresses.

This is the one module that owns addresses. What an address points to stays alive as long as the process. A cached
object file is named by the hash of its own IR text, the processor and LLVM's version, so that an edited equation can
never be served from an old kernel.
"""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
import threading
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

__all__ = ["Listener", "address", "cache_folder", "disclosed", "listen", "processor", "wide"]

Listener = Callable[[str, bool, float], None]
_listeners: list[Listener] = []
_engine: Any = None
_loaded: dict[str, int] = {}
_lock = threading.Lock()


def listen(listener: Listener) -> Callable[[], None]:
    """Call ``listener(name, from_cache, seconds)`` for each kernel made ready; returns the function that stops it."""
    _listeners.append(listener)
    return lambda: _listeners.remove(listener)


def cache_folder() -> Path:
    """The folder of compiled objects: ``$DOSELOOP_CACHE``, else the user's cache folder."""
    if os.environ.get("DOSELOOP_CACHE"):
        return Path(os.environ["DOSELOOP_CACHE"])
    if sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    elif sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local"))
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "doseloop"


@lru_cache(maxsize=1)
def _machine() -> tuple[Any, str]:
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    target = llvm.Target.from_default_triple()
    cpu, features = llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten()
    machine = target.create_target_machine(cpu=cpu, features=features, opt=3, jit=True)
    version = ".".join(map(str, llvm.llvm_version_info))
    return machine, f"{target.triple}|{cpu}|{features}|LLVM {version}"


def processor() -> str:
    """Target, processor, its features and LLVM's version: same text, same bits."""
    return _machine()[1]


def wide() -> bool:
    """Whether eight doubles fill one register, of which there are 32 (AVX-512); else four do at most, of 16."""
    return "+avx512f" in processor()


def _optimised(ir: str) -> Any:
    import llvmlite.binding as llvm

    machine, _ = _machine()
    module = llvm.parse_assembly(ir)
    module.verify()
    options = llvm.create_pipeline_tuning_options(speed_level=3)
    options.slp_vectorization = False  # already vectors; SLP only costs compile time here
    options.loop_vectorization = False
    builder = llvm.create_pass_builder(machine, options)
    builder.getModulePassManager().run(module, builder)
    return module


def _compile(ir: str) -> bytes:
    return bytes(_machine()[0].emit_object(_optimised(ir)))


def disclosed(ir: str) -> tuple[str, str]:
    """What `address` makes of a kernel's IR text: LLVM's optimised text and the assembly, for counting and reading."""
    module = _optimised(ir.replace("@KERNEL", "@kernel"))
    return str(module), _machine()[0].emit_assembly(module)


def _store(path: Path, data: bytes) -> None:
    """Write whole or not at all; a cache that cannot be written costs time, not correctness."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent)
        with os.fdopen(handle, "wb") as f:
            f.write(data)
        os.replace(name, path)
    except OSError:
        return


def _seal(data: bytes) -> bytes:
    return hashlib.sha256(data).digest() + data


def _fetch(path: Path) -> bytes | None:
    """The cached object, or None where it is absent or damaged (it is then compiled again)."""
    try:
        raw = path.read_bytes()
    except OSError:
        return None
    digest, data = raw[:32], raw[32:]
    return data if hashlib.sha256(data).digest() == digest else None


def address(name: str, ir: str, symbol: str) -> int:
    """The entry address of function ``symbol`` of IR text ``ir`` (which names it by the placeholder ``@KERNEL``)."""
    import time

    import llvmlite.binding as llvm

    global _engine
    key = hashlib.sha256(f"{processor()}\n{symbol}\n{ir}".encode()).hexdigest()
    with _lock:
        if key in _loaded:
            return _loaded[key]
        start = time.perf_counter()
        entry = f"{symbol}_{key[:24]}"
        path = cache_folder() / "kernels" / f"{key}.o"
        data = _fetch(path)
        cached = data is not None
        if data is None:
            data = _compile(ir.replace("@KERNEL", f"@{entry}"))
            _store(path, _seal(data))
        if _engine is None:
            _engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), _machine()[0])
        _engine.add_object_file(llvm.ObjectFileRef.from_data(data))
        _engine.finalize_object()
        where = _engine.get_function_address(entry)
        if not where:
            raise RuntimeError(f"kernel {name}: the compiled object does not hold {entry}; delete {path} and try again")
        _loaded[key] = where
        elapsed = time.perf_counter() - start
    for listener in list(_listeners):
        listener(name, cached, elapsed)
    return where
