"""Tags that say what a run was made from, and with which code.

A run that makes something carries its digest (tag "digest"); a run that uses it names that digest in
"upstream.<stage>". The run id of the maker, "upstream.<stage>.run_id", is looked up in the tracking store.
"""

from __future__ import annotations

import os
import platform
import socket
import subprocess
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

DIGEST_TAG = "digest"
DATASET_DIGEST_TAG = "dataset_digest"
TASK_DIGEST_TAG = "task_digest"
MADE_TAGS = (DIGEST_TAG, DATASET_DIGEST_TAG, TASK_DIGEST_TAG)
"""Tags under which a run names what it made."""
EXPERIMENT = "experiment"
"""Stage of the parent of an experiment's runs."""
PARENT_TAG = "parent_uid"
"""Tag that holds the `run_uid` of the experiment that a run is part of."""
PARENT_VARIABLE = "WEBTEXT_PARENT_RUN"
"""Environment variable by which an experiment tells its runs."""
MODEL_STAGES = ("pretrain", "finetune")
"""Stages whose checkpoints are logged models, under the digest that later stages name."""
_PREFIX, _RUN_ID = "upstream.", ".run_id"
_PACKAGES = ("webtext-pipeline", "torch", "deepspeed", "numpy", "safetensors", "tokenizers", "pyarrow", "mlflow")


def upstream_tags(digests: Mapping[str, str]) -> dict[str, str]:
    """Tags for stage name -> sha256 (hex) of what that stage made and this run uses."""
    return {f"{_PREFIX}{stage}": digest for stage, digest in digests.items()}


def upstream_of(tags: Mapping[str, str]) -> dict[str, str]:
    """Stage name -> digest, as the tags of a run say."""
    return {
        key.removeprefix(_PREFIX): value
        for key, value in tags.items()
        if key.startswith(_PREFIX) and not key.endswith(_RUN_ID)
    }


def run_id_tag(stage: str) -> str:
    """Tag that holds the MLflow run id of the upstream run of `stage`."""
    return f"{_PREFIX}{stage}{_RUN_ID}"


def environment_tags() -> dict[str, str]:
    """Host, Python, package versions, the commit where the code is a git checkout ("+changed" if edited), and the
    experiment that asked for the run."""
    tags = {"host": socket.gethostname(), "version.python": platform.python_version()}
    if PARENT_VARIABLE in os.environ:
        tags[PARENT_TAG] = os.environ[PARENT_VARIABLE]
    for package in _PACKAGES:
        try:
            tags[f"version.{package}"] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    if commit := git_commit():
        tags["git_commit"] = commit
    return tags


def git_commit() -> str:
    """Commit of this code ("+changed" if edited); empty where it is not a git checkout."""
    commit = _git("rev-parse", "HEAD")
    return commit + ("+changed" if commit and _git("status", "--porcelain", "--untracked-files=no") else "")


def _git(*arguments: str) -> str:
    """Output of a git command in the folder of this code; empty where that is not possible."""
    command = ["git", "-C", str(Path(__file__).parent), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
