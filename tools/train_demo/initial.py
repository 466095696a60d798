"""Starting values: PyTorch's own, except where a picture-shaped or position-shaped start saves training time."""
import math

import torch


def dct_filters(count):
    """The `count` lowest two-dimensional cosine filters of 16 x 16, orthonormal, and the frequency of each."""
    n = torch.arange(16.0)
    basis = torch.stack([torch.cos(math.pi * (n + 0.5) * k / 16) * math.sqrt((1 if k == 0 else 2) / 16) for k in range(16)])
    order = sorted(((u * u + v * v, u, v) for u in range(16) for v in range(16)))[:count]
    filters = torch.stack([basis[u][:, None] * basis[v][None] for _, u, v in order])
    return filters, torch.tensor([math.sqrt(r) for r, _, _ in order])


def patch_filters(width):
    """[width, 3, 16, 16]: cosine filters of the brightness, and fewer of two colour differences; high ones louder, since edges are faint."""
    colour = width * 7 // 48
    mixes = ((width - 2 * colour, (1 / 3, 1 / 3, 1 / 3)), (colour, (0.5, -0.5, 0.0)), (colour, (-0.25, -0.25, 0.5)))
    out = []
    for count, mix in mixes:
        filters, frequency = dct_filters(count)
        gain = 0.06 * (1 + frequency)
        out.append((gain[:, None, None] * filters)[:, None] * torch.tensor(mix)[None, :, None, None])
    return torch.cat(out)


def position_matrix(P, generator):
    """[2, P/2]: frequencies spread evenly in their logarithm; three quarters along an axis, the rest in any direction."""
    n = P // 2
    axis = n * 3 // 8
    spread = lambda count: torch.exp(torch.linspace(math.log(0.04), math.log(1.6), count))
    free = spread(n - 2 * axis)
    angle = torch.rand(len(free), generator=generator) * 2 * math.pi
    zero = torch.zeros(axis)
    return torch.cat([torch.stack([spread(axis), zero]), torch.stack([zero, spread(axis)]),
                      torch.stack([free * angle.cos(), free * angle.sin()])], 1)


def finer(positions, finest):
    """A copy of position_matrix in which every third frequency along an axis makes room for finer ones, up to `finest`. At 6, a pixel of
    256 turns the finest sine by 0.3, where 1.6 turns it by 0.08. Rounded to f16, as it is exported."""
    out = positions.clone()
    axis = positions.shape[1] * 3 // 8
    columns = torch.arange(0, axis, 3)
    spread = torch.exp(torch.linspace(math.log(1.6), math.log(finest), len(columns) + 1))[1:]
    out[0, columns] = spread
    out[1, axis + columns] = spread
    return out.half().float()


def grid_positions(grid, width):
    """Sines and cosines of row and column, so that tokens know where they are from the first step."""
    count = width // 4
    frequency = torch.exp(torch.linspace(math.log(0.1), math.log(2.0), count))
    at = torch.arange(grid).float()[:, None] * frequency
    wave = torch.cat([at.sin(), at.cos()], 1)                                                      # [grid, width / 2]
    return torch.cat([wave[:, None].expand(-1, grid, -1), wave[None].expand(grid, -1, -1)], 2)[None]


@torch.no_grad()
def initialise(model, seed):
    """Fills a freshly made model (PyTorch's defaults under torch.manual_seed) with the values above; embeddings stay small."""
    c = model.config
    generator = torch.Generator().manual_seed(seed)
    encoder, prompt, decoder = model.image_encoder, model.prompt_encoder, model.mask_decoder
    encoder.patch_embed["proj"].weight.copy_(patch_filters(c.embed_dim))
    encoder.patch_embed["proj"].bias.zero_()
    encoder.pos_embed.copy_(0.3 * grid_positions(c.grid, c.embed_dim))
    prompt.pe_layer.positional_encoding_gaussian_matrix.copy_(position_matrix(c.prompt_embed_dim, generator))
    small = lambda e, std: e.weight.normal_(0, std, generator=generator)
    for table in (*prompt.point_embeddings, prompt.not_a_point_embed, prompt.no_mask_embed):
        small(table, 0.1)
    for table in (decoder.iou_token, decoder.mask_tokens):
        small(table, 0.5)
    for table in encoder.organ_embed:
        small(table, 0.02)
    encoder.organ_embed[4].weight[-1].zero_()
    small(encoder.modal_embed, 0.3)
