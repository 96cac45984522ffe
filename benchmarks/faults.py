"""Kill, damage, change, starve: every case seeded, the same command again goes on, counts as JSON.

    PYTHONPATH=src nice -n 19 python benchmarks/faults.py --work DIR \\
        [--out benchmarks/results/faults.json] [--seed 0] [--hours 8] [--only kills fuzz ...]

DIR should be on a disk in memory, since every result is synchronised to the disk. What is done and
what counts as a fault is in tests/faults. Each case leaves a line in DIR/cases.jsonl; one that is
there is not done again. The first faults of each kind stand in the result in full.
"""

import argparse
import json
import os
import platform
import random
import sys
import time
from collections import Counter, defaultdict
from pathlib import Path

os.environ |= {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from faults import campaigns
from faults.trials import preload
from saltlm.version import __version__

VERBS = ("transfer", "force", "adapt", "compare", "evaluate")
GOALS = {"kills": 500, "fuzz": 5000, "kept": 500, "changed": 100, "disk": 50, "memory": 50}
GOALS |= {"writers": 20, "determinism": 4}
SHOWN = 10


def cases(room, campaign, verbs):
    """Yield the names of a campaign's cases for ever, or as many as there are."""
    if campaign == "kills":
        every = list(campaigns.every_kill(room, verbs))
        random.Random(0).shuffle(every)
        yield from (f"{verb} {change} {turn}" for turn in range(99) for verb, change in every)
    names = {
        "fuzz": list(campaigns.targets()),
        "kept": list(campaigns.KEPT),
        "changed": [f"{verb} {name}" for verb, name in campaigns.CHANGED],
        "disk": ["transfer", "force", "adapt", "compare"],
        "memory": ["transfer", "force", "adapt", "compare"],
        "writers": ["transfer", "adapt", "compare"],
        "determinism": ["transfer", "adapt"],
    }[campaign]
    yield from (f"{name} {turn}" for turn in range(10**6) for name in names)


def verdict_of(room, campaign, case, seed):
    """Do one case."""
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


def summary(done):
    """Return counts by campaign and kind, and the first faults."""
    counts, faults = defaultdict(Counter), defaultdict(list)
    for row in done.values():
        counts[row["campaign"]][row["kind"]] += 1
        if row["fault"]:
            faults[row["campaign"]].append({"case": row["case"], "fault": row["fault"]})
    return {
        name: {
            "goal": GOALS[name],
            "cases": sum(kinds.values()),
            "kinds": dict(sorted(kinds.items())),
            "faults": len(faults[name]),
            "first faults": faults[name][:SHOWN],
        }
        for name, kinds in counts.items()
    }


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--hours", type=float, default=8)
    parser.add_argument("--only", nargs="+", choices=GOALS, default=list(GOALS))
    parser.add_argument("--verbs", nargs="+", choices=VERBS, default=VERBS, help="to be killed")
    asked = parser.parse_args()
    asked.work.mkdir(parents=True, exist_ok=True)
    preload()
    room = campaigns.make_room(asked.work)
    log = asked.work / "cases.jsonl"
    rows = [json.loads(line) for line in log.read_text().splitlines()] if log.is_file() else []
    done = {(row["campaign"], row["case"]): row for row in rows if row["seed"] == asked.seed}
    end = time.monotonic() + 3600 * asked.hours
    todo = {name: cases(room, name, asked.verbs) for name in asked.only}
    while todo and time.monotonic() < end:
        for name in list(todo):  # in turn, so that each has a share of the time
            ours = [key for key in done if key[0] == name]
            if len(ours) >= GOALS[name]:
                del todo[name]
                continue
            case = next(case for case in todo[name] if (name, case) not in done)
            found = verdict_of(room, name, case, asked.seed)
            row = {"campaign": name, "case": case, "seed": asked.seed, **vars(found)}
            done[name, case] = row
            with log.open("a", encoding="utf-8") as opened:
                opened.write(json.dumps(row) + "\n")
            if found.fault:
                print(f"{name}: {case}: {found.fault}", flush=True)
    result = {
        "seed": asked.seed,
        "saltlm": __version__,
        "python": platform.python_version(),
        "campaigns": summary(done),
    }
    text = json.dumps(result, indent=1, ensure_ascii=False) + "\n"
    if asked.out:
        asked.out.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
