"""What a machine lacks."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from launch.plan import main
from pipeline.plan import machine
from pipeline.plan.doctor import COMMANDS, examine, text
from pipeline.plan.machine import Facts

GOOD = Facts(
    python=(3, 12),
    packages={"torch<2.15,>=2.11": "2.13.0+cu130", "deepspeed==0.19.8": "0.19.8", "mlflow<4,>=3.13": "3.14.0"},
    commands={name: f"/bin/{name}" for name in machine.COMMANDS},
    gpus=["H100, 81559 MiB, 580.65", "H100, 81559 MiB, 580.65"],
    torch={"cuda": "13.0", "available": True, "nccl": [2, 28, 3], "bf16": True},
    infiniband=["mlx5_0 port 1"],
    tracking="http://tracking:5000",
)


def lacking(facts: Facts) -> dict[str, str]:
    return {one.name: one.cost for one in examine(facts) if one.found is None}


def test_a_good_machine_lacks_nothing() -> None:
    assert lacking(GOOD) == {}
    shown = text(examine(GOOD))
    assert "ok       GPU: 2: H100, 81559 MiB, 580.65" in shown.splitlines()
    assert shown.endswith("A run is possible here.")


@pytest.mark.parametrize(
    ("change", "name", "cost"),
    [
        ({"gpus": [], "commands": {**GOOD.commands, "nvidia-smi": None}}, "GPU", "nvidia-smi is missing"),
        ({"gpus": []}, "GPU", "nvidia-smi sees none"),
        ({"torch": {**GOOD.torch, "cuda": None, "available": False}}, "torch on the GPU", "built without CUDA"),  # type: ignore[dict-item]
        ({"torch": {**GOOD.torch, "available": False}}, "torch on the GPU", "driver is too old for CUDA 13.0"),  # type: ignore[dict-item]
        ({"torch": {**GOOD.torch, "bf16": False}}, "bf16", "fp16 or fp32 only"),  # type: ignore[dict-item]
        ({"torch": {**GOOD.torch, "nccl": None}}, "NCCL", "more than one GPU cannot be used"),  # type: ignore[dict-item]
        ({"shared_memory": 64 << 20}, "/dev/shm", "0.1 GiB free: NCCL fails"),
        ({"cpus": 4}, "CPU threads", "2.0 for each GPU"),
        ({"infiniband": []}, "InfiniBand", "Ethernet"),
        ({"locked_memory": 64 << 10}, "locked memory", "ulimit -l unlimited"),
        ({"open_files": 1024}, "open files", "1024: datasets of many shards fail; ulimit -n 4096"),
        ({"disk": 1 << 30}, "disk", "1.0 GiB free here"),
        ({"memory": 1 << 30}, "memory", "1.0 GiB free"),
        ({"tracking_error": "Connection refused"}, "MLflow at http://tracking:5000", "Connection refused: runs go on"),
        ({"packages": {**GOOD.packages, "mlflow<4,>=3.13": None}}, "mlflow", "tracking.mlflow=false"),
        ({"packages": {**GOOD.packages, "torch<2.15,>=2.11": "2.9.1"}}, "torch", "2.9.1 is outside the tested <2.15,"),
        *(({"commands": {**GOOD.commands, name: None}}, name, cost) for name, cost in COMMANDS.items()),
    ],
)
def test_each_lack_is_one_line_with_its_cost_and_stops_nothing(change: dict[str, object], name: str, cost: str) -> None:
    facts = replace(GOOD, **change)  # type: ignore[arg-type]
    found = lacking(facts)
    assert list(found) == [name]
    assert cost in found[name]
    shown = text(examine(facts)).splitlines()
    assert [line for line in shown if not line.startswith("ok ")] == [
        f"missing  {name}: {found[name]}",
        "A run is possible here.",
    ]


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"python": (3, 10)}, "Python"),
        ({"packages": {**GOOD.packages, "deepspeed==0.19.8": None}}, "deepspeed"),
        ({"torch": None, "import_error": "ImportError: libcudart.so"}, "import of torch and deepspeed"),
    ],
)
def test_what_makes_every_run_impossible_is_said_first_and_is_code_2(
    change: dict[str, object], name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    facts = replace(GOOD, open_files=100, **change)  # type: ignore[arg-type]
    monkeypatch.setattr(machine, "look", lambda: facts)
    with pytest.raises(SystemExit) as end:
        main(["--doctor"])
    assert end.value.code == 2
    shown = capsys.readouterr().out.splitlines()
    assert shown[0].startswith(f"stops    {name}: ")
    assert shown[1].startswith("missing  open files: ")
    assert shown[-1] == "No run is possible here."


@pytest.mark.slow
def test_this_machine_which_runs_these_tests_can_run(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["--doctor", "--json"])
    assert end.value.code == 0
    found = {one["name"]: one for one in json.loads(capsys.readouterr().out)}
    assert found["import of torch and deepspeed"]["found"] == "works"
    assert "torch 2" in found["packages within their tested ranges"]["found"]


class _Store(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(int(self.path.split("/")[1]) if self.path != "/health" else 200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def store() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), _Store)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def test_the_tracking_store_is_tried(store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert machine._tracking(store) == (store, None)
    assert machine._tracking(f"{store}/401")[1] is None  # it is there, and wants a password
    assert machine._tracking(f"{store}/503")[1] == "it answers 503"
    assert machine._tracking("http://me:secret@127.0.0.1:9") == ("http://127.0.0.1:9", "Connection refused")
    monkeypatch.chdir(tmp_path)
    assert machine._tracking(None) == (f"sqlite:///{tmp_path}/runs/mlflow.db", None)
    assert "does not write to plain folders" in str(machine._tracking("mlruns")[1])


def test_ports_that_are_up_are_named(tmp_path: Path) -> None:
    for device, state in (("mlx5_0", "4: ACTIVE"), ("mlx5_1", "1: DOWN")):
        port = tmp_path / device / "ports" / "1"
        port.mkdir(parents=True)
        (port / "state").write_text(state + "\n")
    assert machine._infiniband(tmp_path) == ["mlx5_0 port 1"]
