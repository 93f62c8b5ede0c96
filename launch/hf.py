"""Hugging Face models as checkpoints; for the way back see launch/convert.py."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)  # this folder's names must not hide other packages

from data_prep.errors import exit_on_user_error

EXAMPLES = """examples:
  python launch/hf.py import models/gpt2 runs/gpt2
      a folder with config.json, model.safetensors and a tokenizer becomes the checkpoint runs/gpt2/latest, for
      init.checkpoint of fine-tuning and checkpoint of evaluation
  python launch/hf.py import hub:openai-community/gpt2 runs/gpt2
      the same, downloaded from the Hugging Face Hub (its own variables hold: HF_HOME, HF_HUB_OFFLINE)

GPT-2 (pre-norm) is GPT2LMHeadModel there, GPT-1 (post-norm) OpenAIGPTLMHeadModel. `launch/convert.py export` is the way
back.

exit codes: 0 done, 1 a defect of the program, 2 bad input or settings, 130 interrupted
"""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = argparse.ArgumentParser(
        prog="hf.py", description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = result.add_subparsers(dest="command", required=True, metavar="COMMAND")
    reading = commands.add_parser("import", help="write a Hugging Face model as a checkpoint")
    reading.add_argument("source", metavar="SOURCE", help="a folder, or hub:ID")
    reading.add_argument("out", metavar="OUT", help="a new folder")
    return result


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point."""
    args = parser().parse_args(arguments)
    with exit_on_user_error():
        from pipeline.checkpoint.hugging_face import import_model

        print(import_model(args.source, args.out))


if __name__ == "__main__":
    main()
