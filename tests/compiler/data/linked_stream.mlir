module {
  util.global private @weight$0 = #flow.parameter.named<"weights"::"rnn/kernel"> : tensor<3x4xf32>
  util.global private @weight$1 = #flow.parameter.named<"weights"::"rnn/recurrent"> : tensor<4x4xf32>
  func.func public @chunk_5(%arg0: tensor<2x5x3xf32>, %arg1: tensor<2x4xf32>) -> (tensor<2x5x4xf32>, tensor<2x4xf32>) {
    %weight$0 = util.global.load @weight$0 : tensor<3x4xf32>
    %weight$1 = util.global.load @weight$1 : tensor<4x4xf32>
    %0 = stablehlo.optimization_barrier %arg0 : tensor<2x5x3xf32>
    %1 = stablehlo.optimization_barrier %arg1 : tensor<2x4xf32>
    %2:2 = call @chunk_5$.main(%weight$0, %weight$1, %0, %1) : (tensor<3x4xf32>, tensor<4x4xf32>, tensor<2x5x3xf32>, tensor<2x4xf32>) -> (tensor<2x5x4xf32>, tensor<2x4xf32>)
    return %2#0, %2#1 : tensor<2x5x4xf32>, tensor<2x4xf32>
  }
  func.func public @chunk_1(%arg0: tensor<2x1x3xf32>, %arg1: tensor<2x4xf32>) -> (tensor<2x1x4xf32>, tensor<2x4xf32>) {
    %weight$0 = util.global.load @weight$0 : tensor<3x4xf32>
    %weight$1 = util.global.load @weight$1 : tensor<4x4xf32>
    %0 = stablehlo.optimization_barrier %arg0 : tensor<2x1x3xf32>
    %1 = stablehlo.optimization_barrier %arg1 : tensor<2x4xf32>
    %2:2 = call @chunk_1$.main(%weight$0, %weight$1, %0, %1) : (tensor<3x4xf32>, tensor<4x4xf32>, tensor<2x1x3xf32>, tensor<2x4xf32>) -> (tensor<2x1x4xf32>, tensor<2x4xf32>)
    return %2#0, %2#1 : tensor<2x1x4xf32>, tensor<2x4xf32>
  }
  func.func public @init() -> tensor<2x4xf32> {
    %weight$0 = util.global.load @weight$0 : tensor<3x4xf32>
    %weight$1 = util.global.load @weight$1 : tensor<4x4xf32>
    %0 = call @init$.main(%weight$0, %weight$1) : (tensor<3x4xf32>, tensor<4x4xf32>) -> tensor<2x4xf32>
    return %0 : tensor<2x4xf32>
  }
  func.func private @chunk_5$.main(%arg0: tensor<3x4xf32>, %arg1: tensor<4x4xf32>, %arg2: tensor<2x5x3xf32>, %arg3: tensor<2x4xf32>) -> (tensor<2x5x4xf32>, tensor<2x4xf32>) {
    %0 = stablehlo.dot_general %arg0, %arg2, contracting_dims = [0] x [2], precision = [DEFAULT, DEFAULT] : (tensor<3x4xf32>, tensor<2x5x3xf32>) -> tensor<4x2x5xf32>
    %1 = stablehlo.transpose %0, dims = [2, 1, 0] : (tensor<4x2x5xf32>) -> tensor<5x2x4xf32>
    %2:2 = stablehlo.composite "recurrent_iree.recurrence" %arg1, %arg3, %1 {composite_attributes = {length = 5 : i64, num_carry = 1 : i64, num_consts = 1 : i64, num_xs = 1 : i64, reverse = false}, decomposition = @chunk_5$.recurrent_iree.recurrence, version = 1 : i32} : (tensor<4x4xf32>, tensor<2x4xf32>, tensor<5x2x4xf32>) -> (tensor<2x4xf32>, tensor<5x2x4xf32>)
    %3 = stablehlo.transpose %2#1, dims = [1, 0, 2] : (tensor<5x2x4xf32>) -> tensor<2x5x4xf32>
    return %3, %2#0 : tensor<2x5x4xf32>, tensor<2x4xf32>
  }
  func.func private @chunk_5$.recurrent_iree.recurrence(%arg0: tensor<4x4xf32>, %arg1: tensor<2x4xf32>, %arg2: tensor<5x2x4xf32>) -> (tensor<2x4xf32>, tensor<5x2x4xf32>) {
    %cst = stablehlo.constant dense<0.000000e+00> : tensor<f32>
    %0 = stablehlo.broadcast_in_dim %cst, dims = [] : (tensor<f32>) -> tensor<5x2x4xf32>
    %c = stablehlo.constant dense<0> : tensor<i32>
    %1:5 = stablehlo.while(%iterArg = %arg2, %iterArg_0 = %arg0, %iterArg_1 = %c, %iterArg_2 = %arg1, %iterArg_3 = %0) : tensor<5x2x4xf32>, tensor<4x4xf32>, tensor<i32>, tensor<2x4xf32>, tensor<5x2x4xf32>
    cond {
      %c_4 = stablehlo.constant dense<5> : tensor<i32>
      %2 = stablehlo.compare LT, %iterArg_1, %c_4, SIGNED : (tensor<i32>, tensor<i32>) -> tensor<i1>
      stablehlo.return %2 : tensor<i1>
    } do {
      %2 = func.call @chunk_5$.dynamic_index_in_dim(%iterArg, %iterArg_1) : (tensor<5x2x4xf32>, tensor<i32>) -> tensor<2x4xf32>
      %3:2 = func.call @chunk_5$.closed_call(%iterArg_0, %iterArg_2, %2) : (tensor<4x4xf32>, tensor<2x4xf32>, tensor<2x4xf32>) -> (tensor<2x4xf32>, tensor<2x4xf32>)
      %4 = func.call @chunk_5$.dynamic_update_index_in_dim(%iterArg_3, %3#1, %iterArg_1) : (tensor<5x2x4xf32>, tensor<2x4xf32>, tensor<i32>) -> tensor<5x2x4xf32>
      %c_4 = stablehlo.constant dense<1> : tensor<i32>
      %5 = stablehlo.add %iterArg_1, %c_4 : tensor<i32>
      stablehlo.return %iterArg, %iterArg_0, %5, %3#0, %4 : tensor<5x2x4xf32>, tensor<4x4xf32>, tensor<i32>, tensor<2x4xf32>, tensor<5x2x4xf32>
    }
    return %1#3, %1#4 : tensor<2x4xf32>, tensor<5x2x4xf32>
  }
  func.func private @chunk_5$.dynamic_index_in_dim(%arg0: tensor<5x2x4xf32>, %arg1: tensor<i32>) -> tensor<2x4xf32> {
    %c = stablehlo.constant dense<0> : tensor<i32>
    %c_0 = stablehlo.constant dense<0> : tensor<i32>
    %0 = stablehlo.dynamic_slice %arg0, %arg1, %c, %c_0, sizes = [1, 2, 4] : (tensor<5x2x4xf32>, tensor<i32>, tensor<i32>, tensor<i32>) -> tensor<1x2x4xf32>
    %1 = stablehlo.reshape %0 : (tensor<1x2x4xf32>) -> tensor<2x4xf32>
    return %1 : tensor<2x4xf32>
  }
  func.func private @chunk_5$.closed_call(%arg0: tensor<4x4xf32>, %arg1: tensor<2x4xf32>, %arg2: tensor<2x4xf32>) -> (tensor<2x4xf32>, tensor<2x4xf32>) {
    %0:2 = stablehlo.composite "recurrent_iree.cell" %arg0, %arg1, %arg2 {decomposition = @chunk_5$.recurrent_iree.cell, version = 1 : i32} : (tensor<4x4xf32>, tensor<2x4xf32>, tensor<2x4xf32>) -> (tensor<2x4xf32>, tensor<2x4xf32>)
    return %0#0, %0#1 : tensor<2x4xf32>, tensor<2x4xf32>
  }
  func.func private @chunk_5$.recurrent_iree.cell(%arg0: tensor<4x4xf32>, %arg1: tensor<2x4xf32>, %arg2: tensor<2x4xf32>) -> (tensor<2x4xf32>, tensor<2x4xf32>) {
    %0 = stablehlo.dot_general %arg1, %arg0, contracting_dims = [1] x [0], precision = [DEFAULT, DEFAULT] : (tensor<2x4xf32>, tensor<4x4xf32>) -> tensor<2x4xf32>
    %1 = stablehlo.add %arg2, %0 : tensor<2x4xf32>
    %2 = stablehlo.tanh %1 : tensor<2x4xf32>
    return %2, %2 : tensor<2x4xf32>, tensor<2x4xf32>
  }
  func.func private @chunk_5$.dynamic_update_index_in_dim(%arg0: tensor<5x2x4xf32>, %arg1: tensor<2x4xf32>, %arg2: tensor<i32>) -> tensor<5x2x4xf32> {
    %0 = stablehlo.broadcast_in_dim %arg1, dims = [1, 2] : (tensor<2x4xf32>) -> tensor<1x2x4xf32>
    %c = stablehlo.constant dense<0> : tensor<i32>
    %c_0 = stablehlo.constant dense<0> : tensor<i32>
    %1 = stablehlo.dynamic_update_slice %arg0, %0, %arg2, %c, %c_0 : (tensor<5x2x4xf32>, tensor<1x2x4xf32>, tensor<i32>, tensor<i32>, tensor<i32>) -> tensor<5x2x4xf32>
    return %1 : tensor<5x2x4xf32>
  }
  func.func private @chunk_1$.main(%arg0: tensor<3x4xf32>, %arg1: tensor<4x4xf32>, %arg2: tensor<2x1x3xf32>, %arg3: tensor<2x4xf32>) -> (tensor<2x1x4xf32>, tensor<2x4xf32>) {
    %0 = stablehlo.dot_general %arg0, %arg2, contracting_dims = [0] x [2], precision = [DEFAULT, DEFAULT] : (tensor<3x4xf32>, tensor<2x1x3xf32>) -> tensor<4x2x1xf32>
    %1 = stablehlo.transpose %0, dims = [2, 1, 0] : (tensor<4x2x1xf32>) -> tensor<1x2x4xf32>
    %2:2 = stablehlo.composite "recurrent_iree.recurrence" %arg1, %arg3, %1 {composite_attributes = {length = 1 : i64, num_carry = 1 : i64, num_consts = 1 : i64, num_xs = 1 : i64, reverse = false}, decomposition = @chunk_1$.recurrent_iree.recurrence, version = 1 : i32} : (tensor<4x4xf32>, tensor<2x4xf32>, tensor<1x2x4xf32>) -> (tensor<2x4xf32>, tensor<1x2x4xf32>)
    %3 = stablehlo.transpose %2#1, dims = [1, 0, 2] : (tensor<1x2x4xf32>) -> tensor<2x1x4xf32>
    return %3, %2#0 : tensor<2x1x4xf32>, tensor<2x4xf32>
  }
  func.func private @chunk_1$.recurrent_iree.recurrence(%arg0: tensor<4x4xf32>, %arg1: tensor<2x4xf32>, %arg2: tensor<1x2x4xf32>) -> (tensor<2x4xf32>, tensor<1x2x4xf32>) {
    %cst = stablehlo.constant dense<0.000000e+00> : tensor<f32>
    %0 = stablehlo.broadcast_in_dim %cst, dims = [] : (tensor<f32>) -> tensor<1x2x4xf32>
    %c = stablehlo.constant dense<0> : tensor<i32>
    %1:5 = stablehlo.while(%iterArg = %arg2, %iterArg_0 = %arg0, %iterArg_1 = %c, %iterArg_2 = %arg1, %iterArg_3 = %0) : tensor<1x2x4xf32>, tensor<4x4xf32>, tensor<i32>, tensor<2x4xf32>, tensor<1x2x4xf32>
    cond {
      %c_4 = stablehlo.constant dense<1> : tensor<i32>
      %2 = stablehlo.compare LT, %iterArg_1, %c_4, SIGNED : (tensor<i32>, tensor<i32>) -> tensor<i1>
      stablehlo.return %2 : tensor<i1>
    } do {
      %2 = func.call @chunk_1$.dynamic_index_in_dim(%iterArg, %iterArg_1) : (tensor<1x2x4xf32>, tensor<i32>) -> tensor<2x4xf32>
      %3:2 = func.call @chunk_1$.closed_call(%iterArg_0, %iterArg_2, %2) : (tensor<4x4xf32>, tensor<2x4xf32>, tensor<2x4xf32>) -> (tensor<2x4xf32>, tensor<2x4xf32>)
      %4 = func.call @chunk_1$.dynamic_update_index_in_dim(%iterArg_3, %3#1, %iterArg_1) : (tensor<1x2x4xf32>, tensor<2x4xf32>, tensor<i32>) -> tensor<1x2x4xf32>
      %c_4 = stablehlo.constant dense<1> : tensor<i32>
      %5 = stablehlo.add %iterArg_1, %c_4 : tensor<i32>
      stablehlo.return %iterArg, %iterArg_0, %5, %3#0, %4 : tensor<1x2x4xf32>, tensor<4x4xf32>, tensor<i32>, tensor<2x4xf32>, tensor<1x2x4xf32>
    }
    return %1#3, %1#4 : tensor<2x4xf32>, tensor<1x2x4xf32>
  }
  func.func private @chunk_1$.dynamic_index_in_dim(%arg0: tensor<1x2x4xf32>, %arg1: tensor<i32>) -> tensor<2x4xf32> {
    %c = stablehlo.constant dense<0> : tensor<i32>
    %c_0 = stablehlo.constant dense<0> : tensor<i32>
    %0 = stablehlo.dynamic_slice %arg0, %arg1, %c, %c_0, sizes = [1, 2, 4] : (tensor<1x2x4xf32>, tensor<i32>, tensor<i32>, tensor<i32>) -> tensor<1x2x4xf32>
    %1 = stablehlo.reshape %0 : (tensor<1x2x4xf32>) -> tensor<2x4xf32>
    return %1 : tensor<2x4xf32>
  }
  func.func private @chunk_1$.closed_call(%arg0: tensor<4x4xf32>, %arg1: tensor<2x4xf32>, %arg2: tensor<2x4xf32>) -> (tensor<2x4xf32>, tensor<2x4xf32>) {
    %0:2 = stablehlo.composite "recurrent_iree.cell" %arg0, %arg1, %arg2 {decomposition = @chunk_1$.recurrent_iree.cell, version = 1 : i32} : (tensor<4x4xf32>, tensor<2x4xf32>, tensor<2x4xf32>) -> (tensor<2x4xf32>, tensor<2x4xf32>)
    return %0#0, %0#1 : tensor<2x4xf32>, tensor<2x4xf32>
  }
  func.func private @chunk_1$.recurrent_iree.cell(%arg0: tensor<4x4xf32>, %arg1: tensor<2x4xf32>, %arg2: tensor<2x4xf32>) -> (tensor<2x4xf32>, tensor<2x4xf32>) {
    %0 = stablehlo.dot_general %arg1, %arg0, contracting_dims = [1] x [0], precision = [DEFAULT, DEFAULT] : (tensor<2x4xf32>, tensor<4x4xf32>) -> tensor<2x4xf32>
    %1 = stablehlo.add %arg2, %0 : tensor<2x4xf32>
    %2 = stablehlo.tanh %1 : tensor<2x4xf32>
    return %2, %2 : tensor<2x4xf32>, tensor<2x4xf32>
  }
  func.func private @chunk_1$.dynamic_update_index_in_dim(%arg0: tensor<1x2x4xf32>, %arg1: tensor<2x4xf32>, %arg2: tensor<i32>) -> tensor<1x2x4xf32> {
    %0 = stablehlo.broadcast_in_dim %arg1, dims = [1, 2] : (tensor<2x4xf32>) -> tensor<1x2x4xf32>
    %c = stablehlo.constant dense<0> : tensor<i32>
    %c_0 = stablehlo.constant dense<0> : tensor<i32>
    %1 = stablehlo.dynamic_update_slice %arg0, %0, %arg2, %c, %c_0 : (tensor<1x2x4xf32>, tensor<1x2x4xf32>, tensor<i32>, tensor<i32>, tensor<i32>) -> tensor<1x2x4xf32>
    return %1 : tensor<1x2x4xf32>
  }
  func.func private @init$.main(%arg0: tensor<3x4xf32>, %arg1: tensor<4x4xf32>) -> tensor<2x4xf32> {
    %cst = stablehlo.constant dense<0.000000e+00> : tensor<f32>
    %0 = stablehlo.broadcast_in_dim %cst, dims = [] : (tensor<f32>) -> tensor<2x4xf32>
    return %0 : tensor<2x4xf32>
  }
}
