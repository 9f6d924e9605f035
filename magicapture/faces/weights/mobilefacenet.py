"""The recipe of mobilefacenet.onnx: ``python mobilefacenet.py MobileFaceNet.tflite``; needs the package tflite.

The network's few kinds of operation are written down one by one. What changes is their form: the batch is free instead
of two faces, colours stand before rows and columns, and relu(x) + m·(x − |x|) is called by its name, a PReLU with the
slope 2m. Weights are stored in half precision and computed with in single precision.
"""

import sys
from pathlib import Path

import numpy as np
import onnx
import tflite
from onnx import TensorProto, helper, numpy_helper

OUT = Path(__file__).with_suffix(".onnx")
OPSET = 15
PATTERN = ["RELU", "ABS", "SUB", "MUL", "ADD"]  # how TensorFlow wrote a PReLU


class Graph:
    """An ONNX graph that grows node by node; tensors are named after their number in the source."""

    def __init__(self, source: bytes) -> None:
        """Read the flatbuffer ``source``."""
        self.model = tflite.Model.GetRootAsModel(source, 0)
        self.graph = self.model.Subgraphs(0)
        self.nodes, self.weights = [], []

    def operations(self) -> list[tuple[str, tflite.Operator]]:
        """Give the source's operations with their names, in their order."""
        names = {value: key for key, value in vars(tflite.BuiltinOperator).items() if isinstance(value, int)}
        operators = [self.graph.Operators(i) for i in range(self.graph.OperatorsLength())]
        return [(names[self.model.OperatorCodes(o.OpcodeIndex()).BuiltinCode()], o) for o in operators]

    def constant(self, tensor: int) -> np.ndarray | None:
        """Give a tensor's values in the source, or None for one that is computed."""
        found = self.graph.Tensors(tensor)
        values = self.model.Buffers(found.Buffer()).DataAsNumpy()
        return None if isinstance(values, int) else values.view(np.float32).reshape(found.ShapeAsNumpy())

    def add(self, kind: str, inputs: list[str], output: str, **attributes: object) -> None:
        """Append a node."""
        self.nodes.append(helper.make_node(kind, inputs, [output], **attributes))

    def weight(self, name: str, values: np.ndarray) -> str:
        """Store a weight in half precision; gives the name of its single-precision cast."""
        self.weights.append(numpy_helper.from_array(values.astype(np.float16), f"{name}_half"))
        self.add("Cast", [f"{name}_half"], name, to=TensorProto.FLOAT)
        return name


def convolution(graph: Graph, name: str, operator: tflite.Operator) -> None:
    """Write a convolution; depthwise ones hold their channels last."""
    source, kernel, bias = operator.InputsAsNumpy()
    options = tflite.Conv2DOptions() if name == "CONV_2D" else tflite.DepthwiseConv2DOptions()
    table = operator.BuiltinOptions()
    options.Init(table.Bytes, table.Pos)
    assert options.FusedActivationFunction() == tflite.ActivationFunctionType.NONE
    values = graph.constant(kernel)
    values = values.transpose(0, 3, 1, 2) if name == "CONV_2D" else values.transpose(3, 0, 1, 2)
    weights = [graph.weight(f"w{kernel}", values), graph.weight(f"w{bias}", graph.constant(bias))]
    graph.add(
        "Conv",
        [f"t{source}", *weights],
        f"t{operator.Outputs(0)}",
        strides=[options.StrideH(), options.StrideW()],
        auto_pad="SAME_UPPER" if options.Padding() == tflite.Padding.SAME else "VALID",
        group=1 if name == "CONV_2D" else len(values),
    )


def convert(source: bytes) -> onnx.ModelProto:
    """Give MobileFaceNet: input "faces" (N, 3, 112, 112), output "embeddings" (N, 192), not of length 1."""
    graph = Graph(source)
    operations = graph.operations()
    while operations:
        name, operator = operations.pop(0)
        inputs, output = operator.InputsAsNumpy(), f"t{operator.Outputs(0)}"
        if name in ("CONV_2D", "DEPTHWISE_CONV_2D"):
            convolution(graph, name, operator)
        elif name == "RELU":
            rest = [operations.pop(0) for _ in PATTERN[1:]]
            assert [kind for kind, _ in rest] == PATTERN[1:]
            slope = graph.constant(rest[2][1].Inputs(0))
            weight = graph.weight(f"w{operator.Outputs(0)}", 2 * slope.reshape(-1, 1, 1))
            graph.add("PRelu", [f"t{inputs[0]}", weight], f"t{rest[-1][1].Outputs(0)}")
        elif name == "ADD":
            graph.add("Add", [f"t{i}" for i in inputs], output)
        elif name == "RESHAPE":
            graph.add("Flatten", [f"t{inputs[0]}"], output)
    ends = f"t{graph.graph.Inputs(0)}", f"t{graph.graph.Outputs(0)}"
    for node in graph.nodes:
        for values in (node.input, node.output):
            values[:] = [{ends[0]: "faces", ends[1]: "embeddings"}.get(value, value) for value in values]
    shapes = ("faces", ["N", 3, 112, 112]), ("embeddings", ["N", 192])
    given, wanted = ([helper.make_tensor_value_info(n, TensorProto.FLOAT, s)] for n, s in shapes)
    built = helper.make_graph(graph.nodes, "MobileFaceNet", given, wanted, graph.weights)
    model = helper.make_model(built, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model


if __name__ == "__main__":
    onnx.save(convert(Path(sys.argv[1]).read_bytes()), OUT)
