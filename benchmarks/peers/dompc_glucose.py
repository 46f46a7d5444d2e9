"""do-mpc on a replayed glucose loop: reads in.npz and the model's traced equations, writes moves and seconds.

Run by `benchmarks/mpc.py` in an environment of its own. The equations are doseloop's trace of the same model (saved by
CasADi), smoothed for IPOPT; discretisation (Radau collocation of degree 2, do-mpc's default), warm start and solver
settings are do-mpc's own.
"""

import json
import sys
import time
import warnings
from pathlib import Path

warnings.simplefilter("ignore")
import casadi as ca  # noqa: E402
import do_mpc  # noqa: E402
import numpy as np  # noqa: E402

folder = Path(sys.argv[1])
data = dict(np.load(folder / "in.npz"))
rhs, outputs = ca.Function.load(str(folder / "rhs.casadi")), ca.Function.load(str(folder / "outputs.casadi"))
what = json.loads((folder / "problem.json").read_text())
N, n, size = what["stages"], data["x0"].shape[1], np.maximum(np.abs(data["x0"]).max(axis=0), 1e-6)

model = do_mpc.model.Model("continuous")
x = model.set_variable("_x", "x", (n, 1))
u = model.set_variable("_u", "u")
held = model.set_variable("_tvp", "held", (data["held"].shape[2], 1))
signal = ca.vertcat(*(u if i == what["column"] else held[i] for i in range(data["held"].shape[2])))
p = ca.DM(data["p"])
model.set_rhs("x", rhs(0, x, p, signal))
model.setup()

mpc = do_mpc.controller.MPC(model)
quiet = {"ipopt.print_level": 0, "ipopt.sb": "yes", "print_time": 0}
mpc.set_param(n_horizon=N, t_step=what["interval"], store_full_solution=False, nlpsol_opts=quiet)
y = outputs(0, model.x["x"], p)[what["output"]]
goal = what["weight"] * (y - what["target"]) ** 2
goal += what["low_weight"] * ca.fmax(0, what["low"] - y) ** 2 + what["high_weight"] * ca.fmax(0, y - what["high"]) ** 2
scale = what["scale"]
mpc.set_objective(mterm=goal, lterm=goal + what["move_weight"] * ((model.u["u"] - what["reference"]) / scale) ** 2)
mpc.set_rterm(u=what["change_weight"])  # do-mpc weighs changes of the scaled moves
mpc.bounds["lower", "_u", "u"], mpc.bounds["upper", "_u", "u"] = what["lower"], what["upper"]
mpc.scaling["_x", "x"], mpc.scaling["_u", "u"] = size, scale
template, now = mpc.get_tvp_template(), [0]


def ahead(_: float) -> object:
    """Known inputs over the horizon at the current snapshot."""
    for k in range(N + 1):
        template["_tvp", k, "held"] = data["held"][now[0], min(k, N - 1)]
    return template


mpc.set_tvp_fun(ahead)
mpc.setup()
moves, seconds, success = [], [], []
for k in range(len(data["x0"])):
    now[0] = k
    mpc.u0 = data["last"][k]
    if k == 0:
        mpc.x0 = data["x0"][0]
        mpc.set_initial_guess()
    begin = time.perf_counter()
    mpc.make_step(data["x0"][k][:, None])
    seconds.append(time.perf_counter() - begin)
    success.append(bool(mpc.solver_stats["success"]))
    moves.append([float(mpc.opt_x_num["_u", j, 0]) * scale for j in range(N)])
    mpc.u0 = data["last"][k]
np.savez(folder / "out.npz", moves=np.array(moves), seconds=np.array(seconds), success=np.array(success))
