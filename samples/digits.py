"""Handwritten digits, from training in JAX to one file that every device of this machine runs.

    make demo            (or: python samples/digits.py --out build/demo)

Each 8x8 image is read as 8 time steps of 8 pixels by an LSTM. The trained model is compiled ahead
of time for four targets into ``digits.riree``; then one process per device, which never imports
JAX, classifies the 360 held-out images, and its answers are compared with those of JAX.
"""

import argparse
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from _digits_plot import Bar, draw
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import recurrent_iree as ri
import recurrent_iree_runtime as rt

SEED, UNITS, EPOCHS, BATCH, RATE, NOISE = 0, 64, 80, 64, 1e-2, 0.1
TARGETS = ("cpu", "vulkan", "cuda", "xla")
WANTED_ACCURACY = 0.97
console = Console()


@dataclass(frozen=True)
class Data:
    """Images float32 (n, 8, 8) from 0 to 1 and labels int32 (n,)."""

    images: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True)
class Result:
    """What one device answered: classes (n,), seconds per image (n,), seconds until loaded."""

    device: str
    description: str
    predicted: np.ndarray
    seconds: np.ndarray
    load: float


def load_data() -> tuple[Data, Data]:
    """1437 images to train with and 360 held out, the same on every run."""
    digits = load_digits()
    images = (digits.images / 16).astype(np.float32)
    split = train_test_split(
        images, digits.target.astype(np.int32), test_size=360, stratify=digits.target,
        random_state=SEED,
    )  # fmt: skip
    return Data(split[0], split[2]), Data(split[1], split[3])


def make_model() -> ri.layers.Sequential:
    return ri.layers.Sequential([ri.layers.LSTM(UNITS), ri.layers.Dense(10)], name="digits")


def train(model: ri.layers.Sequential, data: Data) -> list[jax.Array]:
    """Train with Adam on slightly noisy images; return the weights, in ``get_weights`` order."""
    batches = len(data.images) // BATCH
    optimizer = optax.adam(optax.cosine_decay_schedule(RATE, EPOCHS * batches))
    images, labels = jnp.asarray(data.images), jnp.asarray(data.labels)

    def loss(weights, x, y):
        logits, _ = model.stateless_call(weights, [], x)
        return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()

    def update(carry, batch):
        weights, state = carry
        rows, key = batch
        x = images[rows] + NOISE * jax.random.normal(key, (BATCH, 8, 8))
        value, gradients = jax.value_and_grad(loss)(weights, x, labels[rows])
        updates, state = optimizer.update(gradients, state, weights)
        return (optax.apply_updates(weights, updates), state), value

    @jax.jit
    def epoch(weights, state, key):
        order = jax.random.permutation(key, len(images))[: batches * BATCH]
        batch = order.reshape(batches, BATCH), jax.random.split(key, batches)
        (weights, state), values = jax.lax.scan(update, (weights, state), batch)
        return weights, state, values.mean()

    weights = model.init_weights(jax.random.key(SEED), (None, 8, 8))
    state = optimizer.init(weights)
    with _progress() as progress:
        task = progress.add_task("train", total=EPOCHS, note="")
        for key in jax.random.split(jax.random.key(SEED), EPOCHS):
            weights, state, value = epoch(weights, state, key)
            progress.update(task, advance=1, note=f"loss {value:.4f}")
    return weights


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description:<8}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total} epochs  {task.fields[note]}"),
        TimeElapsedColumn(),
        console=console,
    )


def run_jax(model: ri.layers.Sequential, weights: list[jax.Array], images: np.ndarray) -> Result:
    """The reference: the same layers under ``jax.jit``, one image per call."""
    call = jax.jit(lambda x: model.stateless_call(weights, [], x)[0])
    start = time.perf_counter()
    call(images[:1]).block_until_ready()
    load = time.perf_counter() - start
    predicted, seconds = [], []
    for image in images:
        start = time.perf_counter()
        logits = np.asarray(call(image[None]))
        seconds.append(time.perf_counter() - start)
        predicted.append(logits[0].argmax())
    return Result("jax", "JAX, in this process", np.stack(predicted), np.asarray(seconds), load)


def run_device(device: str, out: Path) -> Result | None:
    """Classify in a process of its own, which holds the runtime only; None if that fails."""
    script = Path(__file__).with_name("digits_device.py")
    answers = out / f"{device.replace(':', '-')}.npz"
    answers.unlink(missing_ok=True)
    command = [sys.executable, str(script), str(out / "digits.riree"), str(out / "images.npz")]
    done = subprocess.run(
        [*command, "--device", device, "--out", str(answers)],
        text=True, capture_output=True, timeout=100, check=False,
    )  # fmt: skip
    console.print((done.stdout + done.stderr).strip(), highlight=False, markup=False)
    if not answers.exists():
        return None
    with np.load(answers) as a:
        return Result(
            device, str(a["description"]), a["predicted"], a["seconds"], float(a["load"])
        )


def show(results: list[Result], labels: np.ndarray, size: int) -> None:
    table = Table(title="360 held-out images, one call each", title_justify="left")
    for name in ("device", "accuracy", "same class as JAX", "p50 per image", "loaded in", "file"):
        table.add_column(name, justify="left" if name == "device" else "right")
    for r in results:
        table.add_row(
            r.device,
            f"{np.mean(r.predicted == labels):.1%}",
            f"{np.sum(r.predicted == results[0].predicted)}/{len(labels)}",
            f"{np.median(r.seconds) * 1e6:,.0f} µs",
            f"{r.load * 1e3:,.0f} ms",
            "" if r.device == "jax" else f"{size / 1024:,.0f} KiB",
        )
    console.print(table)


def missed(results: list[Result], failed: list[str], labels: np.ndarray) -> list[str]:
    """What the demo promises and does not hold, one sentence each."""
    sentences = [f"{device}: gave no answers" for device in failed]
    for r in results:
        accuracy, same = np.mean(r.predicted == labels), np.sum(r.predicted == results[0].predicted)
        if accuracy < WANTED_ACCURACY:
            sentences.append(f"{r.device}: accuracy {accuracy:.1%}, below {WANTED_ACCURACY:.0%}")
        if same < len(labels):
            sentences.append(f"{r.device}: another class than JAX for {len(labels) - same} images")
    return sentences


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("build/demo"), help="folder to fill")
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    training, held_out = load_data()
    model = make_model()
    weights = train(model, training)
    model.set_weights([np.asarray(w) for w in weights])
    results = [run_jax(model, weights, held_out.images)]
    np.savez(
        out / "images.npz", images=held_out.images, labels=held_out.labels,
        jax=results[0].predicted,
    )  # fmt: skip

    path = out / "digits.riree"
    with console.status(f"compile for {', '.join(TARGETS)}"):
        ri.compile(model, ri.spec("batch=1", "time=8", 8), targets=TARGETS).save(path)
    console.print(f"compiled {path}, {path.stat().st_size / 1024:,.0f} KiB: {', '.join(TARGETS)}")

    failed = []
    for device in rt.devices():
        if device.driver not in TARGETS or device.name.startswith("cpu:"):
            continue
        if not device.available:
            reason = device.reason.partition(" (")[0]
            console.print(f"{device.name}: {reason}", highlight=False, soft_wrap=True)
        elif (result := run_device(device.name, out)) is None:
            failed.append(device.name)
        else:
            results.append(result)
    show(results, held_out.labels, path.stat().st_size)
    bars = [
        Bar(r.device, float(np.mean(r.predicted == held_out.labels)), float(np.median(r.seconds)))
        for r in results
    ]
    draw(
        out / "digits.png", bars, held_out.images, held_out.labels, results[-1].predicted,
        "Digits read as 8 steps of 8 pixels: one LSTM, one file, every device",
    )  # fmt: skip
    console.print(f"picture: {out / 'digits.png'}")
    problems = missed(results, failed, held_out.labels)
    for sentence in problems:
        console.print(sentence, style="red", highlight=False)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
