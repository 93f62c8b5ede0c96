"""Hugging Face models as checkpoints, and checkpoints as Hugging Face models."""

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
  python launch/hf.py export runs/NAME/checkpoints/latest models/NAME
      transformers.AutoModelForCausalLM.from_pretrained("models/NAME") opens it

GPT-2 (pre-norm) is GPT2LMHeadModel there, GPT-1 (post-norm) OpenAIGPTLMHeadModel.

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
    writing = commands.add_parser("export", help="write a checkpoint as a Hugging Face model")
    writing.add_argument("checkpoint", metavar="CHECKPOINT", help="such as RUN/checkpoints/latest")
    writing.add_argument("out", metavar="OUT", help="a new folder")
    return result


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point."""
    args = parser().parse_args(arguments)
    with exit_on_user_error():
        from pipeline.checkpoint.hugging_face import export_model, import_model

        if args.command == "import":
            made = import_model(args.source, args.out)
        else:
            made = export_model(args.checkpoint, args.out)
        print(made)


if __name__ == "__main__":
    main()
