"""Every item of the reference pages has a test, and what checks that cannot be fooled."""

from pathlib import Path

import pytest

from recurrent_iree import coverage_of_seeds as coverage

ROOT = Path(__file__).parents[2]
PAGES = coverage.read_pages(ROOT)
MINIMAL = """
name = "page"
source = "https://example.org/page"
implementation = "recurrent_iree.layers.RNN"
signature = "RNN(cell, return_sequences=False)"
headings = ["states", "get_weights"]
[arguments]
cell = ["test_one.py::test_it"]
return_sequences = ["api/case"]
[properties]
states = ["test_one.py::test_it"]
[methods]
"get_weights()" = ["test_one.py::test_it"]
"""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_item_has_tests_that_exist(page) -> None:
    assert list(coverage.problems(page, ROOT)) == []


def test_the_five_pages() -> None:
    assert sorted(page.name for page in PAGES) == [
        "tf.contrib.keras.backend.rnn",
        "tf.contrib.recurrent.Recurrent",
        "tf.keras.backend.rnn",
        "tf.keras.layers.RNN",
        "tf.nn.raw_rnn",
    ]


def test_the_documentation_is_up_to_date() -> None:
    text = (ROOT / coverage.PAGE).read_text(encoding="utf-8")
    command = "run `python -m recurrent_iree.coverage_of_seeds --markdown`"
    assert text == coverage.markdown(PAGES), command


@pytest.fixture
def repository(tmp_path):
    """A repository with one page, one test and one recording."""
    (tmp_path / coverage.DATA).mkdir(parents=True)
    (tmp_path / coverage.CASES / "api").mkdir(parents=True)
    (tmp_path / coverage.CASES / "api/case.json").write_text("{}")
    (tmp_path / "tests/test_one.py").write_text("def test_it():\n    pass\n")
    (tmp_path / "docs").mkdir()
    return tmp_path


def write(repository, text: str) -> None:
    (repository / coverage.DATA / "page.toml").write_text(text)


def test_a_complete_page(repository, capsys) -> None:
    write(repository, MINIMAL)
    assert coverage.main(["--root", str(repository), "--markdown"]) == 0
    assert "4 items of 1 pages, 0 problems" in capsys.readouterr().out
    page = (repository / coverage.PAGE).read_text()
    assert "| `get_weights()` | `test_one.py::test_it` |" in page
    assert "| [page](#page) | 4 |" in page


BROKEN = [
    ('["api/case"]', "[]", "arguments: `return_sequences` has no test"),
    ("api/case", "api/other", "names `api/other`, which does not exist"),
    ("test_one.py::test_it", "test_one.py::test_renamed", "`test_one.py::test_renamed`, which doe"),
    ("test_one.py::test_it", "test_two.py::test_it", "names `test_two.py::test_it`, which does no"),
    ("return_sequences =", "other =", "the parameter `return_sequences` of its signature is no it"),
    ("states =", "losses =", "the heading `states` of the page is no item"),
    ("states =", "losses =", "the item `losses` is no heading of the page"),
    ("states", "colours", "`recurrent_iree.layers.RNN` has no property `colours`"),
    ("get_weights", "get_colours", "`recurrent_iree.layers.RNN` has no method `get_colours`"),
    ("get_weights()", "get_weights(kind)", "get_weights` does not take `kind` where the page says"),
    ("sequences=False", "sequences=True", "the default of `return_sequences` is not True"),
    ("cell, return", "colour, return", "does not take `colour` where the page says"),
]


@pytest.mark.parametrize(("old", "new", "problem"), BROKEN)
def test_what_is_missing_is_found(repository, capsys, old, new, problem) -> None:
    assert old in MINIMAL
    write(repository, MINIMAL.replace(old, new))
    assert coverage.main(["--root", str(repository)]) == 1
    assert problem in capsys.readouterr().out.replace("\n", " ")


def test_skipped_and_nested_tests_do_not_count(repository) -> None:
    text = "import pytest\n\n\n@pytest.mark.skip\ndef test_it():\n    def test_inner(): ...\n"
    (repository / "tests/test_one.py").write_text(text)
    assert not coverage.exists("test_one.py::test_it", repository)
    assert not coverage.exists("test_one.py::test_inner", repository)


def test_bad_use(repository, capsys) -> None:
    with pytest.raises(SystemExit):
        coverage.main(["--root", str(repository)])
    assert "run it in a checkout, or give --root" in capsys.readouterr().err
    write(repository, MINIMAL + '[colours]\nred = ["api/case"]\n')
    with pytest.raises(ValueError, match=r"unknown keys \['colours'\]"):
        coverage.main(["--root", str(repository)])
