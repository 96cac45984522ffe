"""Tables in files have the numbers of tables in memory, and leave no file behind."""

import errno

import pytest
import torch

from saltlm.files import mapped
from saltlm.files.mapped import are_in_files, empty_table, rows_of, tables_in_files


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(mapped, "_LARGE", 64)


def views(folder):
    """Return how many views of nameless files of a folder this process has."""
    with open("/proc/self/maps", encoding="utf-8") as lines:
        return sum(str(folder) in line and line.endswith("(deleted)\n") for line in lines)


def test_a_table_is_a_view_of_a_file_without_a_name(tmp_path):
    with tables_in_files(tmp_path):
        assert are_in_files()
        table = empty_table((40, 3), torch.bfloat16)
        assert views(tmp_path) == 1
        tiny = empty_table((1, 3), torch.float32)
        assert views(tmp_path) == 1
    assert not are_in_files()
    assert not list(tmp_path.iterdir())
    table[:] = torch.arange(120).view(40, 3)
    assert table.tolist() == torch.arange(120).view(40, 3).tolist()
    assert (table.dtype, tiny.shape) == (torch.bfloat16, (1, 3))
    del table
    assert views(tmp_path) == 0
    empty_table((40, 3), torch.bfloat16)
    assert views(tmp_path) == 0


@pytest.mark.parametrize("is_mapped", [False, True])
def test_rows_are_those_of_indexing(tmp_path, is_mapped):
    table = torch.randn(30, 5, generator=torch.Generator().manual_seed(0)).bfloat16()
    ids = torch.tensor([7, 7, 0, 29, 3, 11, 12, 5])
    with tables_in_files(tmp_path if is_mapped else None):
        rows = rows_of(table, ids, torch.float32)
        assert views(tmp_path) == is_mapped
    assert rows.equal(table[ids].float())
    assert rows_of(table, ids[:0], torch.float32).shape == (0, 5)
    with tables_in_files(tmp_path if is_mapped else None):
        elsewhere = rows_of(table.to("meta"), ids.to("meta"), torch.float32)
        assert elsewhere.device.type == "meta"  # and in no file
        assert not is_mapped or views(tmp_path) == 1


def test_what_is_written_into_a_view_stays_in_memory(tmp_path):
    file = tmp_path / "file"
    file.write_bytes(bytes(range(100)))
    view = mapped.mapped(file, 3, 8)
    assert view.tolist() == [*range(3, 11)]
    view[:] = 0
    assert file.read_bytes() == bytes(range(100))


def test_a_full_disk_is_an_error_and_not_the_end_of_the_process(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(mapped.os, "posix_fallocate", full)
    with tables_in_files(tmp_path), pytest.raises(OSError, match="No space left"):
        empty_table((40, 3), torch.float32)
    assert not list(tmp_path.iterdir())
