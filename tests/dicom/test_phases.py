"""Series with more dimensions than space: phases, energies, kernels, acquisitions."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from dicom_files import write
from dicom_series import SERIES, ct_image, enhanced_image, item
from pydicom.dataset import Dataset

from tomolearn.dicom import Derivation, DerivedSeries, FindingKind, find_series

PLACES, PHASES = 5, 3
HOW = Derivation("x")
Rng = np.random.Generator
# What tells the phases of a classic series apart, by phase: elements, and the finding.
CLASSIC: Mapping[str, tuple[Callable[[int], Mapping[str, Any]], FindingKind]] = {
    "position": (
        lambda k: {"TemporalPositionIdentifier": k + 1, "NumberOfTemporalPositions": PHASES},
        FindingKind.SEVERAL_PHASES,
    ),
    "trigger": (lambda k: {"TriggerTime": str(90 * k)}, FindingKind.SEVERAL_PHASES),
    "percentage": (
        lambda k: {"NominalPercentageOfCardiacPhase": 30.0 * k},
        FindingKind.SEVERAL_PHASES,
    ),
    "time": (lambda k: {"AcquisitionTime": f"10111{k}.5"}, FindingKind.SEVERAL_PHASES),
    "content": (
        lambda k: {"ContentTime": f"10111{k}.5", "AcquisitionTime": None},
        FindingKind.SEVERAL_PHASES,
    ),
    "acquisition": (
        lambda k: {"AcquisitionNumber": str(k + 9), "AcquisitionTime": f"10111{9 - k}"},
        FindingKind.SEVERAL_ACQUISITIONS,
    ),
    "energy": (lambda k: {"KVP": str(80 + 30 * k)}, FindingKind.SEVERAL_ENERGIES),
    "kev": (
        lambda k: {
            "MultienergyCTCharacteristicsSequence": [item(MonoenergeticEnergyEquivalent=40.0 + k)]
        },
        FindingKind.SEVERAL_ENERGIES,
    ),
    "kernel": (lambda k: {"ConvolutionKernel": f"B{k}0f"}, FindingKind.SEVERAL_KERNELS),
    "type": (
        lambda k: {"ImageType": ["ORIGINAL", "PRIMARY", "AXIAL", f"M{k}"]},
        FindingKind.SEVERAL_IMAGE_TYPES,
    ),
}
# The same for enhanced images: functional groups of a frame.
ENHANCED: Mapping[str, tuple[Callable[[int], Mapping[str, Any]], FindingKind]] = {
    "index": (
        lambda k: {"FrameContentSequence": {"TemporalPositionIndex": k + 1}},
        FindingKind.SEVERAL_PHASES,
    ),
    "offset": (
        lambda k: {"TemporalPositionSequence": {"TemporalPositionTimeOffset": 0.7 * k}},
        FindingKind.SEVERAL_PHASES,
    ),
    "delay": (
        lambda k: {"CardiacSynchronizationSequence": {"NominalCardiacTriggerDelayTime": 90.5 * k}},
        FindingKind.SEVERAL_PHASES,
    ),
    "breath": (
        lambda k: {
            "RespiratorySynchronizationSequence": {"NominalPercentageOfRespiratoryPhase": 10.0 * k}
        },
        FindingKind.SEVERAL_PHASES,
    ),
    "acquisition": (
        lambda k: {"FrameContentSequence": {"FrameAcquisitionNumber": k + 4}},
        FindingKind.SEVERAL_ACQUISITIONS,
    ),
    "time": (
        lambda k: {"FrameContentSequence": {"FrameAcquisitionDateTime": f"2024010210111{k}.25"}},
        FindingKind.SEVERAL_PHASES,
    ),
    "energy": (
        lambda k: {"CTXRayDetailsSequence": {"KVP": str(80 + 30 * k)}},
        FindingKind.SEVERAL_ENERGIES,
    ),
    "kernel": (
        lambda k: {"CTReconstructionSequence": {"ConvolutionKernel": f"B{k}0f"}},
        FindingKind.SEVERAL_KERNELS,
    ),
    "converted": (
        lambda k: {"UnassignedPerFrameConvertedAttributesSequence": {"TriggerTime": str(90 * k)}},
        FindingKind.SEVERAL_PHASES,
    ),
}


def value(phase: int, place: int) -> int:
    """Return the stored value of the first pixel of an image."""
    return 100 * phase + place


def position(place: int) -> tuple[float, float, float]:
    return (-150.0, -140.0, 5.0 * place)


def image(phase: int, place: int, **elements: Any) -> Dataset:
    dataset = ct_image(0, position(place), **elements)
    pixels = np.full((6, 8), 1024, np.int16)
    pixels[0, 0] += value(phase, place)
    dataset.PixelData = pixels.tobytes()
    return dataset


def classic(folder: Path, rng: Rng, elements: Callable[[int], Mapping[str, Any]]) -> None:
    """Write a series whose InstanceNumbers restart in each phase, in random order."""
    folder.mkdir()
    pairs = list(itertools.product(range(PHASES), range(PLACES)))
    for name, index in enumerate(rng.permutation(len(pairs))):
        phase, place = pairs[index]
        uid = f"{SERIES}.{rng.integers(10**9)}"
        numbered = {"InstanceNumber": str(place + 1), "SOPInstanceUID": uid}
        write(folder / str(name), image(phase, place, **numbered | dict(elements(phase))))


def enhanced(
    pairs: Sequence[tuple[int, int]], elements: Callable[[int], Mapping[str, Any]]
) -> Dataset:
    dataset = enhanced_image([position(place) for _, place in pairs])
    pixels = np.full((len(pairs), 6, 8), 1024, np.int16)
    groups = dataset.PerFrameFunctionalGroupsSequence
    for frame, ((phase, place), group) in enumerate(zip(pairs, groups, strict=True)):
        pixels[frame, 0, 0] += value(phase, place)
        for macro, values in elements(phase).items():
            if macro not in group:
                setattr(group, macro, [item()])
            for keyword, found in values.items():
                setattr(group[macro][0], keyword, found)
    dataset.PixelData = pixels.tobytes()
    return dataset


def results(folder: Path, out: Path) -> list[Dataset]:
    """Write the derived series with the pixels of its source and return its files by number."""
    (one,) = find_series(folder).series
    derived = DerivedSeries(one, HOW)
    out.mkdir()
    for index, made in enumerate(derived):
        made.write(made.read_source().hounsfield, out / f"{index}")
    return sorted(map(pydicom.dcmread, out.iterdir()), key=lambda one: int(one.InstanceNumber))


def volumes(files: Sequence[Dataset]) -> list[list[int]]:
    """Return the first pixels of each volume: one ends where a position comes again."""
    found: list[list[int]] = [[]]
    places: set[float] = set()
    for one in files:
        z = float(one.ImagePositionPatient[2])
        if z in places:
            found.append([])
            places = set()
        places.add(z)
        found[-1].append(int(one.pixel_array[0, 0]) + int(one.RescaleIntercept))
    return found


EXPECTED = [[value(k, place) for place in range(PLACES)] for k in range(PHASES)]


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("kind", CLASSIC)
def test_volumes_of_a_classic_series(kind: str, seed: int, tmp_path: Path) -> None:
    elements, finding = CLASSIC[kind]
    classic(tmp_path / "in", np.random.default_rng(seed), elements)
    (one,) = find_series(tmp_path / "in").series
    assert [found.kind for found in one.findings] == [finding]
    assert "3 stacks of 5 slices" in one.findings[0].detail
    files = results(tmp_path / "in", tmp_path / "out")
    assert [int(file.InstanceNumber) for file in files] == list(range(1, 16))
    assert volumes(files) == EXPECTED
    for index, file in enumerate(files):
        for keyword, stated in elements(index // PLACES).items():
            if keyword != "ImageType" and stated is not None:
                assert file[keyword] == image(0, 0, **{keyword: stated})[keyword]


@pytest.mark.parametrize("kind", ENHANCED)
def test_volumes_of_an_enhanced_series(kind: str, tmp_path: Path, numpy_rng: Rng) -> None:
    elements, finding = ENHANCED[kind]
    pairs = list(itertools.product(range(PHASES), range(PLACES)))
    numpy_rng.shuffle(pairs)
    (tmp_path / "in").mkdir()
    write(tmp_path / "in" / "e", enhanced([(int(k), int(z)) for k, z in pairs], elements))
    (one,) = find_series(tmp_path / "in").series
    assert [found.kind for found in one.findings] == [finding]
    files = results(tmp_path / "in", tmp_path / "out")
    assert volumes(files) == EXPECTED


def test_results_say_which_phase_they_are(tmp_path: Path) -> None:
    def elements(phase: int) -> Mapping[str, Any]:
        return {
            "FrameContentSequence": {"TemporalPositionIndex": phase + 1},
            "TemporalPositionSequence": {"TemporalPositionTimeOffset": 0.7 * phase},
            "CardiacSynchronizationSequence": {
                "NominalCardiacTriggerDelayTime": 90.5 * phase,
                "NominalPercentageOfCardiacPhase": 10.0 * phase,
            },
            "MultienergyCTCharacteristicsSequence": {"MonoenergeticEnergyEquivalent": 70.0},
        }

    (tmp_path / "in").mkdir()
    pairs = list(itertools.product(range(PHASES), range(PLACES)))[::-1]
    write(tmp_path / "in" / "e", enhanced(pairs, elements))
    for index, file in enumerate(results(tmp_path / "in", tmp_path / "out")):
        phase = index // PLACES
        assert file.TemporalPositionIdentifier == phase + 1
        assert file.NumberOfTemporalPositions == PHASES
        assert file.TemporalPositionTimeOffset == 0.7 * phase
        assert file.NominalCardiacTriggerDelayTime == file.TriggerTime == 90.5 * phase
        assert file.NominalPercentageOfCardiacPhase == 10.0 * phase
        (energy,) = file.MultienergyCTCharacteristicsSequence
        assert energy.MonoenergeticEnergyEquivalent == 70


def test_two_enhanced_files_are_two_phases(tmp_path: Path) -> None:
    """Whatever order they lie in: each file has the same frames."""
    (tmp_path / "in").mkdir()
    for phase, name in enumerate(("b", "a", "c")):
        dataset = enhanced([(phase, place) for place in (2, 0, 4, 1, 3)], lambda _: {})
        dataset.SOPInstanceUID = f"{SERIES}.{90 - phase}"
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        dataset.InstanceNumber = phase + 1
        write(tmp_path / "in" / name, dataset)
    assert volumes(results(tmp_path / "in", tmp_path / "out")) == EXPECTED


@pytest.mark.parametrize("by_place", [False, True])
def test_numbers_alone_tell_phases(by_place: bool, tmp_path: Path, numpy_rng: Rng) -> None:
    """They run phase by phase, or through the phases at each place."""
    (tmp_path / "in").mkdir()
    for phase, place in itertools.product(range(PHASES), range(PLACES)):
        number = 1 + (phase + PHASES * place if by_place else PLACES * phase + place)
        uid = f"{SERIES}.{numpy_rng.integers(10**9)}"
        dataset = image(phase, place, InstanceNumber=str(number), SOPInstanceUID=uid)
        write(tmp_path / "in" / uid, dataset)
    assert volumes(results(tmp_path / "in", tmp_path / "out")) == EXPECTED
    (one,) = find_series(tmp_path / "in").series
    assert one.findings[0].kind is FindingKind.SEVERAL_PHASES
    assert "nothing but InstanceNumber (0020,0013)" in one.findings[0].detail


def test_a_phase_that_lacks_a_slice(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for phase, place in itertools.product(range(PHASES), range(PLACES)):
        if (phase, place) != (1, 2):
            uid = f"{SERIES}.9{phase}{place}"
            dataset = image(phase, place, TemporalPositionIdentifier=phase, SOPInstanceUID=uid)
            write(tmp_path / "in" / uid, dataset)
    (one,) = find_series(tmp_path / "in").series
    kinds = [found.kind for found in one.findings]
    assert kinds == [FindingKind.SEVERAL_PHASES, FindingKind.MISSING_SLICES]
    assert one.findings[1].detail.startswith("In 1 of 3 stacks, the first number 2: 1 slices are")
    with pytest.raises(ValueError, match="several phases: 3 stacks of 4 to 5 slices"):
        one.volume()


def test_two_dimensions_at_once(tmp_path: Path) -> None:
    """Kernels come one after the other, and in each the phases."""
    (tmp_path / "in").mkdir()
    for phase, place, kernel in itertools.product(range(2), range(3), range(2)):
        uid = f"{SERIES}.9{phase}{place}{kernel}"
        dataset = image(
            10 * kernel + phase,
            place,
            TemporalPositionIdentifier=phase,
            ConvolutionKernel=f"B{kernel}",
            SOPInstanceUID=uid,
            InstanceNumber="1",
        )
        write(tmp_path / "in" / uid, dataset)
    found = volumes(results(tmp_path / "in", tmp_path / "out"))
    assert [volume[0] // 100 for volume in found] == [0, 1, 10, 11]
    (one,) = find_series(tmp_path / "in").series
    assert [finding.kind for finding in one.findings] == [
        FindingKind.SEVERAL_KERNELS,
        FindingKind.SEVERAL_PHASES,
    ]


def write_places(folder: Path, **values: Sequence[str]) -> None:
    folder.mkdir()
    for place in range(len(next(iter(values.values())))):
        elements = {keyword: found[place] for keyword, found in values.items()}
        uid = f"{SERIES}.{place + 1}"
        write(folder / str(place), image(0, place, SOPInstanceUID=uid, **elements))


@pytest.mark.parametrize("numbers", ["112233", "332211", "113322", "123456", "654321", "111111"])
def test_acquisitions_one_after_the_other_are_one_stack(numbers: str, tmp_path: Path) -> None:
    """Scans of table positions, in any direction, and of single slices."""
    times = [f"1011{30 - place}" for place in range(6)]
    write_places(tmp_path / "in", AcquisitionNumber=numbers, AcquisitionTime=times)
    (one,) = find_series(tmp_path / "in").series
    assert one.findings == ()
    assert [info.position[2] for info in one.slices] == [5.0 * place for place in range(6)]


def test_interleaved_acquisitions_are_two_stacks(tmp_path: Path) -> None:
    write_places(tmp_path / "in", AcquisitionNumber="121212")
    (one,) = find_series(tmp_path / "in").series
    assert [finding.kind for finding in one.findings] == [FindingKind.SEVERAL_ACQUISITIONS]
    assert [info.position[2] for info in one.slices] == [0, 10, 20, 5, 15, 25]
    files = results(tmp_path / "in", tmp_path / "out")
    assert [int(file.AcquisitionNumber) for file in files] == [1, 1, 1, 2, 2, 2]


def test_settings_that_change_along_a_stack_are_said(tmp_path: Path) -> None:
    kernels, voltages = ["B30f"] * 3 + ["B60f"] * 3, ["120"] * 5 + ["100"]
    write_places(tmp_path / "in", ConvolutionKernel=kernels, KVP=voltages)
    (one,) = find_series(tmp_path / "in").series
    assert [finding.kind for finding in one.findings] == [FindingKind.MIXED_SETTINGS]
    assert one.findings[0].detail == (
        "Slices differ in ConvolutionKernel (0018,1210): B30f, B60f; KVP (0018,0060): 100, 120."
    )
    assert one.spacing[0] == 5  # a stack all the same


def test_a_slice_that_is_there_twice_is_no_phase(tmp_path: Path) -> None:
    write_places(tmp_path / "in", AcquisitionNumber="111111")
    write(tmp_path / "in" / "again", image(0, 3, SOPInstanceUID=f"{SERIES}.99"))
    (one,) = find_series(tmp_path / "in").series
    assert [finding.kind for finding in one.findings] == [FindingKind.DUPLICATE_POSITIONS]


@pytest.mark.parametrize("odd", ["orientation", "frame of reference"])
def test_one_odd_slice_does_not_hide_what_is_odd_of_the_others(odd: str, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for number, place in enumerate((0, 1, 3, 4, 4, 5, 7, 8, 9)):  # two gaps, one place twice
        uid = f"{SERIES}.{number + 1}"
        write(tmp_path / "in" / uid, image(0, place, SOPInstanceUID=uid))
    before = [f.kind for f in find_series(tmp_path / "in").series[0].findings]
    assert before == [FindingKind.DUPLICATE_POSITIONS, FindingKind.MISSING_SLICES]
    coronal = {"ImageOrientationPatient": ["1", "0", "0", "0", "0", "-1"]}
    other = coronal if odd == "orientation" else {"FrameOfReferenceUID": "1.2.3"}
    write(tmp_path / "in" / "odd", image(0, 2, SOPInstanceUID=f"{SERIES}.77", **other))
    (one,) = find_series(tmp_path / "in").series
    assert [f.kind for f in one.findings] == [FindingKind(f"mixed {odd}"), *before]
