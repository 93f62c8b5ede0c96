import errno
import pickle
from pathlib import Path

import pytest

from data_prep.errors import CorruptFile, UserError, exit_on_user_error, full_disk, to_write_in


def test_one_line_with_what_where_and_fix() -> None:
    error = UserError("the\nthing is bad", where="a.txt:3", fix="mend it")
    assert str(error) == "a.txt:3: the thing is bad; mend it"
    assert str(UserError("bad")) == "bad"


@pytest.mark.parametrize("kind", [UserError, CorruptFile])
def test_survives_the_way_between_processes(kind: type[UserError]) -> None:
    error = pickle.loads(pickle.dumps(kind("bad", where="here", fix="mend")))
    assert type(error) is kind
    assert (error.what, error.where, error.fix) == ("bad", "here", "mend")


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (UserError("bad", where="f"), 2, "error: f: bad\n"),
        (OSError(errno.ENOSPC, "No space left on device", "f"), 2, "error: f: no space left on the device"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_exit_code_and_one_line_on_stderr(
    error: BaseException, code: int, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit, exit_on_user_error():
        raise error
    assert exit.value.code == code
    shown = capsys.readouterr().err
    assert shown.startswith(line)
    assert shown.count("\n") == 1


def test_other_errors_keep_their_traceback() -> None:
    with pytest.raises(PermissionError), exit_on_user_error():
        raise PermissionError(errno.EACCES, "no")
    assert full_disk(PermissionError(errno.EACCES, "no"), "f") is None


def test_a_folder_that_cannot_be_written_is_the_users_and_a_broken_disk_is_not(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(UserError, match=r"^runs: no folder to write in \(Not a directory\); give another"),
        to_write_in("runs"),
    ):
        (tmp_path / "file" / "runs").mkdir()
    with pytest.raises(UserError, match="no space left"), to_write_in("runs"):
        raise OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(OSError, match="broken"), to_write_in("runs"):
        raise OSError(errno.EIO, "broken")
