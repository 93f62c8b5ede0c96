"""Fixed features with a small model on top, on the tasks of fine-tuning: `python launch/features.py CONFIG`."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)  # this folder's names must not hide other packages

from data_prep.configfile import load
from launch import command
from pipeline.complete import result_of
from pipeline.config.features import FeaturesConfig


def main(config: command.Config, overrides: command.Overrides = None) -> None:
    """Train a small model on fixed features of a labelled task: frozen hidden states, word vectors or TF-IDF.

    Examples:

      python launch/features.py configs/features/hidden.yaml init.checkpoint=RUN/checkpoints/latest task.root=DATA

      python launch/features.py configs/features/hidden.yaml hidden.layer=3 hidden.pooling=last head.kind=mlp ...

      python launch/features.py configs/features/word2vec.yaml vectors.path=GoogleNews-vectors-negative300.bin ...

      python launch/features.py configs/features/tfidf.yaml task.name=qqp task.root=DATA
    """
    settings = load(config, FeaturesConfig, overrides or [])
    if result_of(settings) is not None:
        print(f"{settings.run.name}: complete, nothing to do")
        return
    from pipeline.features.run import features

    features(settings)


if __name__ == "__main__":
    command.run(main)
