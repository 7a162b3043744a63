"""How the bindings of MLIR are used."""

import sys

from recurrent_iree_compiler._mlir import ir

TEXT = """
func.func @f(%x: tensor<4xf32>) -> tensor<4xf32> {
  %y = stablehlo.add %x, %x : tensor<4xf32>
  return %y : tensor<4xf32>
}
"""


def test_looking_at_operations_does_not_search_the_disk_each_time(monkeypatch):
    searched = []

    class Finder:
        @staticmethod
        def find_spec(name, path=None, target=None):
            searched.append(name)

    def look(module):
        (function,) = module.body.operations
        return [op.operation.name for op in function.regions[0].blocks[0].operations]

    with ir.Context():
        module = ir.Module.parse(TEXT)
        assert look(module) == ["stablehlo.add", "func.return"]
        monkeypatch.setattr(sys, "meta_path", [Finder, *sys.meta_path])
        look(module)
    assert not searched
