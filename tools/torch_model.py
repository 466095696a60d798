"""MedSegX and plain SAM in PyTorch, with the checkpoint's own tensor names.

    python3 tools/torch_model.py --check ORACLE     # compare with the golden tensors in the folder ORACLE

Dimension letters: B pictures, Q prompts, N tokens of the grid, D width, P prompt width, E experts, R bottleneck.
"""
import argparse
import dataclasses
import os
import sys

import torch
import torch.nn.functional as F
from torch import nn

MEAN = (123.675, 116.28, 103.53)
STD = (58.395, 57.12, 57.375)
PATCH = 16
ORGAN_ROWS = (1, 5, 12, 39, 112)      # root, body part, subregion, organ, task (the last row of tasks: unseen)
MODALITIES = 10
DECODER_HEADS = 8
ADAPTER_SCALE = 0.1


@dataclasses.dataclass(frozen=True)
class Adapter:
    """Shape of the mixture of adapter experts; `blocks` None means every block."""
    experts: int = 4
    bottleneck: int = 16
    embedding: int = 16
    blocks: tuple | None = None

    def holds(self, block):
        return self.blocks is None or block in self.blocks


@dataclasses.dataclass(frozen=True)
class Config:
    embed_dim: int = 768
    depth: int = 12
    num_heads: int = 12
    global_attn_indexes: tuple = (2, 5, 8, 11)
    prompt_embed_dim: int = 256
    image_size: int = 256
    window_size: int = 14
    adapter: Adapter | None = Adapter()
    keep_resolution: bool = True      # four up-scalings (MedSegX) instead of two (SAM)

    @property
    def grid(self):
        return self.image_size // PATCH


CONFIGS = {"tiny": (128, 4, 2, (1, 3)), "vit_b": (768, 12, 12, (2, 5, 8, 11)),
           "vit_l": (1024, 24, 16, (5, 11, 17, 23)), "vit_h": (1280, 32, 16, (7, 15, 23, 31))}


def named_config(name, **changes):
    return Config(*CONFIGS[name], **changes)


def config_from_state(state):
    """The configuration as the tensor shapes tell it; nothing else is needed."""
    E = "image_encoder."
    grid, width = state[E + "pos_embed"].shape[1], state[E + "pos_embed"].shape[3]
    depth = 1 + max(int(k.split(".")[2]) for k in state if k.startswith(E + "blocks."))
    rel = [state[f"{E}blocks.{b}.attn.rel_pos_h"].shape for b in range(depth)]
    adapted = tuple(b for b in range(depth) if f"{E}blocks.{b}.mlp.adapter_gate.weight" in state)
    adapter = None
    if adapted:
        mlp = f"{E}blocks.{adapted[0]}.mlp."
        adapter = Adapter(state[mlp + "adapter_gate.weight"].shape[0], state[mlp + "adapter_down.0.weight"].shape[0],
                          state[E + "modal_embed.weight"].shape[1], None if len(adapted) == depth else adapted)
    global_blocks = tuple(b for b in range(depth) if rel[b][0] == 2 * grid - 1)
    window = next(((r[0] + 1) // 2 for r in rel if r[0] != 2 * grid - 1), 14)
    return Config(width, depth, width // rel[0][1], global_blocks, state["mask_decoder.iou_token.weight"].shape[1],
                  grid * PATCH, window, adapter, "mask_decoder.output_upscaling.9.weight" in state)


def attend(q, k, v, scale):
    """softmax(scale q k^T) v over [.., tokens, d]. Heads are small here and PyTorch's fused kernel is several times slower on a CPU
    than plain products; it is kept for the large grids, whose scores would not fit in memory."""
    if q.shape[-2] * k.shape[-2] > 1 << 20:
        return F.scaled_dot_product_attention(q, k, F.pad(v, (0, q.shape[-1] - v.shape[-1])), scale=scale)[..., :v.shape[-1]]
    if k.shape[-2] < q.shape[-2]:                 # few keys: the softmax runs along the long axis in memory
        return torch.matmul((torch.matmul(k, q.mT) * scale).softmax(-2).mT, v)
    return torch.matmul((torch.matmul(q, k.mT) * scale).softmax(-1), v)


class Attention(nn.Module):
    """Self-attention on a [.., g, g, D] grid with decomposed relative positions."""

    def __init__(self, width, heads, side):
        super().__init__()
        self.heads, self.side = heads, side
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.rel_pos_h = nn.Parameter(torch.zeros(2 * side - 1, width // heads))
        self.rel_pos_w = nn.Parameter(torch.zeros(2 * side - 1, width // heads))
        offset = torch.arange(side)[:, None] - torch.arange(side)[None] + side - 1
        self.register_buffer("offset", offset, persistent=False)
        cell = torch.arange(side * side)
        where = torch.cat([F.one_hot(cell // side, side), F.one_hot(cell % side, side)], 1)      # [g*g, 2g]
        self.register_buffer("where", where.float(), persistent=False)

    def forward(self, x):
        B, g, _, D = x.shape
        d = D // self.heads
        q, k, v = self.qkv(x).view(B, g, g, 3, self.heads, d).permute(3, 0, 4, 1, 2, 5)          # [B, heads, g, g, d]
        # q . k + rel_h + rel_w is one dot product when the key is extended by its row and column as one-hot vectors.
        rel_h = torch.matmul(q, self.rel_pos_h[self.offset].transpose(1, 2).to(q.dtype))         # row i of q with its own table
        rel_w = torch.matmul(q.transpose(2, 3), self.rel_pos_w[self.offset].transpose(1, 2).to(q.dtype)).transpose(2, 3)
        q = torch.cat([q * d ** -0.5, rel_h, rel_w], -1).flatten(2, 3)
        where = self.where.to(k.dtype).expand(B, self.heads, -1, -1)
        out = attend(q, torch.cat([k.flatten(2, 3), where], -1), v.flatten(2, 3), 1.0)
        return self.proj(out.transpose(1, 2).reshape(B, g, g, D))


class Mlp(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.lin1, self.lin2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x, context=None):
        return self.lin2(F.gelu(self.lin1(x)))


class ConMoAE(nn.Module):
    """The block's MLP plus a contextual mixture of adapter experts."""

    def __init__(self, width, a: Adapter):
        super().__init__()
        e = a.embedding
        self.mlp = Mlp(width)
        self.adapter_down = nn.ModuleList(nn.Linear(width, a.bottleneck) for _ in range(a.experts))
        self.adapter_up = nn.ModuleList(nn.Linear(a.bottleneck, width) for _ in range(a.experts))
        self.adapter_organ_gate = nn.Linear(4 * e, 4)
        self.adapter_input_embed = nn.Linear(width, e)
        self.adapter_gate = nn.Linear(4 * e, a.experts)

    def gate(self, u, context):
        """context: tree [B, 4, e], task [B, e], modality [B, e] -> [B, experts]"""
        tree, task, modality = context
        organ = (self.adapter_organ_gate(tree.flatten(1)).softmax(-1)[..., None] * tree).sum(1)
        mean = self.adapter_input_embed(u.mean((1, 2)))
        return self.adapter_gate(torch.cat([organ, task, modality, mean], -1)).softmax(-1)

    def forward(self, u, context):
        gate = ADAPTER_SCALE * self.gate(u, context)
        down = F.linear(u, torch.cat([m.weight for m in self.adapter_down]), torch.cat([m.bias for m in self.adapter_down]))
        hidden = F.gelu(down) * gate.to(down.dtype).repeat_interleave(self.adapter_down[0].out_features, -1)[:, None, None]
        up = F.linear(hidden, torch.cat([m.weight for m in self.adapter_up], 1))
        bias = gate.to(up.dtype) @ torch.stack([m.bias for m in self.adapter_up]).to(up.dtype)
        return self.mlp(u) + up + bias[:, None, None]


class Block(nn.Module):
    def __init__(self, c: Config, index):
        super().__init__()
        self.window = 0 if index in c.global_attn_indexes else c.window_size
        self.norm1, self.norm2 = nn.LayerNorm(c.embed_dim, 1e-6), nn.LayerNorm(c.embed_dim, 1e-6)
        self.attn = Attention(c.embed_dim, c.num_heads, self.window or c.grid)
        adapted = c.adapter and c.adapter.holds(index)
        self.mlp = ConMoAE(c.embed_dim, c.adapter) if adapted else Mlp(c.embed_dim)

    def windowed(self, u):
        """Zero padding after the norm and before qkv: padded keys take part with the qkv bias, as published."""
        B, g, _, D = u.shape
        w = self.window
        n = -(-g // w)
        u = F.pad(u, (0, 0, 0, n * w - g, 0, n * w - g))
        u = u.view(B, n, w, n, w, D).transpose(2, 3).reshape(B * n * n, w, w, D)
        u = self.attn(u).view(B, n, n, w, w, D).transpose(2, 3).reshape(B, n * w, n * w, D)
        return u[:, :g, :g]

    def forward(self, x, context):
        u = self.norm1(x)
        x = x + (self.windowed(u) if self.window else self.attn(u))
        return x + self.mlp(self.norm2(x), context)


class LayerNorm2d(nn.Module):
    """Normalises over channels; takes and gives channels LAST, whatever the name says in the checkpoint."""

    def __init__(self, channels):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))

    def forward(self, x):
        return F.layer_norm(x, x.shape[-1:], self.weight, self.bias, 1e-6)


class ImageEncoder(nn.Module):
    def __init__(self, c: Config):
        super().__init__()
        D, P = c.embed_dim, c.prompt_embed_dim
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(3, D, PATCH, PATCH)})
        self.pos_embed = nn.Parameter(torch.zeros(1, c.grid, c.grid, D))
        self.blocks = nn.ModuleList(Block(c, i) for i in range(c.depth))
        self.neck = nn.ModuleDict({"0": nn.Conv2d(D, P, 1, bias=False), "1": LayerNorm2d(P),
                                   "2": nn.Conv2d(P, P, 3, padding=1, bias=False), "3": LayerNorm2d(P)})
        if c.adapter:
            self.organ_embed = nn.ModuleList(nn.Embedding(rows, c.adapter.embedding) for rows in ORGAN_ROWS)
            self.modal_embed = nn.Embedding(MODALITIES, c.adapter.embedding)

    def forward(self, image, context=None):
        """image [B, 3, S, S] normalised, context [B, 5] = modality, three tree indices, task -> [B, g, g, P]"""
        B, _, S, _ = image.shape
        g, proj = S // PATCH, self.patch_embed["proj"]
        patches = image.view(B, 3, g, PATCH, g, PATCH).permute(0, 2, 4, 1, 3, 5).reshape(B, g, g, -1)
        x = F.linear(patches, proj.weight.flatten(1), proj.bias) + self.pos_embed
        vectors = None
        if context is not None:
            rows = [torch.zeros_like(context[:, 0]), *context[:, 1:].T]
            *tree, task = (embed(row) for embed, row in zip(self.organ_embed, rows))
            vectors = torch.stack(tree, 1), task, self.modal_embed(context[:, 0])
        for block in self.blocks:
            x = block(x, vectors)
        x = self.neck["1"](F.linear(x, self.neck["0"].weight.flatten(1)))
        x = self.neck["2"](x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return self.neck["3"](x)


class PositionEmbedding(nn.Module):
    def __init__(self, P):
        super().__init__()
        self.register_buffer("positional_encoding_gaussian_matrix", torch.randn(2, P // 2))

    def forward(self, xy):
        """xy in [0, 1], [.., 2] -> [.., P]"""
        v = 2 * torch.pi * (2 * xy - 1) @ self.positional_encoding_gaussian_matrix
        return torch.cat([v.sin(), v.cos()], -1)


class PromptEncoder(nn.Module):
    def __init__(self, P):
        super().__init__()
        self.pe_layer = PositionEmbedding(P)
        self.point_embeddings = nn.ModuleList(nn.Embedding(1, P) for _ in range(4))
        self.not_a_point_embed, self.no_mask_embed = nn.Embedding(1, P), nn.Embedding(1, P)
        self.mask_downscaling = nn.ModuleDict({
            "0": nn.Conv2d(1, 4, 2, 2), "1": LayerNorm2d(4), "3": nn.Conv2d(4, 16, 2, 2), "4": LayerNorm2d(16), "6": nn.Conv2d(16, P, 1)})

    def forward(self, size, points=None, labels=None, box=None, mask=None):
        """points [Q, n, 2], labels [n] shared by the batch, box [Q, 4], mask [Q, S/4, S/4] -> sparse [Q, t, P], dense [Q or 1, N or 1, P]"""
        sparse = []
        if points is not None:
            at = self.pe_layer((points + 0.5) / size)
            for i, label in enumerate(labels):
                sparse.append(self.not_a_point_embed.weight[0].expand_as(at[:, i]) if label == -1
                              else at[:, i] + self.point_embeddings[label].weight[0])
        if box is not None:
            at = self.pe_layer((box.view(-1, 2, 2) + 0.5) / size)
            sparse += [at[:, 0] + self.point_embeddings[2].weight[0], at[:, 1] + self.point_embeddings[3].weight[0]]
        elif sparse:
            sparse.append(self.not_a_point_embed.weight[0].expand_as(sparse[0]))
        dense = self.no_mask_embed.weight[None]
        if mask is not None:
            m, x = self.mask_downscaling, mask[:, None]
            for conv, norm in (("0", "1"), ("3", "4")):
                x = F.gelu(m[norm](m[conv](x).permute(0, 2, 3, 1))).permute(0, 3, 1, 2)
            dense = m["6"](x).flatten(2).transpose(1, 2)
        return torch.stack(sparse, 1), dense


class TokenAttention(nn.Module):
    """q [Q, n, P], k and v [Q, m, P]; either side may have one row for several of the other, as a picture's grid for its prompts."""

    def __init__(self, P, inner):
        super().__init__()
        self.q_proj, self.k_proj, self.v_proj = (nn.Linear(P, inner) for _ in range(3))
        self.out_proj = nn.Linear(inner, P)

    def forward(self, q, k, v):
        split = lambda x: x.unflatten(-1, (DECODER_HEADS, -1)).transpose(1, 2)
        q, k, v = self.q_proj(q), self.k_proj(k), self.v_proj(v)
        rows = max(len(q), len(k))
        q, k, v = (split(x.repeat_interleave(rows // len(x), 0)) for x in (q, k, v))
        out = attend(q, k, v, q.shape[-1] ** -0.5)
        return self.out_proj(out.transpose(1, 2).flatten(2))


class TwoWayLayer(nn.Module):
    def __init__(self, P):
        super().__init__()
        self.self_attn = TokenAttention(P, P)
        self.cross_attn_token_to_image, self.cross_attn_image_to_token = TokenAttention(P, P // 2), TokenAttention(P, P // 2)
        self.mlp = nn.ModuleDict({"lin1": nn.Linear(P, 2048), "lin2": nn.Linear(2048, P)})
        self.norm1, self.norm2, self.norm3, self.norm4 = (nn.LayerNorm(P) for _ in range(4))

    def forward(self, tokens, first, src, pos, replace):
        """tokens, first [Q, t, P] (`first` is their position encoding), src [Q, N, P] or one for several Q, pos [N, P]"""
        if replace:
            tokens = self.norm1(self.self_attn(tokens, tokens, tokens))
        else:
            q = tokens + first
            tokens = self.norm1(tokens + self.self_attn(q, q, tokens))
        tokens = self.norm2(tokens + self.cross_attn_token_to_image(tokens + first, src + pos, src))
        tokens = self.norm3(tokens + self.mlp["lin2"](F.relu(self.mlp["lin1"](tokens))))
        change = self.cross_attn_image_to_token(src + pos, tokens + first, tokens)
        return tokens, self.norm4(src.repeat_interleave(len(change) // len(src), 0) + change)


class Head(nn.Module):
    def __init__(self, *widths):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in zip(widths, widths[1:]))

    def forward(self, x):
        for layer in self.layers[:-1]:
            x = F.relu(layer(x))
        return self.layers[-1](x)


class Transformer(nn.Module):
    def __init__(self, P):
        super().__init__()
        self.layers = nn.ModuleList(TwoWayLayer(P) for _ in range(2))
        self.final_attn_token_to_image = TokenAttention(P, P // 2)
        self.norm_final_attn = nn.LayerNorm(P)

    def forward(self, first, src, pos):
        tokens = first
        for i, layer in enumerate(self.layers):
            tokens, src = layer(tokens, first, src, pos, replace=i == 0)
        return self.norm_final_attn(tokens + self.final_attn_token_to_image(tokens + first, src + pos, src)), src


class MaskDecoder(nn.Module):
    def __init__(self, c: Config):
        super().__init__()
        P = c.prompt_embed_dim
        self.iou_token, self.mask_tokens = nn.Embedding(1, P), nn.Embedding(4, P)
        self.transformer = Transformer(P)
        widths = (P, P // 4, P // 8, P // 16, P // 32)[:5 if c.keep_resolution else 3]
        stages = {}
        for i, (a, b) in enumerate(zip(widths, widths[1:])):
            stages[str(3 * i)] = nn.ConvTranspose2d(a, b, 2, 2)
            if i + 2 < len(widths):
                stages[str(3 * i + 1)] = LayerNorm2d(b)
        self.output_upscaling = nn.ModuleDict(stages)
        self.doublings = len(widths) - 1
        self.output_hypernetworks_mlps = nn.ModuleList(Head(P, P, P, widths[-1]) for _ in range(4))
        self.iou_prediction_head = Head(P, 256, 256, 4)

    def attend(self, embedding, sparse, dense, pos):
        """embedding [B, N, P], each row for Q / B prompts, sparse [Q, t, P], dense [Q or 1, N or 1, P], pos [N, P]
        -> tokens [Q, 5 + t, P], src [Q, N, P]"""
        own = torch.cat([self.iou_token.weight, self.mask_tokens.weight]).expand(len(sparse), -1, -1)
        return self.transformer(torch.cat([own, sparse], 1), embedding + dense, pos)

    def upscale(self, tokens):
        """tokens [M, P] -> [M, 4^doublings, C]: each token alone decides its pixels, which come in z-order (row bit, column bit, coarse first)."""
        x = tokens[:, None]
        for i in range(self.doublings):
            conv = self.output_upscaling[str(3 * i)]
            weight = conv.weight.permute(2, 3, 1, 0).flatten(0, 2)                                  # [2 * 2 * out, in]
            x = F.linear(x, weight, conv.bias.repeat(4)).view(len(x), -1, conv.out_channels)
            norm = f"{3 * i + 1}"
            x = F.gelu(self.output_upscaling[norm](x) if norm in self.output_upscaling else x)
        return x

    def hyper(self, tokens):
        """tokens [Q, 5 + t, P] -> [Q, 4, C]"""
        return torch.stack([mlp(tokens[:, 1 + m]) for m, mlp in enumerate(self.output_hypernetworks_mlps)], 1)

    def forward(self, embedding, sparse, dense, pos):
        """-> masks [Q, 4, H, W], IoU [Q, 4]"""
        tokens, src = self.attend(embedding, sparse, dense, pos)
        Q, N, P = src.shape
        up = self.upscale(src.reshape(Q * N, P))
        masks = torch.einsum("qnpc,qmc->qmnp", up.view(Q, N, -1, up.shape[-1]), self.hyper(tokens))
        return from_z_order(masks, self.doublings), self.iou_prediction_head(tokens[:, 0])


def from_z_order(masks, doublings):
    """[Q, M, grid * grid, 4^doublings] -> [Q, M, H, W]"""
    Q, M, N, _ = masks.shape
    g = round(N ** 0.5)
    bits = [3 + 2 * i for i in range(doublings)]
    x = masks.view(Q, M, g, g, *(2,) * (2 * doublings)).permute(0, 1, 2, *(1 + b for b in bits), 3, *(2 + b for b in bits))
    return x.reshape(Q, M, g << doublings, g << doublings)


class Sam(nn.Module):
    """The whole model; with an adapter it is MedSegX, without one plain SAM."""

    def __init__(self, config: Config):
        super().__init__()
        self.config = config
        self.image_encoder = ImageEncoder(config)
        self.prompt_encoder = PromptEncoder(config.prompt_embed_dim)
        self.mask_decoder = MaskDecoder(config)
        self.register_buffer("mean", torch.tensor(MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(STD).view(3, 1, 1), persistent=False)

    def encode(self, image, context=None):
        """image [B, 3, S, S] 0..255 -> [B, N, P]"""
        return self.image_encoder((image - self.mean) / self.std, context).flatten(1, 2)

    def dense_position(self):
        g = self.config.grid
        c = (torch.arange(g, dtype=self.mean.dtype, device=self.mean.device) + 0.5) / g
        return self.prompt_encoder.pe_layer(torch.stack(torch.meshgrid(c, c, indexing="xy"), -1)).flatten(0, 1)

    def decode(self, embedding, **prompts):
        """embedding [Q, N, P], one row a prompt; prompts as PromptEncoder takes them -> masks [Q, 4, H, W], IoU [Q, 4]"""
        sparse, dense = self.prompt_encoder(self.config.image_size, **prompts)
        return self.mask_decoder(embedding, sparse, dense, self.dense_position())

    def forward(self, image, box, context=None):
        """MedSegX: image [B, 3, 256, 256] 0..255, box [B, 4], context [B, 5] -> logits [B, 3, 256, 256]"""
        return self.decode(self.encode(image, context), box=box)[0][:, 1:]


def load(state):
    """A model with the tensors of `state` in it; a missing or unknown tensor is an error."""
    model = Sam(config_from_state(state))
    model.load_state_dict(state, strict=True)
    return model.eval()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", metavar="ORACLE", required=True)
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
    import torch_check
    sys.exit(torch_check.run(parser.parse_args().check))
