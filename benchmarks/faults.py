"""Kill, damage, change, starve: every case seeded, the same command again goes on, counts as JSON.

    PYTHONPATH=src nice -n 19 python benchmarks/faults.py --work DIR \\
        [--out benchmarks/results/faults.json] [--seed 0] [--hours 8] [--only kills fuzz ...]

DIR should be on a disk in memory, since every result is synchronised to the disk. What is done and
what counts as a fault is in tests/faults. Each case leaves a line in DIR/cases.jsonl; one that is
there is not done again. The first faults of each kind stand in the result in full.
"""

import argparse
import itertools
import json
import os
import platform
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from pathlib import Path

os.environ |= {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from faults.trials import preload, warm_up
from saltlm.version import __version__

GOALS = {"kills": 500, "fuzz": 5000, "kept": 500, "changed": 100, "disk": 50, "memory": 50}
GOALS |= {"writers": 20, "determinism": 4}
AT_ONCE = {"fuzz": 10, "kills": 2}  # cases of a campaign in a turn; else one
SHOWN = 10


def cases(room, campaign, verbs):
    """Yield the names of a campaign's cases, for ever."""
    from faults import campaigns
    from faults.room import VERBS

    verbs = verbs or VERBS
    if campaign == "kills":
        every = list(campaigns.every_kill(room, verbs))
        yield from (f"{verb} {change} {turn}" for turn in range(99) for verb, change in every)
    names = {
        "fuzz": list(campaigns.targets()),
        "kept": list(campaigns.KEPT),
        "changed": [f"{verb} {name}" for verb, name in campaigns.CHANGED],
        "disk": list(verbs),
        "memory": list(verbs),
        "writers": ["transfer", "adapt", "compare", "pretrain", "merge"],
        "determinism": ["transfer", "adapt"],
    }[campaign]
    yield from (f"{name} {turn}" for turn in range(10**6) for name in names)


def verdict_of(room, campaign, case, seed):
    """Do one case."""
    from faults import campaigns

    chance = random.Random(f"{seed}/{campaign}/{case}")
    name, _, _ = case.rpartition(" ")
    if campaign == "kills":
        verb, change = name.split()
        return campaigns.kill(room, verb, int(change))
    if campaign == "changed":
        verb, _, file = name.partition(" ")
        return campaigns.change(room, verb, file, chance)
    if campaign in ("disk", "memory"):
        return campaigns.short_of(room, name, campaign, chance)
    if campaign == "writers":
        return campaigns.two_writers(room, name, chance)
    if campaign == "determinism":
        return campaigns.elsewhere(room, name, chance)
    work = campaigns.fuzz if campaign == "fuzz" else campaigns.fuzz_kept
    return work(room, name, chance)


def summary(rows):
    """Return counts by campaign and kind, what was found, and what is left of it.

    A case with a fault is done again by another commit: the last row of a case counts as what is so
    now, and those before it as what was found.
    """
    last = {(row["campaign"], row["case"]): row for row in rows}
    kinds, found, left = defaultdict(Counter), defaultdict(dict), defaultdict(list)
    for row in rows:
        if row["fault"]:
            found[row["campaign"]].setdefault(row["case"], row["fault"])
    for (name, case), row in last.items():
        kinds[name][row["kind"]] += 1
        if row["fault"]:
            left[name].append({"case": case, "fault": row["fault"]})
    return {
        name: {
            "goal": GOALS[name],
            "cases": kinds[name].total(),
            "kinds": dict(sorted(kinds[name].items())),
            "cases with a fault": len(found[name]),
            "with a fault still": len(left[name]),
            "first faults": [{"case": c, "fault": f} for c, f in found[name].items()][:SHOWN],
            "first faults that are left": left[name][:SHOWN],
        }
        for name in GOALS
        if name in kinds
    }


def result_of(rows, seed):
    """Return the result as JSON."""
    ours = [row for row in rows if row["seed"] == seed]
    return {
        "seed": seed,
        "saltlm": __version__,
        "python": platform.python_version(),
        "processor seconds": round(sum(row["seconds"] for row in ours)),
        "campaigns": summary(ours),
    }


def commit_of(repository):
    """Return the commit that is tried."""
    command = ["git", "-C", repository, "rev-parse", "--short", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def children_seconds():
    """Return the processor seconds of all cases so far."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def prepared(folder):
    """Return the room, with all made in this process that cases need made once."""
    folder.mkdir(parents=True, exist_ok=True)
    preload(folder)  # before what follows, which would have signatures checked
    from faults.room import VERBS, make_more, make_room

    room = make_more(make_room(folder))
    os.environ["XDG_CACHE_HOME"] = str(room.scratch / "xdg")
    for verb in VERBS:
        warm_up(*room.command(verb, room.fresh(verb)))
    tempfile.tempdir = str(room.scratch / "tmp")
    return room


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--hours", type=float, default=8)
    parser.add_argument("--only", nargs="+", choices=GOALS, default=list(GOALS))
    parser.add_argument("--verbs", nargs="+", help="to be killed, or to want of something")
    asked = parser.parse_args()
    end = time.monotonic() + 3600 * asked.hours
    room = prepared(asked.work)
    log, commit = asked.work / "cases.jsonl", commit_of(Path(__file__).parent)
    rows = [json.loads(line) for line in log.read_text().splitlines()] if log.is_file() else []
    done = {(row["campaign"], row["case"]): row for row in rows if row["seed"] == asked.seed}
    again = [key for key, row in done.items() if row["fault"] and row["commit"] != commit]
    for key in again:
        del done[key]
    n_done = Counter(name for name, _ in done)
    todo = {name: cases(room, name, asked.verbs) for name in asked.only}
    queue = iter([key for key in again if key[0] in todo])
    while todo and time.monotonic() < end:
        for name, case in next_turn(queue, todo, done, n_done):
            begun = children_seconds()
            found = verdict_of(room, name, case, asked.seed)
            row = {"campaign": name, "case": case, "seed": asked.seed, "commit": commit}
            row |= {"seconds": round(children_seconds() - begun, 3), **vars(found)}
            done[name, case] = row
            n_done[name] += 1
            rows.append(row)
            with log.open("a", encoding="utf-8") as opened:
                opened.write(json.dumps(row) + "\n")
            if found.fault:
                print(f"{name}: {case}: {found.fault}", flush=True)
    text = json.dumps(result_of(rows, asked.seed), indent=1, ensure_ascii=False) + "\n"
    text = text.replace(str(asked.work), "DIR")
    if asked.out:
        asked.out.write_text(text, encoding="utf-8")
    print(text)


def next_turn(queue, todo, done, n_done):
    """Return the next cases: those that had faults first, then some of each campaign in turn."""
    if (case := next(queue, None)) is not None:
        return [case]
    turn = []
    for name in list(todo):
        left = min(AT_ONCE.get(name, 1), GOALS[name] - n_done[name])
        new = (case for case in todo[name] if (name, case) not in done)
        turn += [(name, case) for case in itertools.islice(new, max(left, 0))]
        if left <= 0:
            del todo[name]
    return turn


if __name__ == "__main__":
    main()
