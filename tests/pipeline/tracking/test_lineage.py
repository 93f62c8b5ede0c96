import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.tracking import lineage


@given(st.dictionaries(st.from_regex(r"[a-z/-]{1,12}", fullmatch=True), st.from_regex(r"[0-9a-f]{8}", fullmatch=True)))
def test_upstream_tags_and_back(digests: dict[str, str]) -> None:
    tags = lineage.upstream_tags(digests) | {lineage.run_id_tag(stage): "some run" for stage in digests}
    assert lineage.upstream_of(tags | {"digest": "x", "stage": "pretrain"}) == digests


def test_the_environment_names_versions_and_the_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def git(*arguments: str) -> None:
        settings = ["-c", "user.name=a", "-c", "user.email=a@b"]
        subprocess.run(["git", "-C", str(tmp_path), *settings, *arguments], check=True, capture_output=True)

    monkeypatch.setattr(lineage, "__file__", str(tmp_path / "code.py"))
    assert "git_commit" not in lineage.environment_tags()
    (tmp_path / "code.py").write_text("1\n")
    git("init")
    git("add", "code.py")
    git("commit", "-m", "one")
    clean = lineage.environment_tags()
    assert len(clean["git_commit"]) == 40
    assert {"torch", "deepspeed", "mlflow", "webtext-pipeline"} <= {
        tag.removeprefix("version.") for tag in clean if tag.startswith("version.")
    }
    (tmp_path / "code.py").write_text("2\n")
    assert lineage.environment_tags()["git_commit"] == clean["git_commit"] + "+changed"
