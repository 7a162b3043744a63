"""Changed artifacts, in a process of their own: a typed error or the right answer, no crash."""

import subprocess
import sys
from pathlib import Path

FILE = Path(__file__).resolve().parents[1] / "data" / "tiny.riree"
VARIANTS = 400

CODE = """
import random, sys
import numpy as np
import recurrent_iree_runtime as rt
data = open(sys.argv[1], "rb").read()
x = np.linspace(-1, 1, 15, dtype=np.float32).reshape(1, 5, 3)
with rt.load(data, "cpu") as model:
    right = model(x)
draw = random.Random(int(sys.argv[2]))

def flip(d):
    for _ in range(draw.choice((1, 1, 1, 8))):
        d[draw.randrange(len(d))] ^= 1 << draw.randrange(8)
def truncate(d):
    del d[draw.randrange(len(d)):]
def cut(d):
    at = draw.randrange(len(d)); del d[at:at + draw.randrange(1, 200)]
def zero(d):
    at = draw.randrange(len(d)); d[at:at + 64] = bytes(len(d[at:at + 64]))
def garbage(d):
    at = draw.randrange(len(d)); n = len(d[at:at + 64]); d[at:at + 64] = draw.randbytes(n)
def insert(d):
    at = draw.randrange(len(d)); d[at:at] = draw.randbytes(draw.randrange(1, 100))
def append(d):
    d += draw.randbytes(draw.randrange(1, 100))
def swap(d):
    a, b = draw.randrange(len(d)), draw.randrange(len(d))
    d[a:a+32], d[b:b+32] = d[b:b+32], d[a:a+32]

counts = {"refused": 0, "right": 0, "same": 0}
for number in range(int(sys.argv[3])):
    change = draw.choice((flip, flip, flip, truncate, cut, zero, garbage, insert, append, swap))
    changed = bytearray(data)
    change(changed)
    if changed == data:
        counts["same"] += 1
        continue
    try:
        artifact = rt.read(changed)
        with rt.load(artifact, "cpu") as model:
            got = model(x)
        assert np.array_equal(got, right), (number, change)
        artifact.check()
        counts["right"] += 1
    except rt.ArtifactError:
        counts["refused"] += 1
print(counts["refused"], counts["right"], counts["same"])
"""


def sweep(seed, variants):
    done = subprocess.run(
        [sys.executable, "-c", CODE, str(FILE), str(seed), str(variants)],
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return [int(word) for word in done.stdout.split()]


def test_random_changes():
    refused, right, same = sweep(seed=20, variants=VARIANTS)
    assert refused + right + same == VARIANTS
    assert right == 0, "every byte of the file is checked"
    assert refused > VARIANTS * 0.9
