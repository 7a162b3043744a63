"""The cache: hits, damage, bounds, two processes at once, and death in the middle."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from compiler import programs
from recurrent_iree_compiler import BuildOptions, build
from recurrent_iree_compiler._cache import Cache, cache_key
from recurrent_iree_compiler._iree_compile import compile_module
from recurrent_iree_compiler._targets import parse_target
from recurrent_iree_runtime import StorageError

SEARCH = os.pathsep.join(p for p in sys.path if p)


def counting(tmp_path, fake_compiler, body=""):
    """A compiler that writes one line per run and takes a moment."""
    log = tmp_path / "runs"
    script = f'echo run >> {log}\n{body}\nfor a; do out="$a"; done\nprintf compiled > "$out"'
    return fake_compiler(script), log


def run(options):
    return compile_module("module {}", parse_target("vmvx"), options)


def test_a_hit_needs_no_compiler(tmp_path, fake_compiler):
    compiler, log = counting(tmp_path, fake_compiler)
    options = BuildOptions(cache_dir=tmp_path / "cache", compiler=compiler)
    hits = []
    for _ in range(3):
        compile_module("module {}", parse_target("vmvx"), options, on_hit=lambda: hits.append(True))
    assert log.read_text().count("run") == 1
    assert len(hits) == 2


def test_what_was_compiled_without_checks_is_not_found_by_who_does_not_compare(
    tmp_path, fake_compiler
):
    compiler, log = counting(tmp_path, fake_compiler)
    for verify in (True, True, False, False):
        options = BuildOptions(cache_dir=tmp_path / "cache", compiler=compiler, verify=verify)
        assert compile_module("module {}", parse_target("cpu"), options) == b"compiled"
    assert log.read_text().count("run") == 2


def test_builds_tell_about_hits(options):
    stages = []
    for _ in range(2):
        build(
            programs.rnn_program(),
            ["vmvx"],
            options=options,
            progress=lambda event: stages.append(event.stage),
        )
    assert stages.count("cached") == 1


@pytest.mark.parametrize("damage", [lambda b: b[:-1], lambda b: b[:70] + b"x" + b[71:], bytes])
def test_a_damaged_entry_is_compiled_again(tmp_path, fake_compiler, damage):
    compiler, log = counting(tmp_path, fake_compiler)
    options = BuildOptions(cache_dir=tmp_path / "cache", compiler=compiler)
    run(options)
    (entry,) = (tmp_path / "cache" / "modules-1").glob("[0-9a-f][0-9a-f]/*")
    entry.write_bytes(damage(entry.read_bytes()) if damage is not bytes else b"")
    assert run(options) == b"compiled"
    assert log.read_text().count("run") == 2
    assert run(options) == b"compiled"
    assert log.read_text().count("run") == 2


def test_the_key_depends_on_text_flags_and_version():
    base = cache_key("module {}", ["-a"], "3.13.0")
    others = [
        cache_key("module { }", ["-a"], "3.13.0"),
        cache_key("module {}", ["-b"], "3.13.0"),
        cache_key("module {}", ["-a"], "3.13.1"),
        cache_key("module {}", ["-a", ""], "3.13.0"),
    ]
    assert len({base, *others}) == 5


def test_the_least_recently_used_entries_go_first(tmp_path):
    cache = Cache(tmp_path, limit=400)
    for i, key in enumerate(("aa" * 32, "bb" * 32, "cc" * 32)):
        cache.put(key, bytes(100))
        os.utime(cache.path(key), (i, i))
    assert cache.get("aa" * 32) is None
    assert cache.get("bb" * 32) is not None
    cache.put("dd" * 32, bytes(100))
    assert cache.get("bb" * 32) is not None
    assert cache.get("cc" * 32) is None


_CHILD = """
import sys
from recurrent_iree_compiler import BuildOptions, parse_target
from recurrent_iree_compiler._iree_compile import compile_module
options = BuildOptions(cache_dir=sys.argv[1], compiler=sys.argv[2])
sys.stdout.buffer.write(compile_module("module {}", parse_target("vmvx"), options))
"""


def child(tmp_path, compiler):
    command = [sys.executable, "-c", _CHILD, str(tmp_path / "cache"), str(compiler)]
    environment = {**os.environ, "PYTHONPATH": SEARCH}
    return subprocess.Popen(command, stdout=subprocess.PIPE, env=environment)


def test_two_processes_at_once_compile_once(tmp_path, fake_compiler):
    compiler, log = counting(tmp_path, fake_compiler, "sleep 0.5")
    running = [child(tmp_path, compiler) for _ in range(3)]
    assert [process.communicate(timeout=60)[0] for process in running] == [b"compiled"] * 3
    assert log.read_text().count("run") == 1


def test_death_in_the_middle_leaves_the_cache_usable(tmp_path, fake_compiler):
    compiler, log = counting(tmp_path, fake_compiler, "sleep 1")
    first = child(tmp_path, compiler)
    while not log.exists():
        time.sleep(0.01)
    first.send_signal(signal.SIGKILL)
    first.communicate(timeout=60)
    options = BuildOptions(cache_dir=tmp_path / "cache", compiler=compiler)
    assert run(options) == b"compiled"
    assert log.read_text().count("run") == 2


def test_a_cache_that_cannot_be_made(tmp_path, fake_compiler):
    compiler, _ = counting(tmp_path, fake_compiler)
    file = tmp_path / "file"
    file.write_text("")
    options = BuildOptions(cache_dir=file, compiler=compiler)
    with pytest.raises(StorageError, match="cannot be written.*cache_dir=.*cache=False"):
        run(options)
    assert run(BuildOptions(cache_dir=file, compiler=compiler, cache=False)) == b"compiled"


def test_the_default_folder_is_that_of_the_user():
    assert BuildOptions().folder.name == "recurrent-iree"
    assert isinstance(BuildOptions().folder, Path)
