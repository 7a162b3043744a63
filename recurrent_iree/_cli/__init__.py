"""The command line: `recurrent-iree`."""

from ._main import main as main
