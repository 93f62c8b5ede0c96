"""Predictions of a fine-tuned checkpoint for new texts: `python launch/predict.py CHECKPOINT [FILE]`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path[0] = str(Path(__file__).resolve().parent.parent)  # this folder's names must not hide other packages

from data_prep.errors import UserError, exit_on_user_error

EXAMPLES = """examples:
  python launch/predict.py runs/imdb/checkpoints/best reviews.jsonl > predictions.jsonl
      rows {"text"}; {"premise", "hypothesis"} of an entailment; {"a", "b"} of a similarity; {"context", "candidates"}
      of a choice. With a "label" the metrics are said at the end
  python launch/predict.py runs/imdb/checkpoints/best reviews.csv --column review
      the text stands in the column "review"
  echo "what a film" | python launch/predict.py runs/imdb/checkpoints/best
      plain lines, a text each

one JSON line for each row, in their order: {"row", "label", "probabilities"}, or {"row", "score"}; "truncated" where a
text was cut to the model's context; {"row", "error"} where a text is empty. Counts and metrics go to stderr.

exit codes: 0 done, 1 a defect of the program, 2 bad input or settings, 130 interrupted
"""
_ENDINGS: dict[str, Any] = {".jsonl": "jsonl", ".json": "jsonl", ".csv": "csv", ".tsv": "tsv", ".txt": "lines"}


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = argparse.ArgumentParser(
        prog="predict.py", description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    result.add_argument("checkpoint", metavar="CHECKPOINT", help="of fine-tuning, such as RUN/checkpoints/best")
    result.add_argument("file", metavar="FILE", nargs="?", default="-", help="texts; default - (standard input)")
    result.add_argument(
        "--format", choices=("jsonl", "csv", "tsv", "lines"), help="by default from the file's ending or first line"
    )
    result.add_argument(
        "--column", metavar="NAME", action="append", default=[], help="column of a text, in the order of the task"
    )
    result.add_argument("--batch", metavar="N", type=int, default=32, help="examples per forward pass (default 32)")
    return result


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point."""
    args = parser().parse_args(arguments)
    with exit_on_user_error():
        if args.batch < 1:
            raise UserError("at least one example per forward pass", where="--batch", fix="give a positive number")
        path = Path(args.file)
        if args.file != "-" and not path.is_file():
            raise UserError("no such file", where=args.file, fix="correct the path, or give - for the standard input")
        import orjson

        from pipeline.finetune.predict import Predictor, Tally, predict
        from pipeline.finetune.text_rows import Format, read_rows

        predictor = Predictor(args.checkpoint, args.batch)
        tally = Tally(predictor)
        where = "standard input" if args.file == "-" else args.file
        if args.file == "-":
            sys.stdin.reconfigure(encoding="utf-8-sig", errors="surrogateescape", newline="")  # type: ignore[union-attr]
        source = (
            sys.stdin if args.file == "-" else path.open(encoding="utf-8-sig", errors="surrogateescape", newline="")
        )
        form: Format | None = args.format or _ENDINGS.get(path.suffix.lower())
        try:
            with source:
                for said in predict(predictor, read_rows(source, predictor.kind, form, args.column, where), tally):
                    sys.stdout.write(orjson.dumps(said).decode() + "\n")
            sys.stdout.flush()
        except BrokenPipeError:  # whoever reads has enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return
        for line in tally.lines():
            print(line, file=sys.stderr)


if __name__ == "__main__":
    main()
