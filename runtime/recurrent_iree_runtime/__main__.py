"""`python -m recurrent_iree_runtime`"""

import sys

from ._cli import main

sys.exit(main())
