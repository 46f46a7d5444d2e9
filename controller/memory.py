"""What the real-time solver's compiled loops read and write: a problem's tables, a batch, a thread's working memory."""

from __future__ import annotations

from typing import Any, NamedTuple

__all__ = ["Batch", "Fixed", "Work"]


class Fixed(NamedTuple):
    """What a problem fixes: addresses, sizes, tables."""

    map: int
    jacobian: int
    carry: int
    propagator: int
    clock: int
    clock_id: int
    n: int  # states
    m: int  # parameters
    nu: int  # inputs, then routes
    ny: int  # watched outputs
    nd: int  # moves
    nr: int  # states that sensitivities are carried for
    entries: int
    rows_k: int
    N: int  # stages
    nb: int  # blocks
    D: int  # draws
    DB: int  # blocks of lanes that hold the draws
    h: float
    interval: float
    shift: float  # of the last plan, in stages
    limited: bool  # some move has a largest change
    columns: Any  # (nd,) where the moves stand in u
    block_of: Any  # (N,)
    first_of: Any  # (nb + 1,) first stage of each block
    goal_row: Any  # (G,) which watched output
    goals: Any  # (G, 6) weight, low, low weight, high, high weight, terminal
    moves: Any  # (nd, 3) weight, weight of change, largest change
    item_row: Any  # (I,) path limits, then chances: which watched output
    items: Any  # (I, 3) low, high, first rho
    window: Any  # (I, 2) first stage and one past the last
    chance: Any  # (I,) which chance, −1 for a limit
    alpha: Any  # (C,)


class Batch(NamedTuple):
    """n patients; leading dimensions of 1 serve all."""

    states: Any  # (n, D, states)
    parameters: Any  # (n, D, m)
    offset: Any  # (n|1, D, ny)
    weights: Any  # (n|1, D), each row sums to 1
    held: Any  # (n|1, N, nu)
    last: Any  # (n, nd)
    low: Any  # (n|1, N, nd)
    high: Any  # (n|1, N, nd)
    reference: Any  # (n|1, nd)
    scale: Any  # (n|1, nd)
    target: Any  # (n|1, N, G)
    time: Any  # (n|1,)
    warm: Any  # (n|0, N, nd)
    warm_duals: Any  # (n|0, D, N, I)
    fault: Any  # (n,)


class Work(NamedTuple):
    """Working memory of one thread."""

    s: Any  # (2, W)
    p: Any  # (DB, m, W)
    k: Any  # (DB, rows_k, W)
    p1: Any  # (m, W) one draw in all lanes
    k1: Any  # (rows_k, W)
    x1: Any  # (n, W) eight stages
    u1: Any  # (nu, W)
    U: Any  # (N, nu, W)
    Z: Any  # (2, DB, N + 1, n + ny, W) two courses: the current one and a trial
    K: Any  # (⌈N/W⌉, entries, W)
    S: Any  # (2, columns/W, nr + max(nd, ny), W)
    Y: Any  # (N ny, ld) sensitivities of the watched outputs of one draw
    rows: Any  # (N ny, 2) gradient and curvature there
    used: Any  # (N ny,) columns that can differ from 0
    H: Any  # (ld, ld)
    g: Any  # (ld,)
    V: Any  # (W, nc) candidates of the moves, scaled, block by block
    v: Any  # (nc,) the current moves
    low: Any  # (nc,)
    high: Any  # (nc,)
    lb: Any  # (nc,)
    ub: Any  # (nc,)
    d: Any  # (nc,)
    best: Any  # (nc,)
    ref: Any  # (nd,) scaled
    last: Any  # (nd,) scaled
    scale: Any  # (nd,)
    rate: Any  # (nd,) scaled
    lam: Any  # (nc,)
    H2: Any  # (ld, ld)
    g2: Any  # (nc,)
    L: Any  # (ld, ld)
    y: Any  # (nc,)
    slope: Any  # (nc,)
    trial: Any  # (nc,)
    index: Any  # (2 nc,)
    acc: Any  # (3, W) cost, penalty, violation by lane
    merit: Any  # (W,)
    duals: Any  # (D, N, I)
    rho: Any  # (I,)
    on: Any  # (I, D) whether an item is enforced on a draw
    margin: Any  # (D,)
    order: Any  # (D,)
    now: Any  # (2,) int64: seconds and nanoseconds
