"""The greedy decoder of the samples learns."""

import runpy
from pathlib import Path

SAMPLE = Path(__file__).parents[2] / "samples" / "greedy_decoder.py"


def test_it_learns_to_reverse_words(capsys) -> None:
    main = runpy.run_path(str(SAMPLE))["main"]
    assert main(200) > 0.9
    assert "of 200 words are right" in capsys.readouterr().out
