"""What command lines share: `recurrent-iree` and `recurrent-iree-runtime` print the same.

There is a command that does its whole work, and what others print, as data and as text.
"""

from ._bench import BenchReport as BenchReport
from ._cli._run import run_entry as run_entry
from ._cli._verify import VERIFY_HEADERS as VERIFY_HEADERS, verify_rows as verify_rows
from ._inspect import inspect_json as inspect_json, inspect_tree as inspect_tree
from ._text import Node as Node, size_text as size_text, time_text as time_text
