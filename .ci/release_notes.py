"""Print the section of CHANGELOG.md about a version: python3 .ci/release_notes.py v0.1.0."""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def section(changelog: str, version: str) -> str:
    """Return what stands under the version's heading.

    Raises:
        SystemExit: there is no such heading, nothing under it, or it is still called unreleased.
    """
    heading = re.compile(r"^## (\S+)(.*)$", re.MULTILINE)
    names, rests, texts = (heading.split(changelog)[first::3] for first in (1, 2, 3))
    sections = {
        name: (rest, text.strip()) for name, rest, text in zip(names, rests, texts, strict=True)
    }
    if version not in sections:
        known = ", ".join(sections)
        raise SystemExit(f"CHANGELOG.md has no section '## {version}', but {known}")
    rest, text = sections[version]
    if "unreleased" in rest:
        raise SystemExit(f"CHANGELOG.md calls {version} unreleased: write its date there")
    if not text:
        raise SystemExit(f"CHANGELOG.md says nothing about {version}")
    return text


def version_of_code() -> str:
    """Return the version that the package bears."""
    text = (ROOT / "src" / "saltlm" / "version.py").read_text(encoding="utf-8")
    return re.search(r'"(\d.*)"', text)[1]


if __name__ == "__main__":
    asked = sys.argv[1].removeprefix("v")
    if asked != version_of_code():
        raise SystemExit(f"the tag says {asked}, src/saltlm/version.py {version_of_code()}")
    print(section((ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), asked))
