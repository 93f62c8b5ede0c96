import pytest

from data_prep import progress
from data_prep.progress import ProgressBar, clock


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress.time, "monotonic", clock)
    return clock


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (59.6, "1:00"), (3725, "1:02:05"), (-1, "0:00")])
def test_clock(seconds: float, text: str) -> None:
    assert clock(seconds) == text


def test_plain_lines_with_rate_and_time_left(time: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressBar("pages", 1000, "pages") as bar:
        bar.update(400)  # complete before this run
        time.now += 1
        bar.update(410)
        time.now += 9
        bar.update(500)
    assert capsys.readouterr().err == "  pages: 50 %  500/1,000 pages  10.0 pages/s  eta 0:50\n"


def test_bytes_are_shown_as_megabytes_and_a_total_may_be_unknown(
    time: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with ProgressBar("reading", 0, "bytes") as bar:
        bar.update(0)
        time.now += 10
        bar.update(50_000_000)
    assert capsys.readouterr().err == "  reading: 50 MB  5.0 MB/s\n"


def test_no_progress_yet_gives_no_time_left(time: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressBar("x", 10, "rows") as bar:
        time.now += 6
        bar.update(0)
    assert "eta ?" in capsys.readouterr().err


def test_a_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    with ProgressBar("x", 10, "rows") as bar:
        bar.update(5)
        assert bar._bar is not None
        (row,) = bar._bar.tasks
        assert (row.completed, row.total) == (5, 10)
        assert row.fields["note"].startswith("5/10 rows")
