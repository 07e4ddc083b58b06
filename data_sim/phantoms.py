"""Shepp-Logan and random ellipse phantoms."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from data_sim.ellipses import Ellipses
from data_sim.rasterisation import rasterise
from tomolearn._core.checks import check_choice, check_generator, check_image_shape, check_int
from tomolearn._core.errors import TomolearnError

CONVENTIONS = ("adler", "dival")
EXTENTS = ("edges", "centres")

# (value in tenths, semi-axis, semi-axis, right, up, rotation in degrees), as printed: seen from
# the front, "right" and "up" on the page, rotation counter-clockwise. Tenths, because sums of
# integers are exact and the phantom's zeros shall be zeros.
_SHEPP_LOGAN = (
    (10, 0.69, 0.92, 0.0, 0.0, 0.0),
    (-8, 0.6624, 0.874, 0.0, -0.0184, 0.0),
    (-2, 0.11, 0.31, 0.22, 0.0, -18.0),
    (-2, 0.16, 0.41, -0.22, 0.0, 18.0),
    (1, 0.21, 0.25, 0.0, 0.35, 0.0),
    (1, 0.046, 0.046, 0.0, 0.1, 0.0),
    (1, 0.046, 0.046, 0.0, -0.1, 0.0),
    (1, 0.046, 0.023, -0.08, -0.605, 0.0),
    (1, 0.023, 0.023, 0.0, -0.606, 0.0),
    (1, 0.023, 0.046, 0.06, -0.605, 0.0),
)


def _shepp_logan_tenths() -> Ellipses:
    table = np.array(_SHEPP_LOGAN)
    # Up on the page is towards row 0, so (x, y) = (-up, right). This is a quarter turn; swapped
    # semi-axes stand for it, because cos(pi / 2) is not 0 and would spoil the mirror symmetry.
    return Ellipses(
        value=table[:, 0],
        semi_axes=table[:, 2:0:-1],
        centre=np.stack((-table[:, 4], table[:, 3]), axis=1),
        rotation=np.deg2rad(table[:, 5]),
    )


def shepp_logan_ellipses() -> Ellipses:
    """Return the ten ellipses of the modified Shepp-Logan phantom, values in [0, 1].

    Ellipses and their order are those of Shepp and Logan [1]_, with the intensities of
    Toft [2]_ (1, -0.8, -0.2, -0.2, then six times 0.1), whose contrast the eye can see.

    The orientation is that of the printed phantom when row 0 is shown at the top: the head is
    taller than wide, the larger of the two dark ventricles lies on the left. ODL's phantom, which
    identifies "right" with x, is this one after ``numpy.rot90(image, -1)``.

    References
    ----------
    .. [1] L. A. Shepp, B. F. Logan, "The Fourier reconstruction of a head section", IEEE Trans.
       Nucl. Sci. 21 (1974), doi:10.1109/TNS.1974.6499235
    .. [2] P. Toft, "The Radon Transform: Theory and Implementation", PhD thesis, Technical
       University of Denmark (1996)
    """
    tenths = _shepp_logan_tenths()
    return Ellipses(tenths.value / 10, tenths.semi_axes, tenths.centre, tenths.rotation)


def shepp_logan(
    shape: Sequence[int], *, oversampling: int = 1, extent: str = "edges"
) -> NDArray[np.float32]:
    """Return the modified Shepp-Logan phantom as an image in [0, 1].

    Parameters
    ----------
    shape : (int, int)
        Rows and columns. Where they differ the head is stretched with the image.
    oversampling : int
        Each pixel becomes the mean over oversampling x oversampling samples.
    extent : {"edges", "centres"}
        What lies at the border -1 and 1 of the phantom's square: the edges of the outermost
        pixels, or their centres as in ODL's phantoms, with which published figures were made
        (square images only; 0.25 dB in total variation's figure at 128 x 128).

    Returns
    -------
    numpy.ndarray of float32, shape ``shape``
        Row 0 is at the top of the head; see `shepp_logan_ellipses`.

    Raises
    ------
    TypeError, ValueError
        If ``shape`` is not two positive integers, ``oversampling`` not a positive integer or
        ``extent`` unknown, or not possible with that shape.
    """
    tenths = _sampled(_shepp_logan_tenths(), shape, oversampling, extent, np.float64)
    return (tenths / 10).astype(np.float32)


def random_ellipse_parameters(
    n_images: int, rng: np.random.Generator, convention: str = "adler"
) -> Ellipses:
    """Draw the ellipses of random phantoms.

    Parameters
    ----------
    n_images : int
        Number of phantoms, at least 1.
    rng : numpy.random.Generator
        Source of randomness; one call for ten phantoms differs from two for five.
    convention : {"adler", "dival"}
        "adler": n ~ Poisson(50), value (U(0, 1) - 0.5) Exp(mean 0.4), centre U(-1, 1)^2 [1]_.
        "dival": n ~ min(Poisson(40), 70), value U(-0.4, 1), centre U(-0.9, 0.9)^2 [2]_.
        Both: semi-axes 0.2 Exp(1) each, rotation U(0, 2 pi).

    Returns
    -------
    Ellipses
        A batch. Ellipses may reach beyond the image; exact sinograms contain those parts.

    Raises
    ------
    TypeError, ValueError
        If ``rng`` is no generator, ``n_images`` no positive integer or ``convention`` unknown.

    References
    ----------
    .. [1] J. Adler, O. Öktem, "Learned Primal-Dual Reconstruction", IEEE Trans. Med. Imaging 37
       (2018), arXiv:1707.06474
    .. [2] The ellipses data set of the DIVal library; D. O. Baguer, J. Leuschner, M. Schmidt,
       "Computed tomography reconstruction using deep image prior and learned reconstruction
       methods", Inverse Problems 36 (2020), arXiv:2003.04989
    """
    n_images = check_int("n_images", n_images, minimum=1)
    check_generator(rng)
    check_choice("convention", convention, CONVENTIONS)
    if convention == "adler":
        counts = rng.poisson(50, n_images)
        total = int(counts.sum())
        value = (rng.random(total) - 0.5) * rng.exponential(0.4, total)
        reach = 1.0
    else:
        counts = np.minimum(rng.poisson(40, n_images), 70)
        total = int(counts.sum())
        value = rng.uniform(-0.4, 1.0, total)
        reach = 0.9
    # The exponential law may yield an exact 0, which is no semi-axis; nobody sees 1e-9.
    semi_axes = np.maximum(0.2 * rng.exponential(1.0, (total, 2)), 1e-9)
    centre = rng.uniform(-reach, reach, (total, 2))
    rotation = rng.uniform(0.0, 2 * math.pi, total)
    return Ellipses(value, semi_axes, centre, rotation, counts)


def random_ellipses(
    n_images: int,
    shape: Sequence[int],
    rng: np.random.Generator,
    convention: str = "adler",
    *,
    oversampling: int = 1,
    extent: str = "edges",
) -> NDArray[np.float32]:
    """Draw random ellipse phantoms as images.

    Parameters
    ----------
    n_images, rng
        As for `random_ellipse_parameters`.
    shape : (int, int)
        Rows and columns of each.
    convention : {"adler", "dival"}
        Law of the ellipses, see `random_ellipse_parameters`. "adler" sums are neither clipped nor
        normalised. "dival" images are in [0, 1]: the image's minimum is subtracted from all pixels
        that are not 0, then the image is divided by its maximum (an image of zeros stays one).
    oversampling, extent
        As for `shepp_logan`; the published data sets have an oversampling of 1.

    Returns
    -------
    numpy.ndarray of float32, shape (n_images, rows, columns)
        The phantoms, dimensionless.

    Raises
    ------
    TypeError, ValueError
        As for `random_ellipse_parameters` and `shepp_logan`.
    """
    shape = check_image_shape(shape)
    check_int("oversampling", oversampling, minimum=1)
    ellipses = random_ellipse_parameters(n_images, rng, convention)
    images = _sampled(ellipses, shape, oversampling, extent, np.float32)
    if convention == "dival":
        for image in images:
            _normalise_foreground(image)
    return images


def _sampled(
    ellipses: Ellipses, shape: Sequence[int], oversampling: int, extent: str, dtype: type
) -> NDArray:
    rows, columns = check_image_shape(shape)
    if check_choice("extent", extent, EXTENTS) == "centres":
        if rows != columns:
            raise TomolearnError(
                f"extent: expected 'edges' for an image of {rows} x {columns} pixels"
            )
        ellipses = ellipses.scaled((rows - 1) / rows if rows > 1 else 1.0)
    return rasterise(ellipses, shape, oversampling=oversampling, dtype=dtype)


def _normalise_foreground(image: NDArray[np.float32]) -> None:
    image[image != 0] -= image.min()
    maximum = image.max()
    if maximum > 0:
        image /= maximum
