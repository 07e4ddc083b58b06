"""Selection from the bundled index of the Imaging Data Commons; only the transfer is a stand-in."""

from pathlib import Path

import pytest

from tomolearn.data.lidc import select_series
from tomolearn.data.lidc.download import COLLECTION

pytest.importorskip("idc_index")


@pytest.fixture(scope="module")
def client():
    from idc_index import IDCClient

    return IDCClient()


def test_the_published_collection(client):
    everything = select_series(client=client)
    assert (len(everything.series_uids), len(everything.patients)) == (1018, 1010)
    # 244,527 as first published; the commons revise series now and then
    assert everything.n_files == pytest.approx(244_527, rel=0.01)
    assert everything.megabytes == pytest.approx(128_000, rel=0.05)
    radiographs = [select_series(modality=name, client=client) for name in ("CR", "DX")]
    assert [len(found.series_uids) for found in radiographs] == [53, 237]


def test_chosen_patients(client):
    first = select_series(n_patients=3, client=client)
    names = tuple(f"LIDC-IDRI-{k:04d}" for k in (1, 2, 3))
    assert first.patients == names
    same = select_series(patients=names[::-1], client=client)
    assert same == first
    assert select_series(patients=names, n_patients=1, client=client).patients == names[:1]
    rows = client.index[client.index.SeriesInstanceUID.isin(first.series_uids)]
    assert set(rows.collection_id) == {COLLECTION}
    assert set(rows.Modality) == {"CT"}
    assert first.n_files == rows.instanceCount.sum()


class Transfer:
    """Brings empty files, all but the last few of each series."""

    def __init__(self, client, *, missing=0):
        self.index, self.missing, self.calls = client.index, missing, []

    def download_from_selection(self, downloadDir, **options):
        self.calls.append((downloadDir, dict(options)))
        rows = self.index[self.index.SeriesInstanceUID.isin(options["seriesInstanceUID"])]
        for row in rows.itertuples():
            folder = Path(downloadDir, row.PatientID, row.StudyInstanceUID, row.SeriesInstanceUID)
            folder.mkdir(parents=True, exist_ok=True)
            for number in range(row.instanceCount - self.missing):
                (folder / f"{number}.dcm").touch()


def test_transfer_gets_the_selection(client, tmp_path):
    transfer = Transfer(client)
    chosen = select_series(n_patients=2, client=transfer)
    chosen.run(tmp_path / "new" / "folder", client=transfer)
    ((folder, options),) = transfer.calls
    assert folder == str(tmp_path / "new" / "folder")
    assert (tmp_path / "new" / "folder").is_dir()
    assert options.pop("seriesInstanceUID") == list(chosen.series_uids)
    assert options == {
        "dirTemplate": "%PatientID/%StudyInstanceUID/%SeriesInstanceUID",
        "use_s5cmd_sync": True,
    }


def test_what_did_not_arrive_is_told(client, tmp_path):
    """The client logs that there was no network, and returns."""
    transfer = Transfer(client, missing=1)
    chosen = select_series(n_patients=2, client=transfer)
    wanted = chosen.files_per_series[0]
    message = f"got 2 incomplete, the first {chosen.series_uids[0]} with {wanted - 1} of {wanted}"
    with pytest.raises(OSError, match=message):
        chosen.run(tmp_path, client=transfer)
    # a folder is no file of a series
    (series,) = tmp_path.glob(f"*/*/{chosen.series_uids[0]}")
    (series / "more").mkdir()
    with pytest.raises(OSError, match=message):
        chosen.run(tmp_path, client=transfer)
    transfer.missing = 0
    chosen.run(tmp_path, client=transfer)
    transfer.missing = 10_000
    with pytest.raises(OSError, match=f"with 0 of {wanted} files"):
        chosen.run(tmp_path / "other", client=transfer)


def test_the_client_knows_these_arguments(client):
    # no transfer: the client only counts
    import inspect

    known = inspect.signature(client.download_from_selection).parameters
    assert {"downloadDir", "seriesInstanceUID", "dirTemplate", "use_s5cmd_sync"} <= set(known)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"patients": ["LIDC-IDRI-0001", "LIDC-IDRI-2000"]}, "got 1 without: LIDC-IDRI-2000"),
        ({"modality": "ct"}, "modality: expected one of .* did you mean CT"),
        ({"n_patients": 0}, "n_patients: expected an integer >= 1"),
    ],
)
def test_errors(client, options, words):
    with pytest.raises(ValueError, match=words):
        select_series(client=client, **options)


def test_missing_package(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "idc_index", None)
    with pytest.raises(ImportError, match=r"downloading LIDC-IDRI needs .*tomolearn\[lidc\]"):
        select_series()
