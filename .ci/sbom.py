"""Compare what is installed with requirements.lock, and write it down as CycloneDX.

    python .ci/sbom.py dist/sbom.json

It needs no network. What is neither locked, nor saltlm, nor torch with what a build of torch brings
along, ends it with code 1: somebody installed it past the lock.
"""

import json
import re
import sys
from importlib.metadata import Distribution, distributions
from pathlib import Path

ROOT = Path(__file__).parents[1]
# Each index has builds of torch of its own, and those for GPUs bring libraries along.
OF_TORCH = re.compile(r"torch|triton|(nvidia|cuda)-.*")


def canonical(name: str) -> str:
    """Return a name as indexes write it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def locked() -> dict[str, dict[str, list[str]]]:
    """Return name -> version -> SHA-256 of the files that may be installed."""
    found: dict[str, dict[str, list[str]]] = {}
    for file in (ROOT / "requirements.lock", ROOT / ".ci" / "tools.lock"):
        hashes: list[str] = []
        for line in file.read_text(encoding="utf-8").splitlines():
            if pinned := re.match(r"([\w.-]+)==([\w.+-]+)", line):
                hashes = found.setdefault(canonical(pinned[1]), {}).setdefault(pinned[2], [])
            elif given := re.match(r"\s+--hash=sha256:([0-9a-f]{64})", line):
                hashes.append(given[1])
    return found


def strangers(installed: list[Distribution], lock: dict[str, dict[str, list[str]]]) -> list[str]:
    """Return what is installed and not locked."""
    return sorted(
        f"{one.name} {one.version}"
        for one in installed
        if one.version not in lock.get(canonical(one.name), {})
        and canonical(one.name) != "saltlm"
        and not OF_TORCH.fullmatch(canonical(one.name))
    )


def component(one: Distribution, hashes: list[str]) -> dict[str, object]:
    """Return what CycloneDX says of a package."""
    licence = one.metadata.get("License-Expression") or one.metadata.get("License")
    made: dict[str, object] = {
        "type": "library",
        "name": canonical(one.name),
        "version": one.version,
        "purl": f"pkg:pypi/{canonical(one.name)}@{one.version}",
    }
    if licence and len(licence) < 100:
        made["licenses"] = [{"license": {"name": licence}}]
    if hashes:
        made["properties"] = [{"name": "locked:sha256", "value": value} for value in sorted(hashes)]
    return made


def main(out: Path) -> None:
    """Write the bill of materials; stop if something is there past the lock."""
    lock = locked()
    installed = sorted(distributions(), key=lambda one: canonical(one.name))
    if past := strangers(installed, lock):
        raise SystemExit(f"installed past requirements.lock: {', '.join(past)}; make clean setup")
    bill = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "components": [
            component(one, lock.get(canonical(one.name), {}).get(one.version, []))
            for one in installed
        ],
    }
    out.write_text(json.dumps(bill, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"{out}: {len(installed)} packages, all locked but torch")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
