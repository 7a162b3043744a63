"""The digits sample, without its training: one process per device, and what it counts as missed."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import recurrent_iree as ri

SAMPLES = Path(__file__).parents[2] / "samples"
IMAGES = 12


@pytest.fixture(scope="module")
def digits():
    sys.path.insert(0, str(SAMPLES))
    try:
        import digits  # pyright: ignore[reportMissingImports]
    finally:
        sys.path.remove(str(SAMPLES))
    return digits


@pytest.fixture(scope="module")
def out(digits, tmp_path_factory):
    """A folder as `make demo` fills it, with the weights untrained."""
    folder = tmp_path_factory.mktemp("digits")
    _, held_out = digits.load_data()
    images, labels = held_out.images[:IMAGES], held_out.labels[:IMAGES]
    model = digits.make_model()
    weights = model.init_weights(input_shape=(None, 8, 8))
    model.set_weights([np.asarray(w) for w in weights])
    predicted = digits.run_jax(model, weights, images).predicted
    np.savez(folder / "images.npz", images=images, labels=labels, jax=predicted)
    targets = ["cpu", "vulkan:llvmpipe", "xla"]
    ri.compile(model, ri.spec("batch=1", "time=8", 8), targets=targets).save(
        folder / "digits.riree"
    )
    return folder


def run(out, device, images="images.npz"):
    return subprocess.run(
        [
            sys.executable, SAMPLES / "digits_device.py", out / "digits.riree", out / images,
            "--device", device, "--out", out / "answers.npz",
        ],
        capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("device", ["cpu", pytest.param("vulkan", marks=pytest.mark.vulkan), "xla"])
def test_device_gives_the_classes_of_jax(out, device):
    done = run(out, device)
    assert done.returncode == 0, done.stderr
    assert f"{device}: {IMAGES} images" in done.stdout
    with np.load(out / "answers.npz") as answers, np.load(out / "images.npz") as data:
        np.testing.assert_array_equal(answers["predicted"], data["jax"])
        assert answers["seconds"].shape == (IMAGES,)


def test_another_class_than_jax_fails(out):
    with np.load(out / "images.npz") as data:
        np.savez(out / "other.npz", **(dict(data) | {"jax": (data["jax"] + 1) % 10}))
    assert run(out, "cpu", "other.npz").returncode == 1


def test_missing_device_is_one_line(out):
    done = run(out, "toaster")
    assert done.returncode == 1
    assert done.stderr.startswith("toaster: there is no device") and done.stderr.count("\n") == 1


def test_data_is_the_same_on_every_run(digits):
    first, again = digits.load_data(), digits.load_data()
    assert [len(part.images) for part in first] == [1437, 360]
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a.images, b.images)


def result(digits, device, predicted):
    return digits.Result(device, "", np.asarray(predicted), np.ones(len(predicted)), 0.0)


def test_missed(digits):
    labels = np.arange(100) % 10
    good, wrong = labels.copy(), labels.copy()
    good[0], wrong[:4] = 9, 9
    results = [result(digits, "jax", good), result(digits, "cpu", good)]
    assert digits.missed(results, [], labels) == []
    results.append(result(digits, "vulkan", wrong))
    assert digits.missed(results, ["cuda"], labels) == [
        "cuda: gave no answers",
        "vulkan: accuracy 96.0%, below 97%",
        "vulkan: another class than JAX for 3 images",
    ]


def test_picture(digits, tmp_path):
    labels = np.arange(30) % 10
    bars = [digits.Bar("jax", 1.0, 1e-4), digits.Bar("cpu", 0.99, 2e-5)]
    path = tmp_path / "digits.png"
    digits.draw(path, bars, np.zeros((30, 8, 8)), labels, (labels + (labels == 3)) % 10, "title")
    assert path.read_bytes().startswith(b"\x89PNG")
