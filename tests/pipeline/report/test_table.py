import dataclasses
import io

import pytest
from report_runs import all_runs, comparison, data_run, finetune_run, pretrain_run
from rich.console import Console

from pipeline.report import table
from pipeline.report.runs import RunView
from pipeline.report.sections import analyse


def rows(found: table.Table) -> list[dict[str, str]]:
    return [dict(zip(found.columns, row, strict=True)) for row in found.rows]


def test_the_funnel_has_counts_and_reasons_most_frequent_first() -> None:
    first = rows(table.data_table("root", comparison().data["/chain/data"]))[0]
    assert first == {
        "stage": "submissions",
        "rows in": "61,234",
        "rows out": "48,110",
        "time (s)": "1.5",
        "left out, by reason": "self post 9,120, no url 4,004",
    }


def test_pretraining_shows_the_settings_that_differ_and_the_numbers() -> None:
    found = table.pretrain_table(comparison().pretrain)
    assert "optimizer.lr" in found.columns
    assert not {"model.n_layer", "run.name", "data.unigram_entropy", "status"} & set(found.columns)
    fast = rows(found)[1]
    assert (fast["run"], fast["optimizer.lr"], fast["tokens"]) == ("fast", "1e-3", "3,000")
    assert (fast["val loss (nats)"], fast["val perplexity"]) == ("4.000", "54.6")
    assert (fast["val bits/byte"], fast["tokens/s"]) == ("1.250", "12,345")
    assert "6.500 nats" in found.note


def test_an_unfinished_run_brings_a_column_for_the_status() -> None:
    runs = [pretrain_run("a", "1", 4.0), dataclasses.replace(pretrain_run("b", "1", 4.0), status="KILLED")]
    assert [row["status"] for row in rows(table.pretrain_table(runs))] == ["FINISHED", "KILLED"]


def test_finetuning_names_task_initial_weights_and_metric_and_the_floor() -> None:
    runs = [finetune_run("pretrained", 0.8), finetune_run("random", 0.55)]
    likeness = {"best/step": 3, "best/pearson": 0.8125, "test/pearson": 0.75, "val/pearson": 0.5}
    runs.append(dataclasses.replace(runs[0], params={"task.name": "sts-b"}, metrics=likeness))
    first, second, third = rows(table.finetune_table(runs))
    assert (first["initial weights"], second["initial weights"]) == ("pretrained", "random")
    assert (first["metric"], first["best validation"], first["test"]) == ("accuracy", "85.0 %", "80.0 %")
    assert first["majority class"] == "20.0 %"
    assert (third["task"], third["metric"], third["best validation"], third["test"]) == (
        "sts-b",
        "pearson",
        "0.812",
        "0.750",
    )
    assert third["majority class"] == "-"


def test_evaluation_names_its_model_and_stands_beside_chance() -> None:
    found = comparison()
    (row,) = rows(table.evaluate_table(found.evaluate, found.runs))
    assert (row["model"], row["ppl/token"], row["ppl/word"], row["ppl/byte"]) == ("fast", "61.25", "402.5", "2.710")
    assert (row["choice accuracy"], row["chance"]) == ("41.2 ± 2.1 %", "25.0 %")


def test_lineage_names_digest_and_run_of_what_a_run_was_made_from() -> None:
    run = RunView(
        "0123456789", "gpt", "pretrain", tags={"upstream.shards": "f" * 64, "upstream.shards.run_id": "e" * 32}
    )
    (row,) = rows(table.lineage_table([run]))
    assert (row["run id"], row["made from"]) == ("01234567", "shards ffffffff (run eeeeeeee)")


def test_lineage_says_each_origin_once_where_it_came_in() -> None:
    raw = data_run("submissions", 0, (9, 9), {})
    raw.tags["upstream.dumps"] = "r" * 64
    links = data_run("links", 1, (9, 5), {"submissions": "digest-submissions"})
    run = RunView(
        "id-gpt",
        "gpt",
        "pretrain",
        tags={
            "upstream.links": "digest-links",
            "upstream.submissions": "digest-submissions",
            "upstream.dumps": "r" * 64,
        },
    )
    made_from = {row["run"]: row["made from"] for row in rows(table.lineage_table([raw, links, run]))}
    assert made_from == {"submissions": "dumps rrrrrrrr", "links": "submissions digest-s", "gpt": "links digest-l"}


@pytest.mark.parametrize("runs", [[], [data_run("links", 0, (0, 0), {})], [RunView("x", "bare", "evaluate")]])
def test_few_runs_or_bare_ones_make_fewer_tables(runs: list[RunView]) -> None:
    found = analyse(comparison(runs)).tables
    assert len(found) == (2 if runs else 0)
    for one in found:
        assert all(len(row) == len(one.columns) for row in one.rows)


def test_plain_text_is_aligned_and_a_terminal_gets_every_cell() -> None:
    for found in analyse(comparison(all_runs())).tables:
        lines = table.plain(found).splitlines()[1 : 2 + len(found.rows)]
        start = lines[0].index(found.columns[1].split()[0])
        if found.left > 1:
            assert all(line[start - 1] == " " and line[start] != " " for line in lines)
        out = io.StringIO()
        table.show(found, Console(file=out, force_terminal=True, width=400))
        assert all(cell in out.getvalue() for row in found.rows for cell in row)


def test_an_experiment_stands_for_its_runs() -> None:
    where = "from scratch/1,000/test"
    accuracy = {"median": 0.75, "min": 0.7, "max": 0.8}
    parent = RunView(
        run_id="id-parent",
        uid="parent",
        name="label-budget",
        stage="experiment",
        tags={"seeds": "1, 2, 3", "title": "IMDB"},
        metrics={
            **{f"{where}/accuracy/{kind}": value for kind, value in accuracy.items()},
            f"{where}/majority/median": 0.5,
            "from scratch/300/test/accuracy/median": 0.6,
            "TF-IDF/test/loss/median": 0.5,
        },
    )
    child = dataclasses.replace(finetune_run("other", 0.75), tags={"parent_uid": "parent"})
    found = comparison([*all_runs(), parent, child])
    assert child.name not in {run.name for run in found.finetune}
    (run,) = found.experiments
    assert [tuple(row.values()) for row in rows(table.experiment_table(run))] == [
        ("TF-IDF", "loss", "0.500", "-", "-", "-"),
        ("from scratch/300", "accuracy", "60.0 %", "-", "-", "-"),
        ("from scratch/1,000", "accuracy", "75.0 %", "70.0 %", "80.0 %", "50.0 %"),
    ]
    assert "Experiment label-budget: IMDB" in [one.title for one in analyse(found).tables]
