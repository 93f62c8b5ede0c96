from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from data_prep import failures, store
from data_prep.errors import UserError
from data_prep.failures import WorkerDied


@pytest.mark.parametrize(
    ("error", "line", "found"),
    [
        (UserError("bad", where="f, line 3", fix="mend it"), "f, line 3: bad; mend it", UserError),
        (WorkerDied(7, "was killed"), "task 7 was killed", WorkerDied),
        (MemoryError("2 GiB"), "MemoryError: 2 GiB", MemoryError),
        (MemoryError(), "MemoryError", MemoryError),
        (KeyError("two\nlines"), "KeyError: 'two\\nlines'", RuntimeError),
        (ValueError("two\nlines"), "ValueError: two lines", RuntimeError),
    ],
)
def test_a_record_holds_one_line_and_gives_the_error_back(
    tmp_path: Path, error: Exception, line: str, found: type[Exception]
) -> None:
    failures.save(str(tmp_path), 7, error)
    record = orjson.loads((tmp_path / "failed/00007.json").read_bytes())
    assert (record["task"], record["error"]) == (7, line)
    assert record["log"] == f"{tmp_path}/logs/logs/task_00007.log"
    again = failures.load(str(tmp_path), 7)
    assert type(again) is found
    assert line in failures.one_line(again)
    assert failures.load(str(tmp_path), 8) is None
    failures.forget(str(tmp_path), 7)
    failures.forget(str(tmp_path), 7)
    assert failures.load(str(tmp_path), 7) is None


def test_a_record_that_cannot_be_written_hides_nothing(tmp_path: Path) -> None:
    (tmp_path / "failed").touch()  # no folder
    failures.save(str(tmp_path), 0, ValueError("x"))


@pytest.mark.parametrize("content", [b"{", b"[]", b"{}", b'{"kind": "input", "user": null}'])
def test_a_damaged_record_is_still_a_failure(tmp_path: Path, content: bytes) -> None:
    store.write_bytes(failures.path_of(str(tmp_path), 0), content)
    assert "cannot be read" in str(failures.load(str(tmp_path), 0))
