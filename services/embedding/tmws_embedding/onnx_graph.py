"""An ONNX model under construction."""

from __future__ import annotations

from typing import Any

import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

CONTRIB = "com.microsoft"


class Graph:
    """A model under construction; every node is named like its first output."""

    def __init__(self) -> None:
        # Opset 23 has Attention. ONNX Runtime's own operators may be used as well.
        opsets = [helper.make_opsetid("", 23), helper.make_opsetid(CONTRIB, 1)]
        self.model = onnx.ModelProto(ir_version=10, producer_name="tmws", opset_import=opsets)
        self.model.graph.name = "encoder"

    def constant(self, name: str, value: NDArray[Any]) -> str:
        """Add a constant and return its name."""
        # Filled in place: helper.make_graph and make_model would each copy all weights once more.
        tensor = self.model.graph.initializer.add()
        tensor.name = name
        tensor.dims.extend(value.shape)
        tensor.data_type = helper.np_dtype_to_tensor_dtype(value.dtype)
        tensor.raw_data = value.tobytes()
        return name

    def add(self, operator: str, inputs: list[str], name: str, **attributes: Any) -> str:
        """Add a node with one output and return the output's name."""
        node = helper.make_node(operator, inputs, [name], name=name, **attributes)
        self.model.graph.node.append(node)
        return name

    def add_fused(self, operator: str, inputs: list[str], name: str, **attributes: Any) -> str:
        """Add one of ONNX Runtime's own nodes and return the output's name."""
        return self.add(operator, inputs, name, domain=CONTRIB, **attributes)

    def declare_input(self, name: str) -> None:
        """Declare an input, int64 [batch, tokens]."""
        self.model.graph.input.append(helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "tokens"]))

    def declare_output(self, name: str, *dimensions: int | str) -> None:
        """Declare an output, float32 with these dimensions."""
        self.model.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, dimensions))
