import pytest

from saltlm.vocabulary_transfer.transfer import transfer
from tiny_pairs import write_pair


@pytest.fixture(scope="session")
def model(tokenizers_by_family, corpus, tmp_path_factory):
    """A transferred model that has seen text; nobody changes it."""
    directory = tmp_path_factory.mktemp("report")
    pair = write_pair(directory, tokenizers_by_family)
    (directory / "text.txt").write_text("\n".join(corpus), encoding="utf-8")
    transfer(*pair, directory / "llm-new", corpus=directory / "text.txt", method="salt")
    return directory / "llm-new"
