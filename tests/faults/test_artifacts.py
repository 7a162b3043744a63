"""Changed artifacts in processes of their own: a typed error or the right answer, nothing else."""

import pytest
from faults.sweep import sweep

FULL = {"bytes": 3000, "zip": 1000, "manifest": 3000, "tensors": 500, "snapshot": 1000}
WHAT = {
    "bytes": "flipped, cut, zeroed, garbage, inserted, appended, swapped bytes",
    "zip": "zip: members twice, ../ names, overlaps, bombs, claimed sizes, repacked",
    "manifest": "lying manifests, hashed again: sizes, shapes, dtypes, trees, symbols, counts",
    "snapshot": "snapshots of streams: changed bytes; lying headers, hashed again",
    "tensors": "lying weights and golden tensors, hashed again",
}


def check(kind, variants, seed, table, tell):
    outcome = sweep(kind, variants, seed, tell)
    counts = outcome.counts
    table(
        "changed artifacts",
        **{"class": WHAT[kind]},
        variants=outcome.total,
        refused=counts["refused"],
        right=counts["right"],
        same=counts["same"],
        wrong=counts["wrong"],
        untyped=counts["untyped"],
        crashes=counts["crash"],
        hangs=counts["hang"],
        peak=f"{outcome.peak >> 20} MiB",
    )
    assert not outcome.bad, "\n".join(outcome.bad[:20])
    assert outcome.total == variants
    return outcome


@pytest.mark.parametrize("kind", FULL)
def test_some_changed_artifacts(kind, table, tell):
    outcome = check(kind, 80, 1, table, tell)
    assert outcome.counts["refused"] > 40


@pytest.mark.faults
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("kind", FULL)
def test_all_changed_artifacts(kind, table, tell):
    outcome = check(kind, FULL[kind], 2, table, tell)
    table("errors of changed artifacts", **{"class": kind}, **outcome.classes)
