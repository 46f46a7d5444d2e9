"""Writes the page of each environment, docs/envs/*.md, from its docstring, its live spaces and the measured scores.

.venv/bin/python docs/pages.py          (or: make pages)
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import gymnasium
from doseloop.envs.randomise import QUANTITIES
from doseloop.envs.registration import IDS
from doseloop.envs.vector import DosingVectorEnv
from doseloop.envs.words import WORDS
from doseloop.policies.evaluation.clinical import SHOWN
from doseloop.policies.evaluation.contestants import LABELS
from doseloop.policies.evaluation.report import cell, table
from doseloop.policies.evaluation.saved import Saved
from doseloop.policies.evaluation.statistics import mean, paired
from doseloop.policies.evaluation.summary import summary
from gymnasium.envs.registration import load_env_creator

DOCS = Path(__file__).resolve().parent
RESULTS = DOCS.parent / "benchmarks" / "results"


def sections(doc: str) -> dict[str, str]:
    """A docstring by its headings; what stands before the first is ``""``."""
    out, name = {"": ""}, ""
    for raw in inspect.cleandoc(doc).splitlines():
        if re.fullmatch(r"[A-Z][A-Za-z ]+:", raw):
            name = raw[:-1]
            out[name] = ""
        else:
            out[name] += raw + "\n"
    return {k: inspect.cleandoc(v) if k else v.strip() for k, v in out.items()}


def arguments(kind: type) -> Iterator[tuple[str, str, str]]:
    """Name, default and meaning of each keyword, in the order of the docstrings: the class's own, then the base's."""
    seen: set[str] = set()
    for cls in (kind, DosingVectorEnv):
        defaults = {k: p.default for k, p in inspect.signature(cls.__init__).parameters.items()}
        for names, text in described(sections(cls.__doc__ or "").get("Args", "")):
            told = [n for n in names if n in defaults and n not in seen and not n.startswith("*")]
            told = [n for n in told if n not in ("features", "levers", "steps", "beside")]  # what subclasses give
            seen |= set(told)
            if told:
                values = ", ".join(f"`{defaults[n]!r}`" if defaults[n] is not inspect._empty else "" for n in told)
                yield ", ".join(f"`{n}`" for n in told), enum(values), text.replace("``", "`")


def enum(text: str) -> str:
    """A default that is a member of an enum, by its value."""
    return re.sub(r"<\w+\.\w+: ('[^']*')>", r"\1", text)


def described(args: str) -> Iterator[tuple[list[str], str]]:
    """Names and text of each entry of an ``Args`` section; an entry goes on over indented lines, and one line may hold
    several, each behind a full stop."""
    entries: list[str] = []
    for raw in args.splitlines():
        if raw.startswith(" ") and entries:
            entries[-1] += " " + raw.strip()
        elif raw.strip():
            entries.append(raw.strip())
    for entry in entries:
        parts = re.split(r"(?<=\.)\s+(?=(?:[a-z]\w*, )*[a-z]\w*: )", entry)
        for part in parts:
            names, _, text = part.partition(": ")
            yield [n.strip() for n in names.split(",")], text.strip()


def number(x: float) -> str:
    """Short."""
    return f"{x:.6g}"


def span(low: float, high: float) -> str:
    """A range."""
    return f"{number(low)} to {number(high)}"


def modes(env: Any) -> Mapping[str, Any]:
    """The environment made with each of its kinds of action, the default first."""
    own = inspect.signature(type(env).__init__).parameters
    if "action" not in own:
        return {"": env}
    first = own["action"].default
    names = list(getattr(inspect.getmodule(type(env)), "LEVERS", None) or getattr(type(env), "action_kinds", (first,)))
    return {m: env if m == first else type(env)(action=m) for m in [first, *(n for n in names if n != first)]}


def actions(env: Any) -> list[str]:
    """The action table."""
    rows = [
        [
            f"`{mode}`" + (" (default)" if k == 0 else "") if j == 0 else "",
            str(j),
            v.name,
            v.unit,
            number(v.low),
            number(v.high),
            v.what,
        ]
        for k, (mode, e) in enumerate(modes(env).items())
        for j, v in enumerate(e.actions.levers)
    ]
    return [
        f"`{space(env.single_action_space)}`: −1 is the low end, 1 the high end, what lies outside is cut off; NaN and "
        "infinity are refused. With `grid` the values that may be chosen, in these units: `Discrete` or "
        "`MultiDiscrete`.",
        "",
        *table(["`action`", "column", "name", "unit", "−1", "1", "meaning"], rows),
    ]


def observations(env: Any) -> list[str]:
    """The observation table."""
    rows = [
        [
            str(j),
            f.name,
            "" if f.unit == "1" else f.unit,
            span(f.low, f.high),
            span(a, b),
            "yes" if f.stacked else "",
            f.what,
        ]
        for j, (f, a, b) in enumerate(zip(env.scale.features, env.scale.least, env.scale.most))
    ]
    return [
        f"`{space(env.single_observation_space)}`. Each value is scaled so that its usual range is −1 to 1, and cut "
        "off at the bounds. With `stack=k` the past k values of those marked stand behind, newest first.",
        "",
        *table(["column", "name", "unit", "−1 to 1", "cut off at", "history", "meaning"], rows),
        *beliefs(env),
    ]


def beliefs(env: Any) -> list[str]:
    """The columns that ``observation="belief"`` puts behind the history."""
    if "observation" not in inspect.signature(type(env).__init__).parameters:
        return []
    believed = type(env)(observation="belief").believed
    rows = [
        [f.name, "" if f.unit == "1" else f.unit, span(f.low, f.high), span(least, most), f.what]
        for f, least, most in zip(believed.features, believed.scale.least, believed.scale.most)
    ]
    where = type(believed).__module__.removeprefix("doseloop.")
    return [
        f'With `observation="belief"` stands behind all these what the twin believes (`{where}`): the estimator of '
        f"the MPC, fed with {believed.fed}. "
        "Here for the default model:",
        "",
        *table(["name", "unit", "−1 to 1", "cut off at", "meaning"], rows),
    ]


def space(s: Any) -> str:
    """A space in one line, without its arrays of bounds."""
    if isinstance(s, gymnasium.spaces.Box):
        return f"Box(shape={s.shape}, {s.dtype})"
    return str(s)


def money(env: Any) -> list[str]:
    """Reward and cost."""
    rows = [[f"`reward/{k}`", WORDS[env.name][k]] for k in env.rewards]
    later = f"; {WORDS[env.name]['outlook']}" if "outlook" in WORDS[env.name] else ""
    rows.append(["`reward/end`", f"an end before time: −{number(env.worst)} for each decision that was left{later}"])
    costs = [[f"`cost/{k}`", WORDS[env.name][k]] for k in env.costs]
    costs.append(["`cost/end`", f"an end before time: {number(env.worst_cost)} for each decision that was left"])
    return [
        "The reward of a decision is the sum of its parts, each at most 0, integrated over the interval:",
        "",
        *table(["part", "meaning"], rows),
        'The cost, `info["cost"]` (`envs.wrappers.SafetyEnv` makes it the third of six), is the sum of:',
        "",
        *table(["part", "meaning"], costs),
    ]


# whose difference of returns is shown: from, to
GAPS = (
    ("random", "usual"),
    ("usual", "nomogram"),
    ("usual", "pid"),
    ("usual", "mpc"),
    ("nomogram", "mpc"),
    ("pid", "mpc"),
    ("mpc", "oracle"),
)


def scores(id: str) -> list[str]:
    """Measured scores of the baselines, from the leaderboard's files."""
    path = RESULTS / f"leaderboard_{file_of(id).removesuffix('.md')}.json"
    rows = Saved.read(path).of("nominal") if path.exists() else {}
    rows = {p: rows[p] for p in LABELS if p in rows}
    if not rows:
        return ["Not measured yet (`make leaderboard`).", ""]
    shown, found = SHOWN[id], {p: summary(r) for p, r in rows.items()}
    body = [
        [LABELS[p], *map(cell, (s.returns, s.cost, s.harm)), *(cell(s.scores[k]) for k in shown)]
        for p, s in found.items()
    ]
    gaps = [
        [LABELS[a], LABELS[b], cell(paired(rows[b].returns, rows[a].returns, mean, rows[a].group))]
        for a, b in GAPS
        if a in rows and b in rows
    ]
    return [
        f"`make leaderboard`: {len(next(iter(rows.values())))} patients of the test split, the same noise for all; "
        "mean and 95 % bootstrap interval ([networks, arms and how it is done](../leaderboard.md)). The oracle knows "
        "what no bedside has: a yardstick, not a treatment.",
        "",
        *table(["policy", "return", "cost", "harm", *(s.label for s in shown.values())], body),
        "Paired differences of returns:",
        "",
        *table(["from", "to", "gain"], gaps),
    ]


def page(id: str) -> str:
    """The page of one environment."""
    spec = gymnasium.spec(id)
    kind = load_env_creator(spec.vector_entry_point)
    env = kind()
    told = sections(kind.__doc__ or "")[""]
    module = inspect.cleandoc(inspect.getmodule(kind).__doc__ or "")
    name = file_of(id).removesuffix(".md")
    picture = DOCS / "img" / f"env_{name}.png"
    lines = [
        f"# {id}",
        "",
        "<!-- written by docs/pages.py: change the docstring, not this page -->",
        "",
        module,
        "",
        *([f"![an episode](../img/{picture.name})", ""] if picture.exists() else []),
        told,
        "",
        "```python",
        "import gymnasium",
        "",
        f'env = gymnasium.make("doseloop.envs:{id}")',
        f'many = gymnasium.make_vec("doseloop.envs:{id}", num_envs=1024)',
        "```",
        "",
        "## Action",
        "",
        *actions(env),
        "## Observation",
        "",
        *observations(env),
        "## Reward and cost",
        "",
        *money(env),
        "## Start and end",
        "",
        WORDS[env.name]["start"],
        "",
        f"{WORDS[env.name]['end']} Else it is truncated after {env.horizon} decisions (`max_episode_steps`, which "
        "`gymnasium.make_vec` hands on).",
        "",
        "## Arguments",
        "",
        *table(["keyword", "default", "meaning"], list(arguments(kind))),
        "## What can be randomised",
        "",
        "`randomise={name: (low, high)}`; factors are log-uniform, the others uniform, drawn for each episode:",
        "",
        *table(["name", "meaning", "within"], randomised(id)),
        "## Splits",
        "",
        WORDS[env.name]["splits"],
        "",
        "## Baselines",
        "",
        *scores(id),
        "## Versions",
        "",
        "- v0: doseloop 0.3.0",
    ]
    return "\n".join(lines) + "\n"


def randomised(id: str) -> list[list[str]]:
    """The quantities of `envs.randomise`."""
    return [
        [f"`{k}`", ("factor " if q.factor else "") + q.what, f"{number(q.low)} to {number(q.high)}"]
        for k, q in QUANTITIES[id].items()
    ]


def file_of(id: str) -> str:
    """The page's file in docs/envs."""
    return id.split("/")[-1].split("-")[0].lower() + ".md"


def pages() -> dict[str, str]:
    """Each page by its path in docs."""
    return {f"envs/{file_of(id)}": page(id) for id in IDS}


def main() -> None:
    """Write them."""
    for name, text in pages().items():
        path = DOCS / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        print(path)


if __name__ == "__main__":
    main()
