"""`doseloop evaluate`: policies against one another on held-out patients; Markdown, PNG, JSON."""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from pathlib import Path
from typing import Any

from ...pkpd.errors import DoseloopError
from ...pkpd.typed import Problems, writable
from ..sweep import BACKENDS
from .arms import ARMS, ENVS, arm
from .contestants import Contestant, contestants
from .match import BLOCK, match
from .picture import plot
from .report import report
from .saved import Saved, made

__all__ = ["evaluate", "played"]

DEFAULT = {
    "glucose": "usual,mpc",
    "propofol": "usual,pid,mpc",
    "vancomycin": "usual,nomogram,mpc",
    "phenobarbital": "usual,mpc",
}


def evaluate(args: argparse.Namespace) -> int:
    """Run the command; the arguments are those of ``doseloop evaluate --help``."""
    problems, out = Problems(), Path()
    env, who = ENVS[args.therapy], [p.strip() for p in (args.policies or DEFAULT[args.therapy]).split(",") if p.strip()]
    where = [a.name for a in ARMS[env][:3] if a.name != "unguarded"] if args.arms == "all" else args.arms.split(",")
    with problems.collect():
        contestants(env, who)
    for name in where:
        with problems.collect():
            arm(env, name)
    if args.patients < 2 or args.seed < 0 or args.workers < 1:
        problems.found.append(
            f"--patients {args.patients} --seed {args.seed} --workers {args.workers}: 2 or more, 0 or more, 1 or more"
        )
    if args.backend not in BACKENDS:
        problems.found.append(f"--backend {args.backend}: there are {', '.join(BACKENDS)}")
    with problems.collect():
        out = writable(args.out)
    problems.done()
    stem = out / f"evaluate-{args.therapy}"
    kept = stem.with_suffix(".json")
    saved = (
        resumed(kept, env, args.patients, args.seed)
        if args.resume
        else Saved(env, args.patients, args.seed, 2 * args.patients)
    )
    saved = played(saved, who, where, kept, backend=args.backend, workers=args.workers, cluster=args.cluster)
    text = report(saved)
    stem.with_suffix(".md").write_text(text + "\n", encoding="utf-8")
    plot(saved, stem.with_suffix(".png"))
    print(text)
    print("written: " + ", ".join(str(stem.with_suffix(e)) for e in (".md", ".png", ".json")))
    return 0


def resumed(path: Path, env: str, patients: int, seed: int) -> Saved:
    """What a file holds, to be gone on with.

    Raises:
        DoseloopError: it is of another match.
    """
    if not path.exists():
        return Saved(env, patients, seed, 2 * patients)
    saved = Saved.read(path)
    if (saved.env, saved.patients, saved.seed) != (env, patients, seed):
        raise DoseloopError(
            f"{path} holds {saved.patients} patients of {saved.env} from seed {saved.seed}; remove it, or leave "
            "--resume out"
        )
    return saved


def played(
    saved: Saved,
    policies: list[str],
    arms: list[str],
    path: Path | None,
    *,
    backend: str = "serial",
    workers: int = 1,
    cluster: str | None = None,
    size: int = BLOCK,
    **overrides: Any,
) -> Saved:
    """Play what is missing, and keep each row as soon as it is known."""
    from tqdm import tqdm

    who = {c.name: c for c in contestants(saved.env, policies)}
    known = {k: r for k, r in saved.rows.items() if k[0] in who and k[1] in arms}
    for k in [k for k in known if who[k[0]].meta]:  # a network that was trained anew is another
        if saved.about[k].get("network", {}).get("digest") != _digest(who[k[0]]):
            del known[k]
    now = made()
    with tqdm(total=1, unit="episode", file=sys.stderr, disable=None, leave=False, mininterval=0.2) as bar:

        def progress(done: int, of: int, what: str) -> None:
            bar.total = of
            bar.set_postfix_str(what, refresh=False)
            bar.update(done - bar.n)

        for result in match(
            saved.env, policies, arms, saved.patients, saved.seed,
            size=size, backend=backend, workers=workers, cluster=cluster, done=known, progress=progress,
            overrides=overrides,
        ):  # fmt: skip
            if (result.policy, result.arm) in known:
                continue
            saved.add(result, label=who[result.policy].label, made=now, **_training(who[result.policy]))
            if path is not None:
                saved.write(path)
    order = {(p, a): k for k, (a, p) in enumerate((a, p) for a in arms for p in who)}
    saved.rows = dict(sorted(saved.rows.items(), key=lambda kv: order.get(kv[0], len(order))))
    return saved


def _training(who: Contestant) -> dict[str, Any]:
    """What a network's file says of how it came about."""
    if not who.meta:
        return {}
    told = {k: who.meta[k] for k in ("name", "algorithm", "seed", "git") if k in who.meta} | {"digest": _digest(who)}
    spent = [float(point["cpu_seconds"]) for point in who.meta.get("curve", []) if "cpu_seconds" in point]
    return {"network": told} | ({"training_hours": max(spent) / 3600.0} if spent else {})


def _digest(who: Contestant) -> str:
    """Of what a network's file says of itself: another training is another network."""
    text = json.dumps(who.meta, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
