"""LiteMedSAM as an ONNX graph and as OpenVINO's, and one golden case to run it on. PyTorch gets its code from its package.

    python3 litemedsam.py WEIGHTS FOLDER --oracle ORACLE

writes FOLDER/network.onnx, network.xml (OpenVINO, f32), case.npz, picture.npy and case.json. Refuses where ONNX Runtime is
further from the golden logits than 1e-5.

The engines get every help that a graph can give: batch norms folded, one operator for GELU, for LayerNorm, and for a
window's bias, and one mask of the decoder's four. Windows are padded as the published code pads them.
"""
import argparse
import json
import pathlib
import sys

import numpy as np
import onnx
import onnxruntime
import openvino
import safetensors.numpy
from onnx import TensorProto, helper, numpy_helper

LIMIT = 1e-5
OPSET = 20
SIDE, GRID, P, HEAD, DECODER_HEADS = 256, 64, 256, 32, 8
# Blocks and side of the windows; stage 0 has inverted bottlenecks.
STAGES = [(2, None), (2, 7), (6, 14), (2, 7)]
STRIDES = [2, 2, 1]


class Graph:
    def __init__(self, weights):
        self.w, self.nodes, self.constants = weights, [], {}

    def op(self, kind, *inputs, outputs=1, **attributes):
        names = [f"v{len(self.nodes)}_{i}" for i in range(outputs)]
        inputs = [x if isinstance(x, str) else self.constant(x) for x in inputs]
        self.nodes.append(helper.make_node(kind, inputs, names, **attributes))
        return names[0] if outputs == 1 else names

    def constant(self, value):
        value = np.asarray(value)
        value = value.astype(np.int64 if value.dtype.kind == "i" else np.float32)
        name = f"c{len(self.constants)}"
        self.constants[name] = numpy_helper.from_array(value, name)
        return name

    def reshape(self, x, *shape):
        return self.op("Reshape", x, np.array(shape))

    def transpose(self, x, *order):
        return self.op("Transpose", x, perm=order)

    def linear(self, name, x):
        product = self.op("MatMul", x, self.w[f"{name}.weight"].T.copy())
        return self.op("Add", product, self.w[f"{name}.bias"])

    def norm(self, name, x, eps):
        return self.op("LayerNormalization", x, self.w[f"{name}.weight"], self.w[f"{name}.bias"], axis=-1, epsilon=eps)

    def convolution(self, name, x, stride=1, groups=1):
        """x [1, C, h, w]; the batch norm behind it folded."""
        wide = {key: self.w[f"{name}.{key}"].astype(np.float64) for key in
                ("c.weight", "bn.weight", "bn.bias", "bn.running_mean", "bn.running_var")}
        gain = wide["bn.weight"] / np.sqrt(wide["bn.running_var"] + 1e-5)
        weight, bias = wide["c.weight"] * gain[:, None, None, None], wide["bn.bias"] - wide["bn.running_mean"] * gain
        pad = weight.shape[2] // 2
        return self.op("Conv", x, weight, bias, strides=[stride] * 2, pads=[pad] * 4, group=groups)

    def channels(self, name):
        return len(self.w[f"{name}.bn.weight"])

    def bottleneck(self, name, x, stride=1):
        x = self.op("Gelu", self.convolution(f"{name}.conv1", x))
        x = self.op("Gelu", self.convolution(f"{name}.conv2", x, stride, self.channels(f"{name}.conv2")))
        return self.convolution(f"{name}.conv3", x)

    def attention(self, name, x, side, g):
        """x [side, side, D]"""
        width = len(self.w[f"{name}.norm.weight"])
        heads, n = width // HEAD, -(-side // g)
        padding = np.array([0, 0, 0, n * g - side, n * g - side, 0])
        x = self.reshape(self.op("Pad", x, padding), n, g, n, g, width)
        x = self.reshape(self.transpose(x, 0, 2, 1, 3, 4), n * n, g * g, width)
        x = self.linear(f"{name}.qkv", self.norm(f"{name}.norm", x, 1e-5))
        x = self.transpose(self.reshape(x, n * n, g * g, heads, 3 * HEAD), 0, 2, 1, 3)
        q, k, v = self.op("Split", x, outputs=3, axis=-1, num_outputs=3)
        row, column = np.divmod(np.arange(g * g), g)
        bias = self.w[f"{name}.attention_biases"][:, np.abs(row[:, None] - row) * g + np.abs(column[:, None] - column)]
        scores = self.op("MatMul", self.op("Mul", q, HEAD**-0.5), self.transpose(k, 0, 1, 3, 2))
        x = self.op("MatMul", self.op("Softmax", self.op("Add", scores, bias[None]), axis=-1), v)
        x = self.linear(f"{name}.proj", self.reshape(self.transpose(x, 0, 2, 1, 3), n * n, g * g, width))
        x = self.transpose(self.reshape(x, n, n, g, g, width), 0, 2, 1, 3, 4)
        return self.op("Slice", self.reshape(x, n * g, n * g, width), np.array([0, 0]), np.array([side, side]), np.array([0, 1]))

    def block(self, name, x, side, g):
        """x [1, side, side, D]"""
        width = self.channels(f"{name}.local_conv")
        x = self.reshape(x, side, side, width)
        x = self.op("Add", x, self.attention(f"{name}.attn", x, side, g))
        x = self.transpose(self.reshape(x, 1, side, side, width), 0, 3, 1, 2)
        x = self.transpose(self.convolution(f"{name}.local_conv", x, 1, width), 0, 2, 3, 1)
        hidden = self.op("Gelu", self.linear(f"{name}.mlp.fc1", self.norm(f"{name}.mlp.norm", x, 1e-5)))
        return self.op("Add", x, self.linear(f"{name}.mlp.fc2", hidden))

    def encoder(self, image):
        """image [1, 3, 256, 256] of 0..255 -> [4096, 256]"""
        path, side = "image_encoder", SIDE
        low, high = (self.op(kind, image, keepdims=1) for kind in ("ReduceMin", "ReduceMax"))
        x = self.op("Div", self.op("Sub", image, low), self.op("Max", self.op("Sub", high, low), 1e-8))
        x = self.op("Gelu", self.convolution(f"{path}.patch_embed.seq.0", x))
        x = self.convolution(f"{path}.patch_embed.seq.2", x)
        for stage, (depth, g) in enumerate(STAGES):
            for block in range(depth):
                name = f"{path}.layers.{stage}.blocks.{block}"
                x = self.op("Gelu", self.op("Add", x, self.bottleneck(name, x))) if g is None else self.block(name, x, side, g)
            x = x if g is None else self.transpose(x, 0, 3, 1, 2)
            if stage < len(STRIDES):
                x = self.bottleneck(f"{path}.layers.{stage}.downsample", x, STRIDES[stage])
                x, side = self.transpose(x, 0, 2, 3, 1), side // STRIDES[stage]
        x = self.transpose(self.op("Conv", x, self.w[f"{path}.neck.0.weight"]), 0, 2, 3, 1)
        x = self.transpose(self.norm(f"{path}.neck.1", x, 1e-6), 0, 3, 1, 2)
        x = self.transpose(self.op("Conv", x, self.w[f"{path}.neck.2.weight"], pads=[1] * 4), 0, 2, 3, 1)
        return self.reshape(self.norm(f"{path}.neck.3", x, 1e-6), GRID * GRID, P)

    def positions(self, places):
        """places [n, 2] in 0..1 -> [n, P]"""
        matrix = self.w["prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"]
        angles = self.op("MatMul", self.op("Sub", self.op("Mul", places, 2.0), 1.0), 2 * np.pi * matrix.astype(np.float64))
        return self.op("Concat", self.op("Sin", angles), self.op("Cos", angles), axis=-1)

    def token_attention(self, name, q, k, v):
        inner = len(self.w[f"{name}.q_proj.bias"])
        split = lambda x: self.reshape(x, -1, DECODER_HEADS, inner // DECODER_HEADS)
        q, k, v = (split(self.linear(f"{name}.{which}_proj", x)) for which, x in zip("qkv", (q, k, v)))
        q = self.op("Mul", self.transpose(q, 1, 0, 2), (inner // DECODER_HEADS) ** -0.5)
        weights = self.op("Softmax", self.op("MatMul", q, self.transpose(k, 1, 2, 0)), axis=-1)
        x = self.transpose(self.op("MatMul", weights, self.transpose(v, 1, 0, 2)), 1, 0, 2)
        return self.linear(f"{name}.out_proj", self.reshape(x, -1, inner))

    def decoder(self, embedding, box):
        """embedding [4096, 256], box [1, 4] -> logits of mask 0, [1, 1, 256, 256]"""
        d, prompts = "mask_decoder", "prompt_encoder"
        corners = self.op("Div", self.op("Add", self.reshape(box, 2, 2), 0.5), float(SIDE))
        kinds = np.concatenate([self.w[f"{prompts}.point_embeddings.{i}.weight"] for i in (2, 3)])
        prompt = self.op("Add", self.positions(corners), kinds)
        own = np.concatenate([self.w[f"{d}.iou_token.weight"], self.w[f"{d}.mask_tokens.weight"]])
        first = x = self.op("Concat", own, prompt, axis=0)
        at = (np.arange(GRID) + 0.5) / GRID
        grid = np.stack(np.meshgrid(at, at), -1).reshape(-1, 2)
        angles = 2 * np.pi * ((2 * grid - 1) @ self.w[f"{prompts}.pe_layer.positional_encoding_gaussian_matrix"].astype(np.float64))
        position = np.concatenate([np.sin(angles), np.cos(angles)], -1)
        source = self.op("Add", embedding, self.w[f"{prompts}.no_mask_embed.weight"])
        for i in range(2):
            n = f"{d}.transformer.layers.{i}"
            if i == 0:
                x = self.token_attention(f"{n}.self_attn", x, x, x)
            else:
                q = self.op("Add", x, first)
                x = self.op("Add", x, self.token_attention(f"{n}.self_attn", q, q, x))
            x = self.norm(f"{n}.norm1", x, 1e-5)
            placed = self.op("Add", source, position)
            look = self.token_attention(f"{n}.cross_attn_token_to_image", self.op("Add", x, first), placed, source)
            x = self.norm(f"{n}.norm2", self.op("Add", x, look), 1e-5)
            hidden = self.op("Relu", self.linear(f"{n}.mlp.lin1", x))
            x = self.norm(f"{n}.norm3", self.op("Add", x, self.linear(f"{n}.mlp.lin2", hidden)), 1e-5)
            look = self.token_attention(f"{n}.cross_attn_image_to_token", placed, self.op("Add", x, first), x)
            source = self.norm(f"{n}.norm4", self.op("Add", source, look), 1e-5)
        n, placed = f"{d}.transformer", self.op("Add", source, position)
        look = self.token_attention(f"{n}.final_attn_token_to_image", self.op("Add", x, first), placed, source)
        x = self.norm(f"{n}.norm_final_attn", self.op("Add", x, look), 1e-5)
        up = self.transpose(self.reshape(source, 1, GRID, GRID, P), 0, 3, 1, 2)
        transposed = lambda x, at: self.op("ConvTranspose", x, self.w[f"{d}.output_upscaling.{at}.weight"],
                                           self.w[f"{d}.output_upscaling.{at}.bias"], strides=[2, 2])
        up = self.transpose(transposed(up, 0), 0, 2, 3, 1)
        up = self.transpose(self.op("Gelu", self.norm(f"{d}.output_upscaling.1", up, 1e-6)), 0, 3, 1, 2)
        up = self.op("Gelu", transposed(up, 3))
        mask = self.op("Slice", x, np.array([1]), np.array([2]), np.array([0]))
        for i in range(3):
            mask = self.linear(f"{d}.output_hypernetworks_mlps.0.layers.{i}", mask)
            mask = mask if i == 2 else self.op("Relu", mask)
        logits = self.op("MatMul", mask, self.reshape(up, -1, SIDE * SIDE))
        return self.reshape(logits, 1, 1, SIDE, SIDE)

    def model(self):
        logits = self.decoder(self.encoder("image"), "box")
        self.nodes.append(helper.make_node("Identity", [logits], ["logits"]))
        tensor = lambda name, shape: helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        inputs = [tensor("image", [1, 3, SIDE, SIDE]), tensor("box", [1, 4])]
        graph = helper.make_graph(self.nodes, "litemedsam", inputs, [tensor("logits", [1, 1, SIDE, SIDE])], self.constants.values())
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("weights", type=pathlib.Path)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--oracle", type=pathlib.Path, required=True)
    options = parser.parse_args()
    case = json.loads((options.oracle / "litemedsam/cases.json").read_text())["cases"][0]
    golden = safetensors.numpy.load_file(options.oracle / "litemedsam" / f"{case['name']}.safetensors")
    picture, logits = golden["picture"], golden["logits"][:1]
    inputs = {
        "image": picture.transpose(2, 0, 1)[None].astype(np.float32),
        "box": np.array([case["box"]], np.float32),
    }
    weights = safetensors.numpy.load_file(options.weights)
    network = options.folder / "network.onnx"
    onnx.save(Graph(weights).model(), network)
    found = onnxruntime.InferenceSession(network, providers=["CPUExecutionProvider"]).run(None, inputs)[0][0].astype(np.float64)
    error = np.linalg.norm(found - logits) / np.linalg.norm(logits.astype(np.float64))
    name = f"litemedsam {case['name']}"
    print(f"{name}: the graph is {error:.1e} from the golden logits, allowed {LIMIT:.0e}", flush=True)
    if not error < LIMIT:
        sys.exit("the graph is not the network: nothing is exported")
    openvino.save_model(openvino.convert_model(network), options.folder / "network.xml", compress_to_fp16=False)
    np.savez(options.folder / "case.npz", **inputs, logits=logits)
    np.save(options.folder / "picture.npy", picture)
    parameters = sum(w.size for name, w in weights.items() if ".running_" not in name)
    description = {"name": name, "step": 1, "box": case["box"], "context": [0] * 5, "parameters": parameters}
    (options.folder / "case.json").write_text(json.dumps(description))


if __name__ == "__main__":
    main()
