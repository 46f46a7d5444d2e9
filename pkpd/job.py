"""The slots of a job: the table of sizes and addresses that the event loop reads.

A job is one int64 array; ``JOB[name]`` is the slot of a field. Everything the loop touches stands here, so that a loop
is called with one address and two block numbers.
"""

from __future__ import annotations

__all__ = ["FIELDS"]

# sizes and kernels
(
    METHOD,
    N,  # rows of the state, integrals included
    N_MODEL,  # rows of the model's own states
    M,  # rows of the parameters
    NU,  # inputs, then one rate for each route
    NY,
    K,  # directions
    INPUTS,
    ROUTES,
    ROWS_X,
    ROWS_P,
    ROWS_U,
    ROWS_Y,
    ROWS_PROP,
    QUEUE,  # capacity for doses under way
    PATIENTS,
    K_RHS,
    K_OUTPUTS,
    K_STEP,  # rk4, dopri5, jacobian or propagator
    K_ADVANCE,
    TOLERANCE,  # floats: rtol, largest step
    # schedules, one after another, in time order
    E_START,
    E_TIME,
    E_KIND,
    E_ROUTE,
    E_AMOUNT,
    E_EXTRA,  # duration or rate of an infusion
    E_MODE,
    E_ELAPSED,  # how long ago a dose of a steady-state past was given
    E_INDEX,  # row of the observation, snapshot, segment or table that the event speaks of
    # patients: which schedule, which parameters, where the results go
    P_SCHEDULE,
    P_PARAMETERS,  # (segments, rows_p)
    P_SEGMENT,
    P_X0,
    P_TABLE,  # states to set, (entries, rows_x)
    P_TABLE_BASE,
    P_T0,
    P_Y_BASE,
    P_SNAP_BASE,
    P_Y,
    P_SNAPS,
    P_STATUS,
    # working memory of one thread; a row is LANES wide
    S,  # t and h as the kernels read them
    X,  # two buffers of rows_x rows
    P,
    U,
    OUT,
    FIRST,  # Dormand–Prince's first stage
    PROP,  # slots of rows_prop rows
    PROP_H,
    T,
    TARGET,
    H,
    EV,
    END,
    DONE,
    FRESH,  # something jumped since the last step
    QN,
    SEEN,
    WHO,
    LEFT,  # RK4 steps to the target
    RING,
    ACTIVE,  # infusions under way, by route
    Q_TIME,
    Q_KIND,
    Q_ROUTE,
    Q_AMOUNT,
    Q_STOP,
    Q_DA,  # (queue, K) derivative of the amount or rate
    Q_DT,  # of the event's time
    Q_DS,  # of the stop
    SCRATCH,
    LU,
    PIVOTS,
    STAGES,
    B,
    ATOL,
    ROUTE_TABLE,  # (routes, 5): into, bioavailability, lag, duration, rate
) = range(78)

FIELDS = {name: slot for name, slot in globals().items() if name.isupper() and isinstance(slot, int)}
