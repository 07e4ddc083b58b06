"""Polychromatic beams: the spectrum of a tube, attenuation by element tables, line integrals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tomolearn._core.checks import check_choice, check_float, check_floats
from tomolearn._core.errors import TomolearnError, TomolearnTypeError
from tomolearn._core.optional import optional_import
from tomolearn._core.values import KindAndFields

if TYPE_CHECKING:
    import torch

_INSTALL = "pip install 'tomolearn[measured]'"


@dataclass(frozen=True)
class Spectrum(KindAndFields):
    """Share of each photon energy in what the detector reads without an object.

    Parameters
    ----------
    energies : sequence of float
        Photon energies in keV.
    shares : sequence of float
        One per energy, not negative; they are divided by their sum.

    Raises
    ------
    TypeError, ValueError
        If these are no numbers, as many, or shares are negative or all zero.

    Examples
    --------
    >>> spectrum = Spectrum.tube(80, filters={"Al": 2.5})
    >>> plastic, iron = spectrum.attenuation("pmma"), spectrum.attenuation("Fe", density=7.87)
    >>> y = spectrum.line_integrals(A(torch.stack([is_plastic, is_iron])), [plastic, iron])
    """

    energies: tuple[float, ...]
    shares: tuple[float, ...]

    def __init__(self, energies: Sequence[float], shares: Sequence[float]) -> None:
        values = check_floats("energies", energies)
        if min(values) <= 0:
            raise TomolearnError(f"energies: expected positive numbers in keV, got {min(values)}")
        parts = check_floats("shares", shares, length=len(values))
        total = sum(parts)
        if min(parts) < 0 or total <= 0:
            raise TomolearnError(
                f"shares: expected none below 0 and some above, got {min(parts):.4g} to "
                f"{max(parts):.4g}"
            )
        object.__setattr__(self, "energies", values)
        object.__setattr__(self, "shares", tuple(part / total for part in parts))

    @classmethod
    def tube(
        cls,
        voltage: float,
        *,
        filters: Mapping[str, float] | None = None,
        anode_angle: float = 12.0,
        detector: str = "energy",
        step: float = 1.0,
    ) -> Spectrum:
        """Return the spectrum of a tungsten tube, by spekpy (doi:10.1002/mp.14945).

        Parameters
        ----------
        voltage : float
            In kV.
        filters : dict of str to float, optional
            Thickness in mm of each material in the beam, by spekpy's names: ``{"Al": 2.5}``.
        anode_angle : float
            In degrees.
        detector : {"energy", "photons"}
            Whether it adds up energies, as scintillators do, or counts photons.
        step : float
            Width of an energy bin in keV.

        Raises
        ------
        ImportError
            If spekpy is not there.
        TypeError, ValueError
            If a setting will not do.
        """
        spekpy = optional_import("spekpy", purpose="a tube's spectrum", install=_INSTALL)
        check_choice("detector", detector, ("energy", "photons"))
        settings = {
            "kvp": check_float("voltage", voltage, positive=True),
            "th": check_float("anode_angle", anode_angle, positive=True),
            "dk": check_float("step", step, positive=True),
        }
        try:
            beam = spekpy.Spek(**settings)
            for material, thickness in (filters or {}).items():
                beam.filter(material, check_float(f"filters[{material!r}]", thickness))
            energies, fluence = beam.get_spectrum(edges=False)
        except TomolearnError:
            raise
        # spekpy raises plain exceptions
        except Exception as error:
            raise TomolearnError(
                f"voltage, filters: expected what spekpy knows, got {voltage} kV, "
                f"{dict(filters or {})}: {error}"
            ) from error
        return cls(energies, fluence * energies if detector == "energy" else fluence)

    def attenuation(self, material: str, density: float | None = None) -> tuple[float, ...]:
        """Return the attenuation of a material at each energy, in 1/mm, by xraydb.

        Parameters
        ----------
        material : str
            Name that xraydb knows (``"water"``, ``"pmma"``), or a chemical formula.
        density : float, optional
            In g/cm^3; of a formula it has to be given.

        Raises
        ------
        ImportError
            If xraydb is not there.
        TypeError, ValueError
            If the material is not known, or its density neither known nor given.
        """
        xraydb = optional_import("xraydb", purpose="attenuation of materials", install=_INSTALL)
        if not isinstance(material, str):
            raise TomolearnTypeError(
                f"material: expected a name or formula, got {type(material).__name__}"
            )
        if density is not None:
            density = check_float("density", density, positive=True)
        if density is None and xraydb.find_material(material) is None:
            raise TomolearnError(
                f"density: expected one in g/cm^3 with the formula {material!r}, got none"
            )
        energies = 1000 * np.array(self.energies)
        try:
            per_cm = xraydb.material_mu(material, energies, density=density)
        except (ValueError, KeyError) as error:
            raise TomolearnError(
                f"material: expected a formula or a name of xraydb's, got {material!r}: {error}"
            ) from error
        return tuple((np.asarray(per_cm) / 10).tolist())

    def line_integrals(
        self, lengths: torch.Tensor, attenuations: Sequence[Sequence[float]]
    ) -> torch.Tensor:
        """Return what a detector measures as line integrals: ``-log`` of the transmission.

        Parameters
        ----------
        lengths : torch.Tensor, shape (materials, ...)
            Path lengths in mm: projections of the share of each material in the pixels.
        attenuations : sequence of sequence of float
            In 1/mm, one per material and energy.

        Returns
        -------
        torch.Tensor, shape (...)
            Differentiable by the lengths. `PhotonNoise` of it counts as if all photons had one
            energy.

        Raises
        ------
        TypeError, ValueError
            If there are not as many attenuations as materials, or energies.
        """
        import torch

        from tomolearn._core.tensors import check_real_tensor

        check_real_tensor("lengths", lengths)
        if lengths.ndim == 0 or len(lengths) != len(attenuations):
            raise TomolearnError(
                f"attenuations: expected one per material of lengths {tuple(lengths.shape)}, "
                f"got {len(attenuations)}"
            )
        table = np.array(
            [
                check_floats(f"attenuations[{k}]", values, length=len(self.energies))
                for k, values in enumerate(attenuations)
            ]
        )
        shares = torch.tensor(self.shares).to(lengths)
        seen = shares > 0
        exponents = torch.tensordot(torch.from_numpy(table).to(lengths)[:, seen].T, lengths, dims=1)
        weights = shares[seen].log().reshape(-1, *(1,) * (lengths.ndim - 1))
        return -torch.logsumexp(weights - exponents, dim=0)

    def to_dict(self) -> dict[str, Any]:
        """Return energies and shares, ready for JSON."""
        return {
            "type": type(self).__name__,
            "energies": list(self.energies),
            "shares": list(self.shares),
        }

    def __str__(self) -> str:
        low, high = min(self.energies), max(self.energies)
        mean = sum(e * s for e, s in zip(self.energies, self.shares, strict=True))
        return f"{low:g} to {high:g} keV, mean {mean:.3g}"
