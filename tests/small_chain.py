"""The configuration of a whole chain, shortened: a small web, small models, the settings of the demo."""

from __future__ import annotations

from pathlib import Path

import small_web

CONFIGS = Path(__file__).parents[1] / "configs"
_SMALL = "model.n_layer=2", "model.n_head=2", "model.d_model=32", "model.sequence_length=32", "train.log_every=1"


def _settings(*more: str) -> str:
    return ", ".join(f'"{one}"' for one in (*_SMALL, "train.tokens=4K", *more))


def write(folder: Path, *first: str, more: str = "") -> Path:
    """Write the chain and what it reads into a folder; gives its file.

    Args:
        folder: where.
        first: further settings of the first pretraining.
        more: further lines of the chain.
    """
    small_web.make(folder / "web")
    (folder / "data.yaml").write_text(small_web.CONFIG)
    path = folder / "chain.yaml"
    path.write_text(f"""
root: runs
input: {{dumps: [web/RS_small], archives: ["web/pages-*.warc.gz"]}}
data: {{config: data.yaml}}
pretrain:
  - config: {CONFIGS}/pretrain/demo.yaml
    set: [{_settings(*first)}]
  - config: {CONFIGS}/pretrain/demo-low-lr.yaml
    set: [{_settings()}]
finetune:
  - config: {CONFIGS}/finetune/demo.yaml
    set: ["train.epochs=1", "task.name=site"]
evaluate:
  - config: {CONFIGS}/evaluate/demo.yaml
{more}""")
    return path
