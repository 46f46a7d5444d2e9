"""A cohort of any size under a policy, block by block."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ...pkpd.errors import DoseloopError
from ..sweep import sweep
from .block import Task, block, whole
from .plan import Plan, claim

__all__ = ["run_cohort"]


def run_cohort(
    plan: Plan,
    patients: int,
    folder: Path,
    *,
    resume: bool = False,
    backend: str = "serial",
    workers: int = 1,
    address: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> int:
    """Run what is missing of the first ``patients``; how many were run (the others were there).

    Memory does not grow with the number: each block's numbers are on disk before the next is begun, and a kill costs
    the blocks under way. A cohort may be gone on with by more patients than before.

    Args:
        plan: what is run.
        patients: how many.
        folder: to keep blocks in; on a cluster every worker sees it under this name.
        resume: go on with what is in the folder.
        backend, workers, address: see `policies.sweep`.
        progress: called with patients done, and how many of them were there before.

    Raises:
        DoseloopError: the folder holds another run, nobody to run, or a backend that cannot be.
    """
    if patients < 1:
        raise DoseloopError(f"a cohort of {patients} patients: 1 or more")
    folder.mkdir(parents=True, exist_ok=True)
    claim(plan, folder, resume)
    for left in folder.glob("block-*.npz.*.part"):  # of a run that was killed
        left.unlink()
    tasks = [Task(plan, k, first, n, str(folder.resolve())) for k, first, n in plan.blocks(patients)]
    missing = [t for t in tasks if not whole(t)]
    there = patients - sum(t.n for t in missing)
    done = there
    if progress is not None:
        progress(done, there)
    for n in sweep(block, missing, backend=backend, workers=workers, address=address):
        done += n
        if progress is not None:
            progress(done, there)
    return patients - there
