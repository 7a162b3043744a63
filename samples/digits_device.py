"""Run digits.riree on one device with the runtime alone; `make demo` starts one per device.

    python samples/digits_device.py digits.riree images.npz --device cpu --out cpu.npz

``images.npz`` holds ``images`` float32 (n, 8, 8), ``labels`` int (n,) and ``jax`` int (n,), the
classes that JAX predicted. This file needs numpy and recurrent-iree-runtime, nothing else.
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np

import recurrent_iree_runtime as rt


def classify(model: rt.Model, images: np.ndarray) -> dict[str, np.ndarray]:
    """Logits (n, 10) and seconds (n,) of every image, one call each."""
    start = time.perf_counter()
    model(images[:1])
    first = time.perf_counter() - start
    logits, seconds = [], []
    for image in images:
        start = time.perf_counter()
        row = model(image[None])
        seconds.append(time.perf_counter() - start)
        logits.append(row[0])
    return {
        "logits": np.stack(logits),
        "seconds": np.asarray(seconds),
        "first": np.asarray(first),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description="classify the digits on one device")
    parser.add_argument("artifact", type=Path)
    parser.add_argument("images", type=Path)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    data = np.load(args.images)
    try:
        start = time.perf_counter()
        with rt.load(args.artifact, device=args.device) as model:
            load = time.perf_counter() - start
            result = classify(model, data["images"])
            description = model.device.description
    except rt.RecurrentIreeError as error:
        print(f"{args.device}: {error}", file=sys.stderr)
        return 1
    if not args.device.startswith("xla"):
        assert "jax" not in sys.modules, "the runtime must not import JAX"
        assert "iree.compiler" not in sys.modules, "the runtime must not import the compiler"
    predicted = result["logits"].argmax(axis=-1)
    np.savez(
        args.out,
        predicted=predicted,
        load=load,
        description=description,
        **result,
    )
    accuracy, agreement = np.mean(predicted == data["labels"]), np.mean(predicted == data["jax"])
    print(
        f"{args.device}: {len(predicted)} images, accuracy {accuracy:.1%}, same class as JAX "
        f"{agreement:.1%}, p50 {np.median(result['seconds']) * 1e6:.0f} µs"
    )
    return 0 if agreement == 1 else 1


if __name__ == "__main__":
    sys.exit(main())
