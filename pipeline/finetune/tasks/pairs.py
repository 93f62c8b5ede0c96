"""Data sets of two texts: paraphrase, similarity, entailment."""

from __future__ import annotations

from pipeline.finetune.tasks.form import Form, Registered, table
from pipeline.finetune.tasks.single import GLUE_LICENCE, NO_TEST, glue_folders

DUPLICATE = {"0": "different", "1": "duplicate"}
PARAPHRASE = {"0": "different", "1": "paraphrase"}
THREE_WAY = {name: name for name in ("entailment", "neutral", "contradiction")}
TWO_WAY = {name: name for name in ("not_entailment", "entailment")}


_QUORA = {"texts": ["question1", "question2"], "label": "is_duplicate", "labels": DUPLICATE, "empty": "drop"}
QQP = Registered(
    title="Quora Question Pairs",
    metrics=("f1", "accuracy"),
    licence="Quora's terms: non-commercial",
    source="Iyer et al. 2017; GLUE, Wang et al. 2018; BiMPM partition, Wang et al. 2017",
    forms=(
        Form(
            "glue",
            table("similarity", files={"train": "train.tsv", "test": "dev.tsv"}, **_QUORA),
            folders=glue_folders("QQP"),
            held_out={"validation": 0.02},
            note=NO_TEST,
        ),
        Form(
            "original",
            table(
                "similarity",
                files={"train": "quora_duplicate_questions.tsv"},
                format="csv",
                delimiter="\t",
                id="id",
                **_QUORA,
            ),
            folders=("", "qqp", "quora"),
            held_out={"validation": 0.05, "test": 0.05},
            note="the original has no split: validation and test are held out by the hash of the pair",
        ),
        *(
            Form(
                name,
                table(
                    "similarity",
                    files=files,
                    header=("label", "question1", "question2", "id"),
                    texts=["question1", "question2"],
                    labels=DUPLICATE,
                    id="id",
                ),
                folders=("Quora_question_pair_partition", "qqp", "quora"),
                sha256={
                    "dev.tsv": "2b57102923c55472fbb947353f1b00fae6daf35ca83e98bc9178727075efcdb5",
                    "test.tsv": "386d96e2aebfa9d429391ee8be41ff0e4f67d113d824f28ad9cffc93f16e554d",
                },
                held_out=held_out,
                note=note,
            )
            for name, files, held_out, note in (
                (
                    "bimpm",
                    {"train": "train.tsv", "validation": "dev.tsv", "test": "test.tsv"},
                    {},
                    "BiMPM's partition: dev and test are balanced",
                ),
                (
                    "bimpm-dev",
                    {"train": "dev.tsv", "test": "test.tsv"},
                    {"validation": 0.1},
                    "BiMPM's partition without its train file: train and validation come from its dev set, so results "
                    "are not comparable with those on the whole data set",
                ),
            )
        ),
    ),
)

_MSR = {
    "format": "tsv",
    "texts": ["#1 String", "#2 String"],
    "label": "Quality",
    "labels": PARAPHRASE,
}
_MRPC_TEST = {"msr_paraphrase_test.txt": "a04e271090879aaba6423d65b94950c089298587d9c084bf9cd7439bd785f784"}
MRPC = Registered(
    title="Microsoft Research Paraphrase Corpus",
    metrics=("f1", "accuracy"),
    licence="Microsoft's terms: research",
    source="Dolan and Brockett 2005; GLUE, Wang et al. 2018",
    forms=(
        Form(
            "glue",
            table(
                "similarity",
                files={"train": "train.tsv", "validation": "dev.tsv", "test": "msr_paraphrase_test.txt"},
                **_MSR,
            ),
            folders=glue_folders("MRPC"),
            sha256={
                "train.tsv": "f178bcc72ab4c2c1c778b480912e0c8e1dba3ead150dc1d490d70682ab888c1e",
                "dev.tsv": "9e8f284788040f7c9ecde2e1b3c07237c756f926bd9ef8548ef5d34b56f69f17",
                **_MRPC_TEST,
            },
        ),
        Form(
            "original",
            table(
                "similarity",
                files={"train": "msr_paraphrase_train.txt", "test": "msr_paraphrase_test.txt"},
                **_MSR,
            ),
            folders=("MSRParaphraseCorpus", "mrpc", *glue_folders("MRPC"), ""),
            sha256={
                "msr_paraphrase_train.txt": "60a9b09084528f0673eedee2b69cb941920f0b8cd0eeccefc464a98768457f89",
                **_MRPC_TEST,
            },
            held_out={"validation": 0.1},
        ),
    ),
)

_STS_FIRST = ("genre", "filename", "year", "index", "score")
_STS = {"texts": ["sentence1", "sentence2"], "label": "score", "target": "score"}
STSB = Registered(
    title="Semantic Textual Similarity Benchmark, scores from 0 to 5",
    metrics=("pearson", "spearman"),
    licence="CC-BY-SA-4.0 and those of its sources",
    source="Cer et al. 2017; GLUE, Wang et al. 2018",
    forms=(
        Form(
            "original",
            # Some rows name their sources behind the sentences.
            table(
                "similarity",
                files={"train": "sts-train.csv", "validation": "sts-dev.csv", "test": "sts-test.csv"},
                format="tsv",
                header=[*_STS_FIRST, "sentence1", "sentence2", "source1", "source2"],
                **_STS,
            ),
            folders=("stsbenchmark", "sts-b/stsbenchmark", "stsb"),
        ),
        Form(
            "glue",
            table("similarity", files={"train": "train.tsv", "test": "dev.tsv"}, **_STS),
            folders=glue_folders("STS-B"),
            sha256={
                "train.tsv": "41c4d978b6162abdcada7e49a982211954cca5459c228db478af333124b257a2",
                "dev.tsv": "fe7dc0632a5033562f3cadff991f6e8d9b9b6311861660e78c3c82eb7db67f59",
            },
            held_out={"validation": 0.1},
            note=NO_TEST,
        ),
    ),
)

KOREAN_PAIRS = Registered(
    title="Korean question pairs",
    metrics=("f1", "accuracy"),
    licence="MIT",
    source="github.com/songys/Question_pair",
    forms=(
        Form(
            "original",
            table(
                "similarity",
                files={"train": "kor_pair_train.csv", "test": "kor_Pair_test.csv"},
                texts=["question1", "question2"],
                label="is_duplicate",
                labels=DUPLICATE,
            ),
            folders=("kor_question_pair", "Question_pair", ""),
            sha256={
                "kor_pair_train.csv": "b0fa4fa4e6fccb9b77f4e4d69c97c558b32d1356ee9041f5faf68fc0446b6fd7",
                "kor_Pair_test.csv": "6e25fc564778bbec695ad3b1d0db7cb8956adabb2186e9c0d582c7346a90a073",
            },
            held_out={"validation": 0.1},
        ),
    ),
)

_RTE = {"texts": ["sentence1", "sentence2"], "labels": TWO_WAY}
RTE = Registered(
    title="Recognizing Textual Entailment 1, 2, 3 and 5",
    metrics=("accuracy",),
    licence=GLUE_LICENCE,
    source="Dagan et al. 2005 and later; GLUE, Wang et al. 2018",
    forms=(
        Form(
            "glue",
            table("entailment", files={"train": "train.tsv", "test": "dev.tsv"}, **_RTE),
            folders=glue_folders("RTE"),
            sha256={
                "train.tsv": "41e3a9b063433392343fad9e962cf2f58b681c78d8f71592f4186f0837246c5c",
                "dev.tsv": "80230dfa1347282e7b532b06a1004a76a710087541189bf874223ddf0e3819fb",
            },
            held_out={"validation": 0.1},
            note=NO_TEST,
        ),
    ),
)

QNLI = Registered(
    title="Question NLI, from SQuAD",
    metrics=("accuracy",),
    licence="CC-BY-SA-4.0",
    source="Rajpurkar et al. 2016; GLUE, Wang et al. 2018",
    forms=(
        Form(
            "glue",
            # Which of the two is the premise does not follow from the name: GLUE asks whether the sentence answers.
            table(
                "entailment",
                files={"train": "train.tsv", "test": "dev.tsv"},
                texts=["question", "sentence"],
                labels=TWO_WAY,
            ),
            folders=glue_folders("QNLI"),
            sha256={"dev.tsv": "ac19409dcb04631eaaa094bdebdcf621086bc352503dfb6a1a648b614986f4fd"},
            held_out={"validation": 0.02},
            note=NO_TEST,
        ),
    ),
)

_NLI = {
    "texts": ["sentence1", "sentence2"],
    "label": "gold_label",
    "labels": THREE_WAY,
    "drop_labels": ["-"],
}
MNLI = Registered(
    title="MultiNLI",
    metrics=("accuracy",),
    licence="OANC and others, see its paper",
    source="Williams et al. 2018; GLUE, Wang et al. 2018",
    forms=tuple(
        Form(
            name,
            table(
                "entailment",
                files={
                    "train": f"{stem}train.{ending}",
                    "test": f"{stem}dev_matched.{ending}",
                    "test_mismatched": f"{stem}dev_mismatched.{ending}",
                },
                **_NLI,
            ),
            folders=folders,
            held_out={"validation": 0.02},
            note=NO_TEST,
        )
        for name, stem, ending, folders in (
            ("original", "multinli_1.0_", "jsonl", ("multinli_1.0", "mnli/multinli_1.0", "mnli")),
            ("glue", "", "tsv", glue_folders("MNLI")),
        )
    ),
)

SNLI = Registered(
    title="Stanford Natural Language Inference",
    metrics=("accuracy",),
    licence="CC-BY-SA-4.0",
    source="Bowman et al. 2015",
    forms=(
        Form(
            "original",
            table(
                "entailment",
                files={
                    "train": "snli_1.0_train.jsonl",
                    "validation": "snli_1.0_dev.jsonl",
                    "test": "snli_1.0_test.jsonl",
                },
                **_NLI,
            ),
            folders=("snli_1.0", "snli/snli_1.0", "snli"),
        ),
    ),
)

SCITAIL = Registered(
    title="SciTail",
    metrics=("accuracy",),
    licence="none given; Allen Institute for AI",
    source="Khot et al. 2018",
    forms=(
        Form(
            "original",
            table(
                "entailment",
                files={
                    "train": "tsv_format/scitail_1.0_train.tsv",
                    "validation": "tsv_format/scitail_1.0_dev.tsv",
                    "test": "tsv_format/scitail_1.0_test.tsv",
                },
                header=("premise", "hypothesis", "label"),
                texts=["premise", "hypothesis"],
                labels={"neutral": "neutral", "entails": "entails"},
            ),
            folders=("SciTailV1.1", "scitail/SciTailV1.1", "scitail"),
        ),
    ),
)
