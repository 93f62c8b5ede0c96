"""What a feature-based run is: fixed features of the texts, and a small model on top of them that alone is trained."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from data_prep.configfile import Settings
from pipeline.config.fields import NotNegative, Positive, Share
from pipeline.config.finetune import InitConfig
from pipeline.config.run import RunConfig, TrackingConfig
from pipeline.config.task_data import TaskDataConfig


class HiddenConfig(Settings):
    """Hidden states of a language model whose weights stay as they are.

    Attributes:
        layer: states after so many blocks, 0 for the embeddings; by default those that the output layer reads (after
            the final norm).
        pooling: "mean" over the tokens of a text, its "last" token, or the "extract" token of the inputs of
            fine-tuning, which only a fine-tuned model knows. With the first two the texts of an example are read one
            by one.
        batch_size: texts per forward pass; it does not change the numbers.
    """

    layer: NotNegative | None = None
    pooling: Literal["mean", "last", "extract"] = "mean"
    batch_size: Positive = 32


class VectorsConfig(Settings):
    """The mean of a text's static word vectors (Mikolov et al. 2013).

    Attributes:
        path: file in word2vec's format, text or binary (*.bin), plain or *.gz.
        dataset: instead of a file, a token dataset; vectors are trained on its training split, once for all runs of
            `run.dir` with these settings.
        size: entries of a vector.
        window: words to each side.
        min_count: rarer words have no vector.
        epochs: passes over the corpus.
        negative: words drawn against each real one.
        skip_gram: skip-gram instead of the continuous bag of words.
        seed: of the training.
    """

    path: str | None = None
    dataset: str | None = None
    size: Positive = 100
    window: Positive = 5
    min_count: Positive = 5
    epochs: Positive = 5
    negative: Positive = 5
    skip_gram: bool = True
    seed: int = 1

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        if (self.path is None) == (self.dataset is None):
            raise ValueError("give path, or dataset to train vectors on")
        return self


class TfidfConfig(Settings):
    """Weighted counts of words and word pairs: what any pretrained model must beat.

    Attributes:
        longest: words of the longest term; 2 counts pairs of neighbours too.
        min_documents: terms that occur in fewer training texts are left out.
        sublinear: 1 + log of a count instead of the count.
    """

    longest: Positive = 2
    min_documents: Positive = 1
    sublinear: bool = False


class FeatureHeadConfig(Settings):
    """The model on top of the features.

    Attributes:
        kind: "linear" is logistic regression, or ridge regression for a score; "mlp" has one hidden layer.
        strengths: inverse strengths of the L2 penalty of the linear model; the best on validation is taken.
        units: of the hidden layer.
        dropout: of the hidden layer.
        epochs: of the MLP; the best on validation is taken.
        batch: examples per step of the MLP.
        lr: of the MLP (AdamW).
        weight_decay: of the MLP.
    """

    kind: Literal["linear", "mlp"] = "linear"
    strengths: Annotated[tuple[Annotated[float, Field(gt=0)], ...], Field(min_length=1)] = (0.01, 0.1, 1.0, 10.0)
    units: Positive = 256
    dropout: Share = 0.1
    epochs: Positive = 30
    batch: Positive = 32
    lr: Annotated[float, Field(gt=0)] = 1e-3
    weight_decay: Annotated[float, Field(ge=0)] = 0.01


class FeaturesConfig(Settings):
    """A feature-based run. Exactly one of the sections `hidden`, `vectors` and `tfidf` says what the features are.

    Attributes:
        init: the language model, with `hidden`.
    """

    run: RunConfig
    task: TaskDataConfig
    init: InitConfig | None = None
    hidden: HiddenConfig | None = None
    vectors: VectorsConfig | None = None
    tfidf: TfidfConfig | None = None
    head: FeatureHeadConfig = FeatureHeadConfig()
    tracking: TrackingConfig = TrackingConfig()

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if sum(one is not None for one in (self.hidden, self.vectors, self.tfidf)) != 1:
            raise ValueError("give exactly one of the sections hidden, vectors and tfidf")
        if (self.init is None) == (self.hidden is not None):
            raise ValueError("init belongs to hidden, which needs it")
        if self.tfidf is not None and self.head.kind == "mlp":
            raise ValueError("TF-IDF features are too many for an MLP: use head.kind linear")
        return self

    @property
    def method(self) -> Literal["hidden", "vectors", "tfidf"]:
        """Which section is there."""
        return "hidden" if self.hidden is not None else "vectors" if self.vectors is not None else "tfidf"
