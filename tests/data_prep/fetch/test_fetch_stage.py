"""The stages as a whole: each link ends once, what is fetched is kept, a kill loses only what was in flight."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import fetch_run
import pyarrow.parquet as pq
import pytest
from fetch_run import fetch, fetch_stage, queues, write_links
from front_chain import html, post, write_dump
from hostile_server import HostileServer, crawl, page, raw, redirect, respond
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data_prep.chain import Chain
from data_prep.config import DataConfig
from data_prep.errors import UserError
from data_prep.fetch.guard import Guard
from data_prep.fetch.stage import FetchStage
from data_prep.manifest import StageManifest
from data_prep.runner import run_stage
from data_prep.urls import canonical_url, host_of, registered_domain
from data_prep.warc import read_responses


def responses(folder: Path, manifest: StageManifest) -> list[Any]:
    paths = [ref.path for ref in manifest.files(str(folder / "fetch"), "warc/")]
    return [page for path in paths for page in read_responses(path, 1 << 20, lambda url: True)]


def removed(folder: Path, manifest: StageManifest) -> dict[str, tuple[str, str]]:
    """URL -> reason and detail, of the removal log."""
    rows = [
        row for ref in manifest.files(str(folder / "fetch"), "removed/") for row in pq.read_table(ref.path).to_pylist()
    ]
    return {row["url"]: (row["reason"], row["detail"]) for row in rows}


def test_a_registered_domain_falls_into_one_queue(tmp_path: Path) -> None:
    rng = random.Random(0)
    urls = [f"http://s{rng.randrange(9)}.site{rng.randrange(30)}.com/{i}" for i in range(400)]
    write_links(tmp_path / "links", urls[:150], urls[150:])
    manifest = queues(tmp_path, 5)
    where: dict[str, set[str]] = {}
    found = []
    for ref in manifest.files(str(tmp_path / "queues"), "0"):
        for row in pq.read_table(ref.path).to_pylist():
            where.setdefault(registered_domain(host_of(row["url"])), set()).add(Path(ref.path).name[:5])
            found.append(row["posted_url"])
    assert sorted(found) == sorted(urls)
    assert all(len(queue) == 1 for queue in where.values())
    assert len(set.union(*where.values())) == 5


def test_every_link_ends_once(server: HostileServer, tmp_path: Path) -> None:
    server.sites["a.test", "/"] = page("a page")
    server.sites["a.test", "/old?x=1"] = redirect("/new/../new", 301)
    server.sites["a.test", "/new"] = redirect("http://b.test/final#top", 307)
    server.sites["b.test", "/final"] = page("the final page")
    server.sites["b.test", "/text"] = respond(body=b"plain", kind="text/plain; charset=utf-8")
    server.sites["b.test", "/bin"] = respond(body=b"\0", kind="application/zip")
    good = ["http://a.test/", "http://a.test/old?x=1", "http://b.test/text"]
    bad = {"http://b.test/bin": "content-type", "http://b.test/gone": "http-404", "http://10.0.0.1/": "blocked-address"}
    write_links(tmp_path / "links", [*good[:1], *bad], good[1:])
    manifest = fetch(tmp_path, server.settings("a.test", "b.test"), partitions=3)
    totals = manifest.totals
    assert totals.rows_in == len(good) + len(bad) == totals.rows_out + sum(totals.dropped.values())
    reasons = {url: reason for url, (reason, _) in removed(tmp_path, manifest).items()}
    assert reasons == {canonical_url(url): reason for url, reason in bad.items()}
    pages = responses(tmp_path, manifest)
    assert {(p.url, p.status) for p in pages} == {
        ("http://a.test/", 200),
        ("http://a.test/old?x=1", 301),
        ("http://a.test/new", 307),
        ("http://b.test/final", 200),
        ("http://b.test/text", 200),
    }
    assert totals.extra["fetched"] == 3 and totals.extra["redirects"] == 2


def test_identical_payloads_become_revisits(server: HostileServer, tmp_path: Path) -> None:
    for path in ("/1", "/2", "/3"):
        server.sites["a.test", path] = page("the same")
    write_links(tmp_path / "links", [f"http://a.test/{i}" for i in (1, 2, 3)])
    totals = fetch(tmp_path, server.settings("a.test")).totals
    assert (totals.rows_out, totals.extra["fetched"], totals.extra["revisit"]) == (3, 1, 2)


def test_nothing_is_fetched_twice(server: HostileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server.sites["a.test", "/"] = page("x")
    write_links(tmp_path / "links", ["http://a.test/"])
    first = fetch(tmp_path, server.settings("a.test"))
    asked = server.count.total()
    assert not (tmp_path / "fetch" / "work").exists()
    # Other manners, and a later release, are no reason to ask again.
    monkeypatch.setattr("data_prep.stage.__version__", "99.0")
    again = fetch(tmp_path, server.settings("a.test", concurrency=3, retries=5, user_agent="New/2 (me@example.org)"))
    assert again.digest == first.digest
    assert server.count.total() == asked


def test_what_is_fetched_is_not_thrown_away(server: HostileServer, tmp_path: Path) -> None:
    server.sites["a.test", "/"] = page("x")
    write_links(tmp_path / "links", ["http://a.test/"])
    made = fetch(tmp_path, server.settings("a.test"))
    with pytest.raises(UserError, match="move the folder away"):
        fetch(tmp_path, server.settings("a.test", max_bytes=5))
    write_links(tmp_path / "links", ["http://a.test/", "http://a.test/2"])
    with pytest.raises(UserError, match="fetched for other links"):
        fetch(tmp_path, server.settings("a.test"))
    assert all(ref.is_intact() for ref in made.files(str(tmp_path / "fetch")))


def test_siblings_that_are_complete_give_their_space_back(server: HostileServer, tmp_path: Path) -> None:
    write_links(tmp_path / "links", [f"http://h{i}.test/" for i in range(9)])
    stage = fetch_stage(tmp_path, server.settings(*(f"h{i}.test" for i in range(9))), partitions=3)
    for i in range(9):
        server.sites[f"h{i}.test", "/"] = page(str(i))
    run_stage(stage, 1, lambda line: None, "inline")
    work = tmp_path / "fetch" / "work"
    for name in ("00000", "00001"):
        (work / name).mkdir(parents=True)
    stage._tidy()
    assert list(work.iterdir()) == []


def test_a_lost_network_ends_the_task_and_costs_no_link(server: HostileServer, tmp_path: Path) -> None:
    class Offline(Guard):
        async def look_up(self, host: str, port: int, family: socket.AddressFamily) -> Any:
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    server.sites["up.test", "/"] = page("reached before")
    rules = server.settings("up.test", retries=0)
    assert crawl(tmp_path, rules, "http://up.test/")["http://up.test/"].outcome == "fetched"
    urls = ["http://up.test/", *(f"http://h{i}.test/{j}" for i in range(30) for j in range(5))]
    with pytest.raises(UserError, match=r"could not be reached .*check this machine's network"):
        crawl(tmp_path, rules, *urls, guard=Offline((), rules.unsafe_test_hosts))
    # With the network back, all but the page that was reached is asked for.
    found = server.settings("up.test", *(f"h{i}.test" for i in range(30)))
    ended = crawl(tmp_path, found, *urls)
    assert Counter(done.outcome for done in ended.values()) == {"fetched": 1, "http-404": 150}
    assert server.count["up.test", "/"] == 1


def test_a_few_dead_domains_are_no_lost_network(server: HostileServer, tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        dead = f"127.0.0.1:{unused.getsockname()[1]}"
        rules = server.settings(retries=0, unsafe_test_hosts={f"h{i}.test:80": dead for i in range(5)})
        ended = crawl(tmp_path, rules, *(f"http://h{i}.test/{j}" for i in range(5) for j in range(40)))
    assert {done.outcome for done in ended.values()} == {"no-connection"} and len(ended) == 200


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    head=st.binary(max_size=80) | st.sampled_from([b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 302 X\r\nLocation: "]),
    rest=st.lists(
        st.binary(max_size=40)
        | st.sampled_from(
            [b"\r\n", b": ", b"Content-Type: text/html", b"Content-Length: 3", b"\r\n\r\n", b"http://", b"["]
        ),
        max_size=10,
    ),
)
def test_no_answer_breaks_the_crawl(
    head: bytes, rest: list[bytes], server: HostileServer, tmp_path_factory: pytest.TempPathFactory
) -> None:
    server.sites["evil.test", "/"] = raw(head, *rest)
    server.sites["evil.test", "/good"] = page("good")
    rules = server.settings("evil.test", retries=0)
    ended = crawl(tmp_path_factory.mktemp("f"), rules, "http://evil.test/", "http://evil.test/good")
    assert ended["http://evil.test/"].outcome != "client-error"
    assert ended["http://evil.test/good"].outcome == "fetched"


HOSTILE_URLS = [
    "http://a.test/\r\nWARC-Type: response",
    "http://a.test/ x y",
    "http://a.test/é?ü=☃",
    "http://a.test/%zz%",
    "http://a.test/" + "x" * 7000,
    "http://user:pw@a.test/secret",
    "http://a.test/#!/state",
    "http://a.test\\@b.test/",
    "http://a.test/\x00\x1f\x7f",
]


def test_hostile_urls_stay_inside_their_record(server: HostileServer, tmp_path: Path) -> None:
    class Any200(dict):  # type: ignore[type-arg]
        def get(self, key: tuple[str, str], default: Any = None) -> Any:
            return respond("404 No") if key[1] == "/robots.txt" else page(key[1])

    server.sites = Any200()
    write_links(tmp_path / "links", HOSTILE_URLS)
    manifest = fetch(tmp_path, server.settings("a.test"))
    wanted = {canonical_url(url) for url in HOSTILE_URLS}
    found = {canonical_url(page.url) for page in responses(tmp_path, manifest)}
    assert found <= wanted and None not in found
    assert len(found) + manifest.totals.dropped.get("bad-url", 0) == len(HOSTILE_URLS)
    assert "https://a.test/#!/state" in found


@pytest.mark.slow
def test_kill_in_the_middle_then_go_on(server: HostileServer, tmp_path: Path) -> None:
    """SIGKILL at several moments; the server sees no finished page again, and the result is whole."""
    hosts = [f"h{i}.test" for i in range(8)]
    urls = [f"http://{host}/{j}" for host in hosts for j in range(12)]
    for host in hosts:
        for j in range(12):
            server.sites[host, f"/{j}"] = page(f"{host} {j}")
    rules = server.settings(*hosts, concurrency=4, per_domain_rate=5.0)
    write_links(tmp_path / "links", urls)
    (tmp_path / "settings.json").write_text(rules.model_dump_json())
    queues(tmp_path, 1)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    kills = 0
    for stop_at in (15, 40, 41, 60):
        child = subprocess.Popen([sys.executable, fetch_run.__file__, str(tmp_path)], env=environment)
        deadline = time.monotonic() + 60
        while server.pages().total() < stop_at and child.poll() is None and time.monotonic() < deadline:
            time.sleep(0.005)
        if child.poll() is None:
            child.send_signal(signal.SIGKILL)
            kills += 1
        assert child.wait() == -signal.SIGKILL
    assert kills == 4
    manifest = fetch(tmp_path, rules)
    repeated = {key: n - 1 for key, n in server.pages().items() if n > 1}
    assert sum(repeated.values()) <= kills * rules.concurrency  # what was in flight at a kill, and no more
    assert (manifest.totals.rows_in, manifest.totals.rows_out) == (96, 96)
    assert sorted(page.url for page in responses(tmp_path, manifest)) == sorted(urls)
    assert json.loads((tmp_path / "fetch" / "stage.json").read_text())["totals"]["dropped"] == {}


def test_results_may_go_to_an_object_store(
    server: HostileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    server.sites["a.test", "/"] = page("x")
    write_links(tmp_path / "links", ["http://a.test/"])
    found = queues(tmp_path, 1).files(str(tmp_path / "queues"), "0")
    root = f"memory://{tmp_path.name}/fetch"
    for _ in range(2):
        stage = FetchStage(root, server.settings("a.test"), {"queues": found}, {}, partitions=1)
        manifest = run_stage(stage, 1, lambda line: None, "inline")
    (warc,) = manifest.files(root, "warc/")
    assert [page.url for page in read_responses(warc.path, 1000, lambda url: True)] == ["http://a.test/"]
    assert server.count["a.test", "/"] == 1
    assert not list((tmp_path / "tmp").rglob("*.warc.gz"))


def test_a_broken_queue_is_one_clear_error(server: HostileServer, tmp_path: Path) -> None:
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "part-00000.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(UserError, match=r"part-00000.parquet: cannot be read as Parquet"):
        queues(tmp_path, 2)


@pytest.mark.slow
def test_from_the_dump_to_the_documents(server: HostileServer, tmp_path: Path) -> None:
    """Posted links lead to documents, also through a redirect; nothing but these links is asked for."""
    hosts = ["a.example.org", "b.example.org", "c.example.org"]
    server.sites["a.example.org", "/1?utm_source=x"] = respond(body=html(1))
    server.sites["b.example.org", "/2"] = redirect("http://c.example.org/3")
    server.sites["c.example.org", "/3"] = respond(body=html(3))
    posted = ["http://a.example.org/1?utm_source=x", "http://b.example.org/2", "http://a.example.org/gone"]
    dump = write_dump(tmp_path / "RS_2012-01.zst", [post(url) for url in posted])
    config = DataConfig.model_validate(
        {
            "name": "t",
            "root": str(tmp_path / "out"),
            "inputs": {"dumps": [str(dump)]},
            "partitions": 2,
            "fetch": server.settings(*hosts).model_dump(),
        }
    )
    chain = Chain(config, 1, lambda line: None, "inline")
    for command in ("links", "fetch", "pages"):
        results = chain.run_command(command)
    found = [
        row["url"]
        for ref in results[-1].manifest.files(results[-1].folder, "part-")
        for row in pq.read_table(ref.path).to_pylist()
    ]
    assert sorted(found) == ["https://a.example.org/1", "https://b.example.org/2"]


def test_without_its_section_the_chain_fetches_nothing(tmp_path: Path) -> None:
    config = DataConfig.model_validate(
        {"name": "t", "root": str(tmp_path), "inputs": {"dumps": ["d"], "archives": ["a"]}}
    )
    chain = Chain(config, 1, lambda line: None, "inline")
    assert not {step.name for step in chain.steps} & {"fetch", "fetch-queues"}
    with pytest.raises(UserError, match="give the config a `fetch:` section"):
        chain.run_command("fetch")
