"""A small corpus made once for all tests that only look at one."""

from __future__ import annotations

import shutil
from pathlib import Path

import small_web

from data_prep import chain, configfile
from data_prep.config import DataConfig


def make(folder: Path, *overrides: str) -> Path:
    """Run the whole chain over the small web in this process; returns the config file, beside which is `root`."""
    path = folder / "small.yaml"
    web = small_web.make(folder / "web")
    path.write_text(small_web.CONFIG)
    text = path.read_text().replace("root: runs/small", f"root: {folder}/root")
    text = text.replace("inputs: {dumps: [none], archives: [none]}", _inputs(web))
    path.write_text(text)
    config = configfile.load(str(path), DataConfig, list(overrides))
    chain.Chain(config, 1, lambda line: None, "inline").run()
    return path


def _inputs(web: list[str]) -> str:
    given = dict(item.removeprefix("inputs.").split("=", 1) for item in web)
    return f"inputs: {{dumps: {given['dumps']}, archives: {given['archives']}}}"


def copied(template: Path, folder: Path) -> Path:
    """A copy of a finished corpus that a test may damage; returns its config file."""
    shutil.copytree(template.parent, folder, dirs_exist_ok=True)
    config = folder / template.name
    config.write_text(config.read_text().replace(str(template.parent), str(folder)))
    return config
