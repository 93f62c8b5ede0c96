"""Runs as plain data for the tests of the report."""

from hypothesis import strategies as st

from pipeline.report.runs import Comparison, RunView, sort_runs

ROOT = "/chain/data"


def data_run(name: str, order: int, rows: tuple[int, int], upstream: dict[str, str], **dropped: int) -> RunView:
    return RunView(
        run_id=f"id-{name}",
        name=name,
        stage=f"data/{name}",
        start_ms=order,
        tags={"data_root": ROOT, "order": str(order), "digest": f"digest-{name}"}
        | {f"upstream.data/{key}": value for key, value in upstream.items()},
        metrics={"rows_in": rows[0], "rows_out": rows[1], "seconds": 1.5}
        | {f"dropped/{reason}": count for reason, count in dropped.items()},
    )


def pretrain_run(name: str, lr: str, loss: float) -> RunView:
    train = [(t, 9.0 - (9.0 - loss) * t / 3000) for t in range(100, 3001, 100)]
    return RunView(
        run_id=f"id-{name}",
        name=name,
        stage="pretrain",
        start_ms=100,
        params={"optimizer.lr": lr, "model.n_layer": "4", "run.name": name, "data.unigram_entropy": "6.5"},
        tags={
            "digest": f"digest-{name}",
            "upstream.links": "digest-links",
            "upstream.submissions": "digest-submissions",
        },
        metrics={"train/loss": train[-1][1], "val/loss": loss, "val/bits_per_byte": 1.25},
        tokens=3000,
        curves={
            "train/loss": train,
            "val/loss": [(1000, loss + 1), (3000, loss)],
            "perf/tokens_per_s": [(1, 10.0), (2, 12345.0), (3, 99999.0)],
        },
    )


def finetune_run(weights: str, accuracy: float) -> RunView:
    return RunView(
        run_id=f"id-{weights}",
        name=f"finetune-{weights}",
        stage="finetune",
        start_ms=200,
        params={"init.weights": weights},
        tags={"digest": f"digest-{weights}"}
        | ({"upstream.pretrain": "digest-fast"} if weights == "pretrained" else {}),
        metrics={"test/accuracy": accuracy, "test/majority": 0.2, "train/loss": 0.5},
        curves={"val/accuracy": [(1, 0.3), (2, accuracy + 0.05), (3, accuracy)], "train/loss": [(1, 2.0), (3, 0.5)]},
    )


def evaluate_run() -> RunView:
    return RunView(
        run_id="id-eval",
        name="zero-shot",
        stage="evaluate",
        start_ms=300,
        tags={"upstream.pretrain": "digest-fast"},
        metrics={"lm/ppl_token": 61.25, "lm/ppl_word": 402.5, "lm/ppl_byte": 2.71, "lm/bits_per_byte": 1.44}
        | {"choice/accuracy": 0.412, "choice/stderr": 0.021, "choice/chance": 0.25},
    )


def all_runs() -> list[RunView]:
    return [
        data_run("submissions", 0, (61_234, 48_110), {}, **{"self post": 9_120, "no url": 4_004}),
        data_run("links", 1, (48_110, 21_377), {"submissions": "digest-submissions"}, **{"karma <3>": 26_733}),
        pretrain_run("slow", "1e-4", 5.0),
        pretrain_run("fast", "1e-3", 4.0),
        finetune_run("pretrained", 0.8),
        finetune_run("random", 0.55),
        evaluate_run(),
    ]


def comparison(runs: list[RunView] | None = None) -> Comparison:
    return sort_runs("sqlite:////chain/mlflow.db", "webtext", all_runs() if runs is None else runs)


@st.composite
def chains(draw: st.DrawFn) -> list[RunView]:
    """Runs made from earlier ones."""
    runs: list[RunView] = []
    for i in range(draw(st.integers(1, 9))):
        origins = draw(st.sets(st.integers(0, i - 1), max_size=3)) if i else set()
        tags = {"digest": f"d{i}"} | {f"upstream.s{j}": f"d{j}" for j in origins}
        runs.append(RunView(f"r{i}", f"run & <{i}>", "data/x", tags=tags))
    return runs
