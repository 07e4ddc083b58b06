"""Who can reach a running batch, and what is in its tasks: nobody, and no key."""

import os
import pickle
import stat
import subprocess
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest
from batch_settings import settings_of
from batch_trees import preload, results, write_series
from distributed import Client, LocalCluster, Security

from tomolearn.batch import BatchReport, Certificates, run_batch
from tomolearn.batch.chunks import chunks_of
from tomolearn.batch.dask_executor import check_scheduler
from tomolearn.batch.derivation_text import derivation_of
from tomolearn.dicom import Deidentification, DerivedSeries, find_series

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = settings_of("fbp", views=12)
KEY = "a secret that nobody is to know"


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("source")
    write_series(root / "a", "a", 5)
    return root


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "key.txt"
    path.write_text(KEY)
    path.chmod(0o600)
    return path


def public_places(process: psutil.Process) -> list[str]:
    """Return the addresses at which a process listens and that are not its user's alone."""
    places = []
    for one in process.net_connections(kind="all"):
        if isinstance(one.laddr, str):
            # abstract names, which anybody may use, begin with a null character or an @
            private = not one.laddr or (
                not one.laddr.startswith(("\0", "@")) and is_private(one.laddr)
            )
            places += [] if private else [one.laddr]
        elif one.status in (psutil.CONN_LISTEN, psutil.CONN_NONE):
            places.append(str(one.laddr))
    return places


def is_private(name: str) -> bool:
    folder = Path(name).parent
    return folder.exists() and not stat.S_IMODE(folder.stat().st_mode) & 0o077


class Watch:
    """Progress that looks where the run and its workers listen, and how many they are."""

    def __init__(self) -> None:
        self.before = set(public_places(psutil.Process()))
        self.places: set[str] = set()
        self.n_processes = 0

    def searched(self, *_: int) -> None:
        pass

    def planned(self, *_: Any) -> None:
        pass

    def advanced(self, n_slices: int) -> None:
        processes = [psutil.Process(), *psutil.Process().children(recursive=True)]
        self.n_processes = max(self.n_processes, len(processes))
        for one in processes:
            self.places |= set(public_places(one))

    def finished(self, record: Mapping[str, Any]) -> None:
        pass


def test_nothing_listens_while_workers_are_at_work(source: Path, tmp_path: Path) -> None:
    watch = Watch()
    assert run_batch(source, tmp_path / "out", SETTINGS, workers=2, progress=watch).is_complete
    assert watch.n_processes >= 3
    assert watch.places - watch.before == set()


@pytest.mark.parametrize("from_file", [False, True])
def test_no_task_has_the_key(from_file: bool, source: Path, key_file: Path) -> None:
    secret = Deidentification.from_file(key_file) if from_file else Deidentification(KEY)
    (series,) = find_series(source).series
    derived = DerivedSeries(series, derivation_of(SETTINGS, series), deidentify=secret)
    for task in (*chunks_of(derived, SETTINGS, Path("out")), derived, derived[0], secret):
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
            data = pickle.dumps(task, protocol)
            assert KEY.encode() not in data
            assert KEY[:12].encode() not in data
    assert KEY not in repr(derived[0])


def test_tasks_find_the_key_where_it_is(key_file: Path) -> None:
    """In the process that knows it, in its file, and nowhere else."""
    program = "import pickle, sys\nprint(pickle.loads(bytes.fromhex(sys.argv[1])).uid('1.2.3'))\n"

    def elsewhere(secret: Deidentification) -> subprocess.CompletedProcess[str]:
        data = pickle.dumps(secret).hex()
        return subprocess.run(
            [sys.executable, "-c", program, data], cwd=ROOT, capture_output=True, text=True
        )

    named, plain = Deidentification.from_file(key_file), Deidentification(KEY, "anybody")
    for one in (named, plain):
        again = pickle.loads(pickle.dumps(one))
        assert again == one
        assert again.key_file == one.key_file
    assert elsewhere(named).stdout.strip() == named.uid("1.2.3")
    assert (
        "expected its key in this process, got a pickle, which has none" in elsewhere(plain).stderr
    )
    key_file.write_text("another secret, as long as it")
    assert "expected the key that the batch began with, got another" in elsewhere(named).stderr
    key_file.unlink()
    assert str(key_file) in elsewhere(named).stderr


def test_workers_remove_identities_as_one_process_does(source: Path, tmp_path: Path) -> None:
    secret = Deidentification(KEY)
    for name, workers in (("one", 0), ("two", 2)):
        run_batch(source, tmp_path / name, SETTINGS, workers=workers, deidentification=secret)
    assert results(tmp_path / "one") == results(tmp_path / "two") != {}


def test_a_cluster_with_certificates(source: Path, tmp_path: Path, key_file: Path) -> None:
    """It is worked on by those who have them, without a warning, and refuses others."""
    security = Security.temporary()
    names = {"ca": "tls_ca_file", "certificate": "tls_client_cert", "key": "tls_client_key"}
    files = {name: tmp_path / f"{name}.pem" for name in names}
    for name, attribute in names.items():
        files[name].write_text(getattr(security, attribute))
    with (
        warnings.catch_warnings(),
        LocalCluster(
            n_workers=1,
            threads_per_worker=1,
            security=security,
            protocol="tls://",
            dashboard_address=None,
        ) as cluster,
    ):
        warnings.simplefilter("error")
        address = cluster.scheduler_address
        report: BatchReport = run_batch(
            source,
            tmp_path / "out",
            SETTINGS,
            scheduler=address,
            certificates=Certificates(**files),
            deidentification=Deidentification.from_file(key_file),
        )
        for stranger in (address, address.replace("tls", "tcp")):
            with pytest.raises((OSError, TypeError, ValueError)):
                Client(stranger, timeout="2s")
    assert report.is_complete
    run_batch(
        source, tmp_path / "here", SETTINGS, workers=0, deidentification=Deidentification(KEY)
    )
    assert results(tmp_path / "out") == results(tmp_path / "here")


OPEN = ["tcp://10.0.0.1:8786", "10.0.0.1:8786", "node7:8786", "ws://node7:8786", "ucx://n:1", "n"]


@pytest.mark.parametrize("address", OPEN)
def test_other_machines_are_spoken_to_over_tls(address: str) -> None:
    with pytest.raises(ValueError, match="scheduler: expected tls://host:port with certificates"):
        check_scheduler(address, None, insecure_scheduler=False)
    check_scheduler(address, None, insecure_scheduler=True)


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:1", "localhost:1", "tcp://[::1]:8786"])
def test_an_open_cluster_here_is_warned_of(address: str) -> None:
    with pytest.warns(UserWarning, match="is without TLS: every user of this machine can run"):
        check_scheduler(address, None, insecure_scheduler=False)


def test_mistakes_about_clusters(source: Path, tmp_path: Path, key_file: Path) -> None:
    files = Certificates(key_file, key_file, key_file)
    with pytest.raises(ValueError, match="scheduler: expected tls://host:port with certificates"):
        run_batch(source, tmp_path, SETTINGS, scheduler="tcp://127.0.0.1:1", certificates=files)
    missing = Certificates(key_file, key_file, tmp_path / "missing.pem")
    with pytest.raises(FileNotFoundError, match=r"missing\.pem"):
        run_batch(source, tmp_path, SETTINGS, scheduler="tls://a:1", certificates=missing)
    with pytest.raises(ValueError, match=r"deidentification: expected Deidentification\.from_file"):
        run_batch(
            source,
            tmp_path / "out",
            SETTINGS,
            scheduler="tls://a:1",
            deidentification=Deidentification(KEY),
        )


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")
@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660])
def test_a_key_that_others_can_read_is_refused(mode: int, key_file: Path) -> None:
    key_file.chmod(mode)
    with pytest.raises(PermissionError, match=f"got mode {mode:o}; chmod 600 {key_file}"):
        Deidentification.from_file(key_file)
    key_file.chmod(0o400)
    assert Deidentification.from_file(key_file).key == KEY


def test_workers_that_cannot_live_end_the_run(source: Path, tmp_path: Path) -> None:
    dying = (
        "import os, tomolearn.batch.process_executor as executor\n"
        "def _serve(*_): os._exit(1)\n"
        "executor._serve = _serve\n"
    )
    command = [sys.executable, "-m", "tomolearn", "dicom", str(source), str(tmp_path / "out")]
    done = subprocess.run(
        [*command, "--workers", "2"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env=preload(tmp_path, dying),
    )
    assert done.returncode == 2, done.stderr
    assert "workers in a row died when they started" in done.stderr
