"""Every server of the race: the form it speaks, the settings it is tried with, how it starts."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from loadtests.bench.forms import BENTOML, ECHO, INSTANCES, MLFLOW, OPEN_INFERENCE, Form
from loadtests.bench.places import APPS, Place, run
from loadtests.bench.subject import accelerates, start_gateway
from loadtests.ports import free_port


@dataclass(frozen=True)
class Launch:
    """A command that serves on a port; `temporary` is removed when it has ended."""

    command: Sequence[str]
    port: int
    environment: Mapping[str, str] = field(default_factory=dict)
    folder: Path | None = None
    temporary: Path | None = None


Start = Callable[[Place, str, Path, str], Launch]


@dataclass(frozen=True)
class Server:
    """A server of the race.

    `start(place, model, scratch, setting)` says how it is started; `settings` are its documented
    ones that are tried, the fastest of them is what races. A server that is not `resident` uses
    CPU while nobody asks it, so it is started for its turns only. `ready` is asked until it says
    200; without it, the server's own form is.
    """

    name: str
    title: str
    form: Form
    start: Start
    settings: tuple[str, ...] = ("default",)
    distributions: tuple[str, ...] = ()
    peer: bool = True
    resident: bool = True
    missing: str | None = None
    ready: str | None = None


def _uvicorn(place: Place, app: str, port: int, *more: str) -> list[str]:
    return [
        *(str(place.python), "-m", "uvicorn", app, "--host", "127.0.0.1", "--port", str(port)),
        *("--loop", "uvloop", "--http", "httptools", "--no-access-log", *more),
    ]


def _model(place: Place, model: str, **more: str) -> dict[str, str]:
    return {"BENCH_MODEL": str(place.model(model)), **more}


def _echo(place: Place, model: str, scratch: Path, setting: str) -> Launch:
    port = free_port()
    return Launch([str(place.python), str(APPS / "echo.py"), str(port)], port)


def _starlette(place: Place, model: str, scratch: Path, setting: str) -> Launch:
    port = free_port()
    command = _uvicorn(place, "starlette_inline:app", port)
    return Launch(command, port, _model(place, model), APPS)


def _fastapi(place: Place, model: str, scratch: Path, setting: str) -> Launch:
    port = free_port()
    command = _uvicorn(place, "fastapi_app:app", port, "--workers", setting.split()[0])
    return Launch(command, port, _model(place, model), APPS)


def _mlserver(place: Place, model: str, scratch: Path, setting: str) -> Launch:
    """`setting` is `parallel_workers[, max_batch_size, max_batch_time]`."""
    port = free_port()
    workers, *batching = (part.split("=")[1] for part in setting.split(", "))
    server = {
        "host": "127.0.0.1",
        "http_port": port,
        "grpc_port": free_port(),
        "metrics_port": free_port(),
        "debug": False,
        "parallel_workers": int(workers),
    }
    served: dict[str, object] = {
        "name": "model",
        "implementation": "mlserver_sklearn.SKLearnModel",
        "parameters": {"uri": str(place.model(model)), "version": "1"},
    }
    if batching:
        served |= {"max_batch_size": int(batching[0]), "max_batch_time": float(batching[1])}
    (scratch / "settings.json").write_text(json.dumps(server))
    (scratch / "model-settings.json").write_text(json.dumps(served))
    return Launch([str(place.bin / "mlserver"), "start", str(scratch)], port, folder=scratch)


def _bentoml(place: Place, model: str, scratch: Path, setting: str) -> Launch:
    port = free_port()
    workers, batch = (part.split("=")[1] for part in setting.split(", "))
    command = [
        *(str(place.bin / "bentoml"), "serve", "bentoml_service:Classifier"),
        *("--working-dir", str(APPS), "--host", "127.0.0.1", "--port", str(port)),
    ]
    more = {
        "BENCH_WORKERS": workers,
        "BENCH_BATCH": batch,
        "BENTOML_HOME": str(scratch),
        "BENTOML_DO_NOT_TRACK": "true",
    }
    return Launch(command, port, _model(place, model, **more), APPS)


def _litserve(place: Place, model: str, scratch: Path, setting: str) -> Launch:
    port = free_port()
    workers, batch, queue = (part.split("=")[1] for part in setting.split(", "))
    script = str(APPS / "litserve_app.py")
    command = [str(place.python), script, str(port), workers, batch, queue]
    return Launch(command, port, _model(place, model), scratch)


def _ray(place: Place, model: str, scratch: Path, setting: str) -> Launch:
    port = free_port()
    replicas, batch, mode = (part.split("=")[1] for part in setting.split(", "))
    files = None
    tuned = {"RAY_SERVE_THROUGHPUT_OPTIMIZED": "1"} if mode in ("throughput", "haproxy") else {}
    if mode == "haproxy":
        # Files and ports of its own, so that nothing outside this run is touched; and a short
        # path, since HAProxy takes none above 97 characters for a socket, and Ray adds 68.
        files = Path(tempfile.mkdtemp(prefix="bench-"))
        tuned |= {
            "RAY_SERVE_ENABLE_HA_PROXY": "1",
            "RAY_SERVE_HAPROXY_NBTHREAD": "1",
            "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(files / "haproxy.cfg"),
            "RAY_SERVE_HAPROXY_SOCKET_PATH": str(files / "admin.sock"),
            "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(files),
            "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(files / "server-state"),
            "RAY_SERVE_HAPROXY_METRICS_PORT": str(free_port()),
            "RAY_SERVE_HAPROXY_STATS_PORT": str(free_port()),
        }
    tuned |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_SERVE_LOG_TO_STDERR": "0"}
    command = [str(place.python), str(APPS / "ray_app.py"), str(port), replicas, batch]
    return Launch(command, port, _model(place, model, **tuned), scratch, files)


def _mlflow(place: Place, model: str, scratch: Path, setting: str) -> Launch:
    port = free_port()
    saved = place.folder / "models" / f"{model}-mlflow"
    run([place.python, APPS / "mlflow_save.py", place.model(model), saved], place.folder)
    workers, *quiet = setting.split(", ")
    command = [
        *(str(place.bin / "mlflow"), "models", "serve", "--model-uri", str(saved)),
        *("--env-manager", "local", "--host", "127.0.0.1", "--port", str(port)),
        *("--workers", workers.split("=")[1]),
    ]
    more = {"PATH": f"{place.bin}:/usr/bin:/bin", "MLFLOW_DISABLE_TELEMETRY": "true"}
    # uvicorn's own variable, since the command has no such option.
    more |= {"UVICORN_ACCESS_LOG": "false"} if quiet else {}
    return Launch(command, port, more, scratch)


def _gateway(place: Place, model: str, scratch: Path, setting: str) -> Launch:
    port = free_port()
    file = start_gateway(place.model(model), scratch, port, accelerate=setting)
    command = [sys.executable, "-m", "gateway", "serve", str(file)]
    return Launch(command, port, folder=scratch)


_UNACCELERATED = None if accelerates() else "this gateway has no setting `accelerate`"

SERVERS = (
    Server("echo", "bare ASGI echo (floor)", ECHO, _echo, peer=False),
    Server(
        "gateway",
        "gateway",
        INSTANCES,
        _gateway,
        ("off",),
        ("branch-gateway", "starlette", "uvicorn", "uvloop", "httptools", "msgspec"),
        peer=False,
        ready="/readyz",
    ),
    Server(
        "accelerated",
        "gateway, accelerated",
        INSTANCES,
        _gateway,
        ("auto",),
        ("branch-gateway",),
        peer=False,
        missing=_UNACCELERATED,
        ready="/readyz",
    ),
    Server(
        "starlette",
        "Starlette, model inline, 1 process",
        INSTANCES,
        _starlette,
        distributions=("starlette", "uvicorn"),
        peer=False,
    ),
    Server(
        "fastapi",
        "FastAPI",
        INSTANCES,
        _fastapi,
        ("2 workers",),
        ("fastapi", "starlette", "uvicorn", "uvloop", "httptools", "pydantic"),
    ),
    Server(
        "mlserver",
        "MLServer",
        OPEN_INFERENCE,
        _mlserver,
        (
            "parallel_workers=0",
            "parallel_workers=1",
            "parallel_workers=2",
            "parallel_workers=0, max_batch_size=32, max_batch_time=0.001",
            "parallel_workers=0, max_batch_size=64, max_batch_time=0.005",
            "parallel_workers=1, max_batch_size=32, max_batch_time=0.001",
            "parallel_workers=1, max_batch_size=64, max_batch_time=0.005",
            "parallel_workers=2, max_batch_size=32, max_batch_time=0.001",
        ),
        ("mlserver", "mlserver-sklearn", "uvicorn", "uvloop"),
    ),
    Server(
        "bentoml",
        "BentoML",
        BENTOML,
        _bentoml,
        (
            "workers=1, max_batch_size=0",
            "workers=2, max_batch_size=0",
            "workers=1, max_batch_size=64",
            "workers=2, max_batch_size=64",
        ),
        ("bentoml", "starlette", "uvicorn", "uvloop"),
    ),
    Server(
        "ray",
        "Ray Serve",
        INSTANCES,
        _ray,
        (
            "num_replicas=1, max_batch_size=0, mode=default",
            "num_replicas=1, max_batch_size=0, mode=throughput",
            "num_replicas=1, max_batch_size=64, mode=throughput",
            "num_replicas=2, max_batch_size=0, mode=throughput",
            "num_replicas=1, max_batch_size=0, mode=haproxy",
            "num_replicas=1, max_batch_size=64, mode=haproxy",
        ),
        ("ray", "starlette", "uvicorn", "uvloop"),
        resident=False,
    ),
    Server(
        "litserve",
        "LitServe",
        INSTANCES,
        _litserve,
        (
            "workers_per_device=1, max_batch_size=1, queue=default",
            "workers_per_device=2, max_batch_size=1, queue=default",
            "workers_per_device=1, max_batch_size=64, queue=default",
            "workers_per_device=1, max_batch_size=1, queue=zmq",
            "workers_per_device=2, max_batch_size=1, queue=zmq",
            "workers_per_device=1, max_batch_size=64, queue=zmq",
        ),
        ("litserve", "fastapi", "uvicorn", "uvloop"),
    ),
    Server(
        "mlflow",
        "MLflow",
        MLFLOW,
        _mlflow,
        (
            "workers=1",
            "workers=2",
            "workers=1, no access log",
            "workers=2, no access log",
        ),
        ("mlflow", "fastapi", "uvicorn", "uvloop"),
    ),
)
BY_NAME = {server.name: server for server in SERVERS}
PEERS = tuple(server.name for server in SERVERS if server.peer)
