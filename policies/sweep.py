"""Many independent tasks, here or on a cluster: one function over a list, the same bits wherever it runs.

::

    for result in sweep(work, tasks, backend="dask", workers=2): …     # in the order of the tasks

Everything random in a task comes from the task itself (its seeds), and nothing from who runs it, so a task that is run
anew elsewhere, because its worker was lost, gives the same bits. joblib's parallel interface carries them.

| backend | where | needs |
|---|---|---|
| serial | this process, one after another | nothing |
| loky | processes of this machine | joblib, in `pip install "doseloop[cluster]"` |
| dask | a Dask cluster: ``address``, or one of ``workers`` processes that is started here | the same extra |
| ray | a Ray cluster: ``address``, or one that is started here | `pip install "ray[default]"` |
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from ..pkpd.errors import DoseloopError

__all__ = ["BACKENDS", "faults", "sweep"]

BACKENDS = ("serial", "loky", "dask", "ray")

Task = TypeVar("Task")
Answer = TypeVar("Answer")


def sweep(
    work: Callable[[Task], Answer],
    tasks: Sequence[Task],
    *,
    backend: str = "serial",
    workers: int = 1,
    address: str | None = None,
) -> Iterator[Answer]:
    """The answers to all tasks, in their order, each as soon as it and those before it are there.

    Args:
        work: an importable function of one task; a task that raises ends the sweep with its error.
        tasks: what can be pickled.
        backend: see the module.
        workers: processes (loky, or a cluster that is started here).
        address: of a running cluster's scheduler.

    Raises:
        DoseloopError: no such backend, a number of workers below 1, or a package that is not installed.
    """
    bad = faults(backend, workers, address)
    if bad:
        raise DoseloopError(bad)
    return _serial(work, tasks) if backend == "serial" else _parallel(work, tasks, backend, workers, address)


def faults(backend: str, workers: int, address: str | None) -> list[str]:
    """What is wrong with where a sweep is to run, in the words of a command's options."""
    bad = [] if backend in BACKENDS else [f"--backend {backend}: there are {', '.join(BACKENDS)}"]
    bad += [] if workers >= 1 else [f"--workers {workers}: 1 or more"]
    if address is not None and backend not in ("dask", "ray"):
        bad.append(f"--cluster {address}: with --backend dask or ray only")
    return bad


def _serial(work: Callable[[Task], Answer], tasks: Sequence[Task]) -> Iterator[Answer]:
    for task in tasks:
        yield work(task)


def _parallel(
    work: Callable[[Task], Answer], tasks: Sequence[Task], backend: str, workers: int, address: str | None
) -> Iterator[Answer]:
    try:
        import joblib
    except ImportError as e:
        raise DoseloopError(f'--backend {backend} needs joblib: pip install "doseloop[cluster]"') from e
    with _one_thread(), _cluster(backend, workers, address) as options, joblib.parallel_config(**options):
        # one task at a time to each worker: tasks take seconds to minutes, and a lost worker loses one
        if backend != "ray":
            parallel = joblib.Parallel(return_as="generator", batch_size=1, pre_dispatch="2 * n_jobs")
            yield from parallel(joblib.delayed(work)(task) for task in tasks)
            return
        # Ray's backend of joblib hands back lists only: a few tasks a worker at a time, so that answers come on the way
        parallel = joblib.Parallel(batch_size=1)
        some = 4 * joblib.effective_n_jobs(-1)
        for k in range(0, len(tasks), some):
            yield from parallel(joblib.delayed(work)(task) for task in tasks[k : k + some])


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Workers that are started meanwhile use one thread each: they are as many as there are cores."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
    before = {k: os.environ.get(k) for k in names}
    os.environ.update(dict.fromkeys(names, "1"))
    try:
        yield
    finally:
        for k, v in before.items():
            os.environ.pop(k) if v is None else os.environ.__setitem__(k, v)


@contextlib.contextmanager
def _cluster(backend: str, workers: int, address: str | None) -> Iterator[dict[str, Any]]:
    """What joblib is to be configured with, while the cluster is there."""
    if backend == "loky":
        yield {"backend": "loky", "n_jobs": workers}
        return
    try:
        if backend == "dask":
            import dask
            from dask.distributed import Client, LocalCluster
        else:
            import ray
            from ray.util.joblib import register_ray
    except ImportError as e:
        what = '"doseloop[cluster]"' if backend == "dask" else '"ray[default]"'
        raise DoseloopError(f"--backend {backend} is not installed: pip install {what}") from e
    if backend == "ray":
        own = {} if address else {"num_cpus": workers, "include_dashboard": False}
        ray.init(address=address, ignore_reinit_error=True, **own)
        register_ray()
        try:
            yield {"backend": "ray", "n_jobs": -1}
        finally:
            ray.shutdown()
        return
    with contextlib.ExitStack() as stack:
        if address is None:
            # Dask's workers give freed memory back at once (MALLOC_TRIM_THRESHOLD_) and work in a thread with a heap of
            # its own, which does too; our blocks ask for it anew all the time. As a plain process has it, it is kept.
            plain = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MALLOC_ARENA_MAX"), 1)
            stack.enter_context(dask.config.set({"distributed.nanny.pre-spawn-environ": plain}))
            cluster = LocalCluster(n_workers=workers, threads_per_worker=1, processes=True, dashboard_address=None)
            stack.enter_context(cluster)
            address = cluster.scheduler_address
        stack.enter_context(Client(address, set_as_default=True))
        yield {"backend": "dask", "n_jobs": -1}
