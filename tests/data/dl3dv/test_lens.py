"""Lenses against COLMAP's formulas written out by hand, their inverse, and resampling."""

from __future__ import annotations

import numpy as np
import pytest

from data.dl3dv.lens import Lens, displacement, resample, sampling, undistorted

OPENCV = Lens(96, 64, 80.0, 82.0, 47.0, 33.0, False, (-0.2, 0.05, 0.0, 0.0), (0.002, -0.003))
FISHEYE = Lens(96, 64, 60.0, 60.0, 48.0, 32.0, True, (0.05, -0.02, 0.004, -0.001))
PINHOLE = Lens(96, 64, 80.0, 82.0, 47.0, 33.0)


def test_opencv_by_hand() -> None:
    x, y = 0.3, -0.2
    r2 = x * x + y * y
    radial = 1 - 0.2 * r2 + 0.05 * r2**2
    u = x * radial + 2 * 0.002 * x * y - 0.003 * (r2 + 2 * x * x)
    v = y * radial + 0.002 * (r2 + 2 * y * y) + 2 * -0.003 * x * y
    np.testing.assert_allclose(OPENCV.project(np.array([x, y])), [80 * u + 47, 82 * v + 33], rtol=1e-12)


def test_fisheye_by_hand() -> None:
    x, y = 0.6, 0.5
    r = np.hypot(x, y)
    angle = np.arctan(r)
    bent = angle + 0.05 * angle**3 - 0.02 * angle**5 + 0.004 * angle**7 - 0.001 * angle**9
    np.testing.assert_allclose(
        FISHEYE.project(np.array([x, y])), [60 * x * bent / r + 48, 60 * y * bent / r + 32], rtol=1e-12
    )
    np.testing.assert_allclose(FISHEYE.project(np.zeros(2)), [48, 32])


@pytest.mark.parametrize("lens", [OPENCV, FISHEYE, PINHOLE])
def test_unproject_is_the_inverse(lens: Lens) -> None:
    pixels = lens.pixels()
    assert pixels.shape == (64, 96, 2) and pixels[0, 0].tolist() == [0.5, 0.5]
    np.testing.assert_allclose(lens.project(lens.unproject(pixels)), pixels, atol=1e-5)


def test_no_inverse_is_nan_not_a_number() -> None:
    folded = Lens(96, 64, 30.0, 30.0, 48.0, 32.0, False, (-0.5, 0.0, 0.0, 0.0))
    assert np.isnan(folded.unproject(np.array([[0.5, 0.5]]))).all()
    assert np.isnan(displacement(folded))


def test_resizing_scales_by_pure_factors() -> None:
    half = OPENCV.resized(48, 16)
    assert (half.fx, half.fy, half.cx, half.cy) == (40.0, 20.5, 23.5, 8.25)
    rays = np.array([[0.1, 0.2], [-0.3, 0.1]])
    np.testing.assert_allclose(half.project(rays), OPENCV.project(rays) * (0.5, 0.25))


@pytest.mark.parametrize("k1", [-0.2, 0.2])
@pytest.mark.parametrize("fisheye", [False, True])
def test_undistorted_pictures_have_no_empty_border(k1: float, fisheye: bool) -> None:
    lens = Lens(96, 64, 80.0, 80.0, 48.0, 32.0, fisheye, (k1, 0.0, 0.0, 0.0))
    target = undistorted(lens)
    assert not target.distorted and (target.width, target.height, target.cx, target.cy) == (96, 64, 48.0, 32.0)
    moved = resample(np.full((64, 96, 3), 200, np.uint8), sampling(target, lens), nearest=False)
    assert (moved == 200).all()
    zoom = target.fx / lens.fx
    assert zoom == 1.0 if k1 < 0 else 1 <= zoom < 1.3


def test_absurd_coefficients_are_refused() -> None:
    with pytest.raises(ValueError, match="no pinhole"):
        undistorted(Lens(96, 64, 20.0, 20.0, 48.0, 32.0, False, (500.0, 0.0, 0.0, 0.0)))


def test_displacement_is_that_of_the_worst_pixel() -> None:
    lens = Lens(96, 64, 80.0, 80.0, 48.0, 32.0, False, (-0.1, 0.0, 0.0, 0.0))
    every = np.linalg.norm(lens.pinhole().project(lens.unproject(lens.pixels())) - lens.pixels(), axis=-1)
    assert displacement(lens) == pytest.approx(every.max()) and displacement(PINHOLE) == 0


def test_resampling_by_whole_pixels_is_exact() -> None:
    image = np.arange(64 * 96, dtype=np.float32).reshape(64, 96)
    where = PINHOLE.pixels()
    np.testing.assert_allclose(resample(image, where, nearest=False), image, atol=2e-3)
    whole = np.random.default_rng(0).integers(0, 255, (64, 96, 3), dtype=np.uint8)
    assert np.array_equal(resample(whole, where, nearest=False), whole)
    assert np.array_equal(resample(image, where, nearest=True), image)
    shifted = resample(image, where + np.array([3, -2]), nearest=True)
    assert np.array_equal(shifted[2:, :-3], image[:-2, 3:])
    assert (shifted[:2] == 0).all() and (shifted[:, -3:] == 0).all()


def test_interpolation_is_linear_and_nearest_is_not() -> None:
    image = np.array([[0, 100]], np.uint8)
    where = np.array([[[1.0, 0.5], [0.75, 0.5]]])
    assert resample(image, where, nearest=False).tolist() == [[50, 25]]
    assert resample(image, where, nearest=True).tolist()[0][1] == 0
