"""The training loss on the grid tokens that matter: those under the box and its margin, and a few others drawn at random.

Each token alone decides its own 16 x 16 pixels, so only chosen tokens are up-scaled; the others enter as a weighted sample.
"""
import torch
import torch.nn.functional as F

GRID, CELL, SIZE = 16, 16, 256
MARGIN = 6
WHOLE_WEIGHT, BCE_WEIGHT = 0.25, 2.0


def z_order():
    """Row and column inside a cell of each of the 256 pixels as MaskDecoder.upscale gives them."""
    i = torch.arange(CELL * CELL)
    row = sum(((i >> (7 - 2 * b)) & 1) << (3 - b) for b in range(4))
    column = sum(((i >> (6 - 2 * b)) & 1) << (3 - b) for b in range(4))
    return row, column


ROW, COLUMN = z_order()


def choose_tokens(boxes, others, generator):
    """boxes [Q, 4] -> prompt index [M], token index [M], weight of the token for the whole picture [M]"""
    low = ((boxes[:, :2] - MARGIN).floor().clamp(min=0) // CELL).long()
    high = ((boxes[:, 2:] + MARGIN).ceil().clamp(max=SIZE - 1) // CELL).long()
    cell = torch.arange(GRID)
    inside = lambda axis: (cell >= low[:, axis, None]) & (cell <= high[:, axis, None])
    near = (inside(1)[:, :, None] & inside(0)[:, None, :]).flatten(1)
    score = torch.rand(near.shape, generator=generator).masked_fill_(near, -1.0)
    far_count = (~near).sum(1)
    picked = torch.zeros_like(near).scatter_(1, score.topk(others, 1).indices, True) & ~near
    scale = far_count / picked.sum(1).clamp(min=1)
    prompt, token = (near | picked).nonzero(as_tuple=True)
    weight = torch.where(near[prompt, token], 1.0, scale[prompt])
    return prompt, token, weight


def logits_at(model, embedding, boxes, prompt, token):
    """embedding [B, N, P], boxes [B K, 4] -> logits [M, 3, 256] of masks 1..3 at the chosen tokens"""
    sparse, dense = model.prompt_encoder(SIZE, box=boxes)
    tokens, src = model.mask_decoder.attend(embedding, sparse, dense, model.dense_position())
    up = model.mask_decoder.upscale(src[prompt, token])
    hyper = model.mask_decoder.hyper(tokens)[:, 1:].to(up.dtype)
    return torch.bmm(hyper[prompt], up.transpose(1, 2))


def loss_per_prompt(logits, masks, boxes, prompt, token, weight):
    """logits [M, 3, 256], masks [Q, 256, 256] u8 -> loss [Q, 3] of every candidate mask"""
    Q = len(masks)
    x = logits.float()
    cells = masks.view(Q, GRID, CELL, GRID, CELL).transpose(2, 3).reshape(Q, GRID * GRID, CELL * CELL)
    target = cells[prompt, token][:, ROW * CELL + COLUMN].float()[:, None]                            # [M, 1, 256]
    y = (token // GRID * CELL)[:, None] + ROW
    column = (token % GRID * CELL)[:, None] + COLUMN
    low, high = (boxes[:, :2] - MARGIN).floor().clamp(min=0), (boxes[:, 2:] + MARGIN).ceil().clamp(max=SIZE - 1)
    region = ((column >= low[prompt, 0:1]) & (column <= high[prompt, 0:1]) & (y >= low[prompt, 1:2]) & (y <= high[prompt, 1:2])).float()
    size = (high - low + 1).prod(1)
    pixel = region / size[prompt, None] + WHOLE_WEIGHT * weight[:, None] / SIZE ** 2                  # [M, 256]
    total = lambda v: torch.zeros(Q, 3, dtype=v.dtype).index_add(0, prompt, v)
    bce = total(((F.softplus(x) - x * target) * pixel[:, None]).sum(-1))
    p = x.sigmoid()
    overlap = total((p * target).sum(-1))
    dice = 1 - (2 * overlap + 1) / (total(p.sum(-1) * weight[:, None]) + masks.flatten(1).sum(1, dtype=torch.float32)[:, None] + 1)
    return BCE_WEIGHT * bce + dice


def loss(model, image, context, boxes, masks, others, mean_weight, generator):
    """image [B, 3, 256, 256] f32, context [B, 5], boxes [B, K, 4], masks [B, K, 256, 256] -> loss, mean of the best of three.
    The loss is the best of three plus mean_weight times the mean of three."""
    boxes, masks = boxes.flatten(0, 1), masks.flatten(0, 1)
    prompt, token, weight = choose_tokens(boxes, others, generator)
    embedding = model.encode(image, context)
    each = loss_per_prompt(logits_at(model, embedding, boxes, prompt, token), masks, boxes, prompt, token, weight)
    best = each.min(1).values
    return (best + mean_weight * each.mean(1)).mean(), best.mean().detach()
