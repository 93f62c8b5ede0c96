"""Data sets of single texts."""

from __future__ import annotations

from pipeline.finetune.tasks.form import Form, Registered, table

SENTIMENT = {"0": "negative", "1": "positive"}
GLUE_LICENCE = "as of the data set; GLUE adds none"
NO_TEST = "test is the official dev set (GLUE publishes no test labels), validation is held out of train"


def glue_folders(name: str) -> tuple[str, ...]:
    """Where GLUE's files of a task may lie."""
    return (f"glue/{name}", f"glue_data/{name}", f"GLUE/{name}", name)


IMDB = Registered(
    title="Large Movie Review Dataset",
    metrics=("accuracy",),
    licence="none given; the authors ask to be cited",
    source="Maas et al. 2011",
    forms=(
        Form(
            "original",
            table(
                "classification",
                # Each file names its folder: unsup/ has no labels.
                files={split: [f"{split}/neg/*.txt", f"{split}/pos/*.txt"] for split in ("train", "test")},
                format="texts",
                labels={"neg": "negative", "pos": "positive"},
            ),
            folders=("aclImdb", "imdb/aclImdb", "imdb"),
            held_out={"validation": 0.1},
        ),
        Form(
            "jsonl",
            table(
                "classification",
                files={"train": "imdb_train.jsonl", "test": "imdb_test.jsonl"},
                texts="review",
                label="sentiment",
                labels=SENTIMENT,
                id="id",
            ),
            folders=("imdb", ""),
            sha256={
                "imdb_train.jsonl": "3468b37e7390ceb901f0cad4a70b6bc6871500328f316b559605e56dc5a4b9b0",
                "imdb_test.jsonl": "b9b36ee3cdf22a5d6b1ae3cd634df09036a38d57163997deb4e9c6694abcbf6e",
            },
            held_out={"validation": 0.1},
        ),
        Form(
            "bag-of-popcorn",
            table(
                "classification",
                files={"train": "labeledTrainData.tsv"},
                format="csv",
                delimiter="\t",
                escape="\\",
                texts="review",
                label="sentiment",
                labels=SENTIMENT,
                id="id",
            ),
            folders=("", "imdb", "word2vec-nlp-tutorial"),
            held_out={"validation": 0.1, "test": 0.2},
            note="Kaggle's test has no labels, so the test is held out of its train: not comparable with the 25,000 "
            "reviews of the original test",
        ),
    ),
)

SST2 = Registered(
    title="Stanford Sentiment Treebank, two classes",
    metrics=("accuracy",),
    licence=GLUE_LICENCE,
    source="Socher et al. 2013; GLUE, Wang et al. 2018",
    forms=(
        Form(
            "glue",
            table(
                "classification", files={"train": "train.tsv", "test": "dev.tsv"}, texts="sentence", labels=SENTIMENT
            ),
            folders=glue_folders("SST-2"),
            sha256={
                "train.tsv": "48eac26399f8456935f81dd9e3a745c1430adb6c62e233ccfe22db4a0d15d1d1",
                "dev.tsv": "54a9c12c77e402fc14d6a66a506f24d999f596b0176eb777c972cccc2f9cc4b0",
            },
            held_out={"validation": 0.02},
            note=NO_TEST,
        ),
    ),
)

COLA = Registered(
    title="Corpus of Linguistic Acceptability",
    metrics=("matthews", "accuracy"),
    licence=GLUE_LICENCE,
    source="Warstadt et al. 2018; GLUE, Wang et al. 2018",
    forms=(
        Form(
            "glue",
            table(
                "classification",
                files={"train": "train.tsv", "test": "dev.tsv"},
                header=("source", "label", "mark", "sentence"),
                texts="sentence",
                labels={"0": "unacceptable", "1": "acceptable"},
            ),
            folders=glue_folders("CoLA"),
            sha256={
                "train.tsv": "cb368ebeb9f27d7ad03720d27ddc95687a311bdb100781a2fe59a5f5b1bc0624",
                "dev.tsv": "8c013e21dc39957cac37378d87bebe225b694a0d5fe13eded66c2856628833fd",
            },
            held_out={"validation": 0.1},
            note=NO_TEST,
        ),
        Form(
            "original",
            table(
                "classification",
                files={
                    "train": "raw/in_domain_train.tsv",
                    "validation": "raw/in_domain_dev.tsv",
                    "test": "raw/out_of_domain_dev.tsv",
                },
                header=("source", "label", "mark", "sentence"),
                texts="sentence",
                labels={"0": "unacceptable", "1": "acceptable"},
            ),
            folders=("cola_public", "cola/cola_public", "cola"),
            note="test is the out-of-domain dev set",
        ),
    ),
)

AG_NEWS = Registered(
    title="AG's News Topic Classification",
    metrics=("accuracy",),
    licence="none given; non-commercial use",
    source="Zhang et al. 2015",
    forms=(
        Form(
            "original",
            table(
                "classification",
                files={"train": "train.csv", "test": "test.csv"},
                header=("class", "title", "description"),
                texts=[["title", "description"]],
                label="class",
                labels={"1": "World", "2": "Sports", "3": "Business", "4": "Sci/Tech"},
            ),
            folders=("ag_news_csv", "ag_news", "ag_news/ag_news_csv"),
            held_out={"validation": 0.05},
        ),
    ),
)

_NSMC = {"texts": "document", "labels": SENTIMENT, "id": "id"}
NSMC = Registered(
    title="Naver Sentiment Movie Corpus",
    metrics=("accuracy",),
    licence="CC0-1.0",
    source="Park 2015, github.com/e9t/nsmc",
    forms=(
        Form(
            "original",
            table(
                "classification",
                files={"train": "ratings_train.txt", "test": "ratings_test.txt"},
                format="tsv",
                empty="drop",
                **_NSMC,
            ),
            folders=("nsmc", ""),
            held_out={"validation": 0.05},
        ),
        Form(
            "rebuilt",
            table("classification", files={"train": "train.tsv", "test": "test.tsv"}, **_NSMC),
            folders=("nsmc_rebuilt",),
            sha256={
                "train.tsv": "fbeef2d07d18e78f015525663430a68e2fabf27798282da462cb247e17edfd89",
                "test.tsv": "2f73e1bc7756f7bbe155386e1ab23a7f7b127cbaac4d4755eccd0d7f26f5eb94",
            },
            held_out={"validation": 0.05},
            note="40,000 and 10,000 reviews drawn anew from the raw reviews: not the published split, so not "
            "comparable with its results",
        ),
    ),
)
