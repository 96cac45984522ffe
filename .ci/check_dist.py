"""Check that dist/ holds one wheel and one sdist with all that belongs in them."""

import subprocess
import tarfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]


def tracked(folder: str) -> set[str]:
    """Return the files of a folder that git knows, relative to it."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--", folder],
        cwd=ROOT,
        capture_output=True,
        check=True,
        text=True,
    )
    return {name.removeprefix(f"{folder}/") for name in listed.stdout.split("\0") if name}


def check(what: str, there: set[str], wanted: set[str]) -> None:
    """Stop if a file is missing."""
    if missing := wanted - there:
        raise SystemExit(f"{what} lacks {', '.join(sorted(missing))}")
    print(f"{what}: {len(there)} files, all there")


if __name__ == "__main__":
    (wheel,) = (ROOT / "dist").glob("*.whl")
    (sdist,) = (ROOT / "dist").glob("*.tar.gz")
    code = tracked("src")
    # What is not Python, and thus easily left out, is named here once more.
    code |= {f"saltlm/{name}" for name in ("py.typed", "alignment/english.txt.gz")}
    code |= {f"saltlm/recipes/demo/corpus/{name}" for name in ("ATTRIBUTION.md", "vi.txt.gz")}
    code |= {f"saltlm/adaptation/launch/{name}.yaml" for name in ("ddp", "fsdp2")}
    code |= {"saltlm/evaluation/paper.yaml"}
    page = ("page.html", "page.css", "plots.css", "script.js", "reload.js")
    code |= {f"saltlm/inspection/report/templates/{name}" for name in page}
    in_wheel = set(zipfile.ZipFile(wheel).namelist())
    info = f"{'-'.join(wheel.name.split('-')[:2])}.dist-info"
    about = {f"{info}/{name}" for name in ("METADATA", "entry_points.txt", "licenses/LICENSE")}
    check(wheel.name, in_wheel, code | about)
    with tarfile.open(sdist) as archive:
        top = sdist.name.removesuffix(".tar.gz")
        in_sdist = {name.removeprefix(f"{top}/") for name in archive.getnames()}
    wanted = {"LICENSE", "README.md", "CHANGELOG.md", "pyproject.toml", "PKG-INFO"}
    check(sdist.name, in_sdist, wanted | {f"src/{name}" for name in code})
