"""Every test runs with a HOME of its own, no telemetry, no proxy and no way out of this machine."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from tests.support.encodings import encodings_folder

_SETTINGS = {
    "PF_TRACING_SKIP_LOCAL_SETUP": "true",
    "PF_DISABLE_TRACING": "true",
    "APPLICATIONINSIGHTS_CONTROLPLANE_DISABLED": "true",
    "APPLICATIONINSIGHTS_STATSBEAT_DISABLED_ALL": "true",
    "HF_HUB_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "PYTHON_KEYRING_BACKEND": "keyrings.alt.file.PlaintextKeyring",
    "TOKENIZERS_PARALLELISM": "false",
    "OMP_NUM_THREADS": "1",  # the tests run side by side; torch's threads would wait for each other's processors
    "NO_COLOR": "1",
    "COLUMNS": "120",
}
hypothesis.settings.register_profile("no clock", deadline=None)
hypothesis.settings.load_profile("no clock")

_UNSET = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy")
_PROJECT = (
    "PHI3_ENDPOINT",
    "PHI3_KEY",
    "PHI3_BASE_URL",
    "PHI3_MAX_RETRIES",
    "JUDGE_BASE_URL",
    "JUDGE_KEY",
    "MLFLOW_TRACKING_URI",
    "AZURE_SUBSCRIPTION_ID",
    "AZURE_TENANT_ID",
    "AZURE_CLIENT_ID",
    "AZURE_CLIENT_SECRET",
)

# Files that take a minute or so, longest first: begun last, they would run while the other processor idles.
_LONG = (
    "faults/test_quickstart.py",
    "cli/test_register.py",
    "unit/training/test_training.py",
    "faults/test_batch_run_kills.py",
    "flows/test_pf_round_trip.py",
    "cli/test_deploy.py",
    "faults/test_batch_run_faults.py",
    "faults/test_batch_run_failures.py",
    "flows/test_worker_deaths.py",
    "flows/test_content_safety.py",
    "faults/test_batch_run_conversations.py",
)

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # in a shell's background; what a test starts would inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)
for _name in ("HTTPS_PROXY", "https_proxy"):  # only npm keeps it, which fetches what tests/support/encodings.py needs
    if _name in os.environ:
        os.environ.setdefault("NPM_CONFIG_HTTPS_PROXY", os.environ[_name])
os.environ.update(_SETTINGS)  # before a test module imports a library that reads them once
for _name in (*_UNSET, *_PROJECT):
    os.environ.pop(_name, None)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the long files first; within a file the order stays."""
    order = {str(Path(__file__).parent / name): place for place, name in enumerate(_LONG)}
    items.sort(key=lambda item: order.get(str(item.path), len(order)))


@pytest.fixture(autouse=True)
def own_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Give the test, and every process it starts, an empty HOME where promptflow's telemetry is off."""
    home = tmp_path_factory.mktemp("home")
    (home / ".promptflow").mkdir()
    (home / ".promptflow" / "pf.yaml").write_text("telemetry:\n  enabled: false\n", encoding="utf-8")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("USERPROFILE", str(home))
    yield home
    os.environ.pop("MLFLOW_TRACKING_URI", None)  # mlflow sets it by itself


@pytest.fixture(autouse=True, scope="session")
def _no_way_out() -> Iterator[None]:
    """Refuse connections of the test process to anything but this machine."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: object) -> None:
        if isinstance(address, tuple) and address[0] not in ("127.0.0.1", "::1", "localhost"):
            raise OSError(f"a test tried to reach {address[0]}:{address[1]}")
        connect(self, address)  # type: ignore[arg-type]

    socket.socket.connect = guarded  # type: ignore[method-assign,assignment]
    yield
    socket.socket.connect = connect  # type: ignore[method-assign]


@pytest.fixture(scope="session")
def encodings() -> Path:
    """The folder of tiktoken's real encodings."""
    return encodings_folder()


@pytest.fixture
def real_encodings(encodings: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let tiktoken find its real encodings, here and in the processes that the test starts."""
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(encodings))
