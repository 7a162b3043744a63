"""The recurrence compiler: StableHLO in, one artifact out."""

from ._artifact import Artifact as Artifact
from ._build import build as build
from ._fused import kernel_multiplies as kernel_multiplies
from ._kept import KeptArtifacts as KeptArtifacts
from ._options import BuildOptions as BuildOptions, Event as Event, Progress as Progress
from ._plan import Decision as Decision, PlanOptions as PlanOptions
from ._program import FunctionSource as FunctionSource, GoldenCase as GoldenCase, Program as Program
from ._recompile import program_of as program_of, recompile as recompile
from ._report import Verification as Verification
from ._targets import Target as Target, parse_target as parse_target
from ._tools import compiler_version as compiler_version
