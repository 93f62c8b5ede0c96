import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from data_prep import store
from data_prep.machine_docs import MachineDocsSettings, PagesSettings, make

SMALL = MachineDocsSettings(
    pages=PagesSettings(modules_per_package=2, standard_modules=3, packages=("click", "python"), parts=2)
)
PROGRAM = f"""
import sys
from data_prep.machine_docs import MachineDocsSettings, make
if __name__ == "__main__":
    make(sys.argv[1], MachineDocsSettings.model_validate_json({SMALL.model_dump_json()!r}), workers=2)
"""


def files(folder: Path) -> dict[str, str]:
    """sha256 of all that is the result; logs carry times, and a plan the place of its input."""
    paths = [p for p in folder.rglob("*") if p.is_file() and "logs" not in p.parts and p.name != "plan.json"]
    return {p.relative_to(folder).as_posix(): store.sha256_of(str(p)) for p in paths}


def test_killed_and_run_again_it_ends_with_the_same_files_and_then_skips(tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    made = make(str(whole), SMALL, workers=1)
    assert store.listing(made.archives) == [str(whole / f"pages/part-0000{i}.warc.gz") for i in range(2)]
    assert Path(made.dumps).exists()
    assert "MADE UP" in (whole / "README.txt").read_text()

    script = tmp_path / "program.py"
    script.write_text(PROGRAM)
    root = str(Path(__file__).parents[3])
    child = subprocess.Popen(
        [sys.executable, str(script), str(killed)], env={**os.environ, "PYTHONPATH": root}, stdout=subprocess.DEVNULL
    )
    while not list(killed.glob("pages/part-*.tmp")) and child.poll() is None:
        time.sleep(0.01)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert not (killed / "README.txt").exists()

    make(str(killed), SMALL, workers=2)
    assert files(killed) == files(whole)

    said: list[str] = []
    before = {p: p.stat().st_mtime_ns for p in whole.rglob("*.gz")}
    make(str(whole), SMALL, workers=1, say=said.append)
    assert before == {p: p.stat().st_mtime_ns for p in whole.rglob("*.gz")}
    assert all("complete, verified" in line for line in said if "->" in line)
