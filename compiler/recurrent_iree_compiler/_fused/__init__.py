"""The recurrence compiler: from the StableHLO of any cell to one kernel that runs all its steps.

``try_fuse(module, composite, machine)`` gives a `FusedKernel` or a `Refusal`; ``splice`` puts the
kernel in the place of the composite. The way through this package:

    _parse      StableHLO -> Cell (values and operations as plain data)
    _absorb     products of the inputs of many rows (_many_rows) come back from before the loop
    _invariant  what no step changes moves out of the loop
    _sums       products with a vector become reductions
    _slices     each gate gets a product of its own
    _batch      which axis is the batch
    _chain      sums of products share their registers
    _layout     which inputs and outputs lie batch first
    _narrow     which weights are stored in fewer bits, and can be packed so
    _stages     which values are stored; _levels: which loop computes them (_dataflow)
    _tiles      lanes, rows and registers of each loop, from what is known of the machine
    _share      how many workgroups share a step, and which stages they cut
    _order      which way weights are read, which loops run together for a few rows
    _kernel     the body: its _memory, the loop over _time, and each loop of a _step,
                by _evaluate (element-wise), _products and _reductions
    _team, _together, _cuts   workgroups that claim parts of a step
    _matrix     products outside of the loops, as kernels of one step
    _packed, _pack_kernel   the dispatches that pack weights
    _executable, _wrapper, _lines, _fuse   its surroundings, and putting it into the module
"""

from ._explain import KernelPlan as KernelPlan, StagePlan as StagePlan
from ._fuse import (
    FusedKernel as FusedKernel,
    Refusal as Refusal,
    erase_unused as erase_unused,
    splice as splice,
    try_fuse as try_fuse,
)
from ._machine import Machine as Machine, known_machine as known_machine
from ._many_rows import kernel_multiplies as kernel_multiplies
from ._matrix import fuse_product as fuse_product, product_of as product_of
from ._narrow import Narrow as Narrow, narrow_of as narrow_of
from ._share import MOST_PARTS as MOST_PARTS
