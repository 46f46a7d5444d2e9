"""The real-time solver's memory: one int64 table of sizes and addresses for a thread, and arrays seen through it.

Compiled functions take the table's address J. `vec`, `mat` and `cube` view memory as arrays without owning it: passing
sixty arrays by value cost minutes of compilation and most of a short solve (compare `pkpd.calls`).
`controller.realtime` checks sizes before a solve and holds every array until it ends.
"""

from __future__ import annotations

from typing import Any

from numba import types
from numba.extending import intrinsic
from numba.np.arrayobj import make_array, populate_array

from ..pkpd.calls import geti
from ..pkpd.jit import jit

(
    # compiled functions called by address, so that LLVM does not inline them again and again (a minute of compilation)
    DO_LOAD,
    DO_START,
    DO_COSTS,
    DO_LINEARISE,
    DO_JACOBIANS,
    DO_SENSITIVITIES,
    DO_DRAW_ROWS,
    DO_STEP,
    DO_ENFORCE,
    DO_WRITE,
    # what they hand back: a number or status; the current course (which half of Z, which lane)
    ANSWER,
    WHICH,
    LANE,
    # kernels, and the system's monotonic clock with its number
    MAP,
    JACOBIAN,
    CARRY,
    PROPAGATOR,
    CLOCK,
    CLOCK_ID,
    # sizes
    STATES,
    PARAMETERS,
    INPUTS,  # inputs, then routes
    WATCHED,
    MOVES,
    RELEVANT,  # states that sensitivities are carried for
    ENTRIES,  # of A, B and C
    ROWS_K,
    STAGES,
    BLOCKS,
    DRAWS,
    LANE_BLOCKS,  # of draws
    GOALS,
    ITEMS,  # path limits, then chances
    CHANCES,
    LIMITED,  # some move has a largest change
    WARM,  # there are last plans
    WARM_DUALS,
    # the problem's tables
    REALS,  # floats: see below
    COLUMNS,  # (moves,) where they stand in u
    BLOCK_OF,  # (stages,)
    FIRST_OF,  # (blocks + 1,) first stage of each
    GOAL_ROW,  # (goals,) which watched output
    GOAL,  # (goals, 6) weight, low, low weight, high, high weight, terminal
    MOVE,  # (moves, 3) weight, weight of change, largest change
    ITEM_ROW,  # (items,) which watched output
    ITEM,  # (items, 4) low, high, first weight of the penalty, tolerance
    WINDOW,  # (items, 2) first stage and one past the last
    CHANCE,  # (items,) which chance, −1 for a limit
    ALPHA,  # (chances,)
    # working memory; W lanes, nc = blocks · moves decisions, ld = nc rounded up to lanes
    S,  # (2, W) t and h
    P,  # (lane blocks, parameters, W)
    K,  # (lane blocks, rows_k, W)
    P1,  # (parameters, W) one draw in all lanes
    K1,  # (rows_k, W)
    X1,  # (states, W) eight stages
    U1,  # (inputs, W)
    U,  # (stages, inputs, W)
    Z,  # (2, lane blocks, stages + 1, states + watched, W) the current course and a trial
    JAC,  # (⌈stages/W⌉, entries, W)
    SENS,  # (2, ld/W, relevant + max(moves, watched), W)
    Y,  # (stages · watched, ld) sensitivities of the watched outputs of one draw
    ROWS,  # (stages · watched, 2) slope and curvature of the merit there
    USED,  # (stages · watched,) columns that can differ from 0
    H,  # (ld, ld)
    G,  # (ld,)
    V,  # (W, nc) candidates of the moves, scaled
    NOW,  # (nc,) the current moves
    LOW,
    HIGH,
    LB,
    UB,
    D,  # (nc,) the step
    BEST,
    REF,  # (moves,) scaled
    LAST,
    SCALE,
    RATE,
    L,  # (ld, ld)
    QY,
    SLOPE,
    TRIAL,
    INDEX,  # (3 nc,)
    ACC,  # (3, W) cost, penalty, violation by lane
    MERIT,  # (W,)
    DUALS,  # (draws, stages, items)
    RHO,  # (items,)
    ON,  # (items, draws) whether an item is enforced on a draw
    MARGIN,  # (draws,)
    ORDER,  # (draws,)
    TICKS,  # (2,) seconds and nanoseconds
) = range(90)

# numbers in REALS
SUBSTEP, INTERVAL, SHIFT, TIME, COST, VIOLATION, DAMPING, EXPECTED, DOWNHILL, AT_MERIT, AT_COST, AT_MISS = range(12)
NUMBERS = 12

# What differs from patient to patient: address of the first, step in numbers (0: one serves all), this one's address.
BATCH = (
    "states", "parameters", "offset", "weights", "held", "last", "low", "high", "reference", "scale", "target", "time",
    "warm", "warm_duals", "fault", "moves", "outputs", "numbers", "probability", "duals", "ends",
)  # fmt: skip
FIRST_BATCH = 90
STEP, THIS = FIRST_BATCH + len(BATCH), FIRST_BATCH + 2 * len(BATCH)
(
    B_STATES,  # (draws, states)
    B_PARAMETERS,  # (draws, parameters)
    B_OFFSET,  # (draws, watched)
    B_WEIGHTS,  # (draws,), sum 1
    B_HELD,  # (stages, inputs)
    B_LAST,  # (moves,)
    B_LOW,  # (stages, moves)
    B_HIGH,
    B_REFERENCE,  # (moves,)
    B_SCALE,
    B_TARGET,  # (stages, goals)
    B_TIME,  # (1,)
    B_WARM,  # (stages, moves)
    B_WARM_DUALS,  # (draws, stages, items)
    B_FAULT,  # (1,)
    B_MOVES,  # (stages, moves)
    B_OUTPUTS,  # (draws, stages, watched)
    B_NUMBERS,  # (4,) cost, residual, violation, seconds
    B_PROBABILITY,  # (chances,)
    B_DUALS,  # (draws, stages, items)
    B_ENDS,  # (2,) status, iterations
) = range(THIS, THIS + len(BATCH))
SIZE = THIS + len(BATCH)

SLOTS = {name: value for name, value in list(globals().items()) if name.isupper() and isinstance(value, int)}


def _viewer(ndim: int, dtype: Any) -> Any:
    kind = types.Array(dtype, ndim, "C")

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        array = make_array(kind)(context, builder)
        size = context.get_constant(types.intp, 8)
        strides: list[Any] = []
        step = size
        for length in reversed(args[1:]):
            strides.insert(0, step)
            step = builder.mul(step, length)
        pointer = context.get_data_type(dtype).as_pointer()
        data = builder.inttoptr(args[0], pointer)
        populate_array(array, data=data, shape=list(args[1:]), strides=strides, itemsize=size, meminfo=None)
        return array._getvalue()

    signature = kind(*[types.int64] * (ndim + 1))

    def view1(typingctx: Any, address: Any, a: Any) -> Any:
        return signature, codegen

    def view2(typingctx: Any, address: Any, a: Any, b: Any) -> Any:
        return signature, codegen

    def view3(typingctx: Any, address: Any, a: Any, b: Any, c: Any) -> Any:
        return signature, codegen

    return intrinsic((view1, view2, view3)[ndim - 1])


floats1, floats2, floats3 = (_viewer(ndim, types.float64) for ndim in (1, 2, 3))
ints1, ints2 = _viewer(1, types.int64), _viewer(2, types.int64)


@jit
def vec(J, slot, a):
    """Float64 vector of a slot."""
    return floats1(geti(J, slot), a)


@jit
def mat(J, slot, a, b):
    """Float64 matrix of a slot."""
    return floats2(geti(J, slot), a, b)


@jit
def cube(J, slot, a, b, c):
    """Float64 array of three dimensions of a slot."""
    return floats3(geti(J, slot), a, b, c)


@jit
def ivec(J, slot, a):
    """Int64 vector of a slot."""
    return ints1(geti(J, slot), a)


@jit
def imat(J, slot, a, b):
    """Int64 matrix of a slot."""
    return ints2(geti(J, slot), a, b)
