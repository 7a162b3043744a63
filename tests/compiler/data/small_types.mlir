module @jit_small_types attributes {mhlo.num_partitions = 1 : i32, mhlo.num_replicas = 1 : i32} {
  func.func public @main(%arg0: tensor<3xi1>, %arg1: tensor<3xui8>, %arg2: tensor<3xf16>) -> (tensor<3xi1> {jax.result_info = "result[0]"}, tensor<3xui8> {jax.result_info = "result[1]"}, tensor<3xf16> {jax.result_info = "result[2]"}) {
    %0 = stablehlo.convert %arg1 : (tensor<3xui8>) -> tensor<3xf16>
    %1 = call @_where(%arg0, %0, %arg2) : (tensor<3xi1>, tensor<3xf16>, tensor<3xf16>) -> tensor<3xf16>
    %2 = stablehlo.not %arg0 : tensor<3xi1>
    %c = stablehlo.constant dense<1> : tensor<ui8>
    %3 = stablehlo.broadcast_in_dim %c, dims = [] : (tensor<ui8>) -> tensor<3xui8>
    %4 = stablehlo.add %arg1, %3 : tensor<3xui8>
    %cst = stablehlo.constant dense<2.000000e+00> : tensor<f16>
    %5 = stablehlo.broadcast_in_dim %cst, dims = [] : (tensor<f16>) -> tensor<3xf16>
    %6 = stablehlo.multiply %1, %5 : tensor<3xf16>
    return %2, %4, %6 : tensor<3xi1>, tensor<3xui8>, tensor<3xf16>
  }
  func.func private @_where(%arg0: tensor<3xi1>, %arg1: tensor<3xf16>, %arg2: tensor<3xf16>) -> tensor<3xf16> {
    %0 = stablehlo.select %arg0, %arg1, %arg2 : tensor<3xi1>, tensor<3xf16>
    return %0 : tensor<3xf16>
  }
}
