"""Tasks here, in processes, on a cluster: the same bits, also when a worker dies in the middle."""

import contextlib
import operator
import os
import signal
import time

import numpy as np
import pytest
from doseloop.pkpd.errors import DoseloopError
from doseloop.policies.evaluation.arms import ENVS
from doseloop.policies.evaluation.match import Task, block, match
from doseloop.policies.sweep import BACKENDS, sweep

VANCOMYCIN = ENVS["vancomycin"]


def double(x):
    return 2 * x


def fails(x):
    raise DoseloopError(f"task {x} cannot be done")


def rows(backend, **how):
    return list(match(VANCOMYCIN, ["random", "usual", "mpc"], ["nominal"], 12, 7, size=5, backend=backend, **how))


def equal(a, b):
    return all(
        np.array_equal(x.returns, y.returns)
        and np.array_equal(x.cost, y.cost)
        and all(np.array_equal(x.scores[k], y.scores[k]) for k in x.scores)
        for x, y in zip(a, b, strict=True)
    )


def test_answers_come_in_order_and_one_by_one():
    asked = []

    def work(x):
        asked.append(x)
        return double(x)

    found = sweep(work, range(5))
    assert next(found) == 0
    assert asked == [0]
    assert list(found) == [2, 4, 6, 8]


def test_what_cannot_be_is_said():
    with pytest.raises(DoseloopError) as e:
        sweep(double, [1], backend="slurm", workers=0, address="tcp://x")
    assert all(k in str(e.value) for k in ("slurm", "serial, loky, dask, ray", "--workers 0", "--cluster tcp://x"))
    with pytest.raises(DoseloopError, match="task 3 cannot be done"):
        list(sweep(fails, [3]))


def test_ray_is_named_where_it_is_not_installed():
    assert "ray" in BACKENDS
    try:
        import ray  # noqa: F401
    except ImportError:
        with pytest.raises(DoseloopError, match="pip install"):
            list(sweep(double, [1], backend="ray"))


def test_ray_gives_the_same_bits():
    """Where it is installed: Ray is in no extra, as it weighs more than all the rest."""
    pytest.importorskip("ray")
    # a function that its workers can import, as this file is no module of theirs
    assert list(sweep(operator.neg, range(20), backend="ray", workers=2)) == [-x for x in range(20)]
    assert equal(rows("serial"), rows("ray", workers=2))


@pytest.mark.slow
def test_processes_give_the_same_bits():
    assert equal(rows("serial"), rows("loky", workers=2))
    with pytest.raises(DoseloopError, match=r"task [12] cannot be done"):
        list(sweep(fails, [1, 2], backend="loky", workers=2))


def deadly(job):
    """A block; the first to come to it finds no note, leaves one, and its process is killed in the middle."""
    task, note = job
    if note is not None:
        with contextlib.suppress(FileExistsError):
            os.close(os.open(note, os.O_CREAT | os.O_EXCL))
            os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(60)
    return block(task)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # Dask's, about the worker it has lost
def test_a_cluster_that_loses_a_worker_gives_the_same_bits(tmp_path):
    from dask.distributed import Client, LocalCluster

    note = tmp_path / "killed"
    tasks = [Task(VANCOMYCIN, p, "nominal", tuple(range(k, k + 5)), 40) for p in ("usual", "mpc") for k in (0, 5, 10)]
    jobs = [(t, str(note) if k == 3 else None) for k, t in enumerate(tasks)]
    with LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster:
        with Client(cluster) as client:
            before = set(client.scheduler_info()["workers"])
        found = list(sweep(deadly, jobs, backend="dask", address=cluster.scheduler_address))
        with Client(cluster) as client:
            after = set(client.scheduler_info()["workers"])
    assert note.exists()
    assert len(before) == 2
    assert before - after, "no worker was lost: the test shows nothing"
    assert equal(found, [block(t) for t in tasks])
