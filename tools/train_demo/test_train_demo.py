"""python3 -m unittest discover -s tools/train_demo"""
import os
import sys
import unittest

import numpy as np
import torch
import torch.nn.functional as F

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.dirname(HERE)]
import initial
import loss as objective
import pictures
import rules
import torch_model
import train
import validate

torch.set_num_threads(1)


def small_model(seed=3):
    torch.manual_seed(seed)
    model = torch_model.Sam(torch_model.Config(64, 2, 1, (0, 1), 64))
    initial.initialise(model, seed)
    return model.double()


class Generator(unittest.TestCase):
    def test_a_picture_depends_on_its_number_alone(self):
        one, two = pictures.Pictures(5, 4).batch([8, 9]), pictures.Pictures(5, 4).batch([9])
        for a, b in zip(one, two):
            np.testing.assert_array_equal(a[1], b[0])

    def test_seeds_and_numbers_give_different_pictures(self):
        a, b, c = (pictures.Pictures(s, 4).batch([n])[0] for s, n in ((5, 1), (6, 1), (5, 2)))
        self.assertTrue((a != b).any() and (a != c).any())

    def test_tight_boxes_are_tight_and_others_hold_the_target(self):
        for tight in (1.0, 0.0):
            _, masks, boxes, _, _ = pictures.Pictures(5, 6, tight).batch(range(8))
            for mask, box in zip(masks.reshape(-1, 256, 256), boxes.reshape(-1, 4)):
                want = np.array(rules.tight_box(mask > 0))
                slack = np.abs(box - want)
                self.assertLessEqual(slack.max(), 0 if tight else 19)
                self.assertTrue((box[:2] <= want[:2]).all() and (box[2:] >= want[2:]).all())

    def test_modality_follows_the_style(self):
        _, _, _, context, style = pictures.Pictures(5, 4).batch(range(30))
        for row, s in zip(context, style):
            self.assertIn(row[0], pictures.STYLE_MODALITIES[s])
        self.assertGreater(len(set(style)), 3)


class Loss(unittest.TestCase):
    def setUp(self):
        self.model = small_model()
        image, masks, boxes, context, _ = pictures.Pictures(5, 3).batch([1, 2])
        self.image, self.context = torch.from_numpy(image).double(), torch.from_numpy(context)
        self.masks, self.boxes = torch.from_numpy(masks), torch.from_numpy(boxes).double()

    def dense(self):
        embedding = self.model.encode(self.image, self.context).repeat_interleave(3, 0)
        return self.model.decode(embedding, box=self.boxes.flatten(0, 1))[0][:, 1:]

    def test_all_tokens_give_the_plain_formula(self):
        logits, target, boxes = self.dense(), self.masks.flatten(0, 1).double()[:, None], self.boxes.flatten(0, 1)
        bce = F.binary_cross_entropy_with_logits(logits, target.expand_as(logits), reduction="none")
        near = torch.zeros_like(target)
        for n, (x0, y0, x1, y1) in zip(near, boxes.long().tolist()):
            n[0, max(y0 - 6, 0):y1 + 7, max(x0 - 6, 0):x1 + 7] = 1
        near_mean = (bce * near).sum((2, 3)) / near.sum((2, 3))
        p = logits.sigmoid()
        dice = 1 - (2 * (p * target).sum((2, 3)) + 1) / (p.sum((2, 3)) + target.sum((2, 3)) + 1)
        each = 2 * (near_mean + 0.25 * bce.mean((2, 3))) + dice
        want = (each.min(1).values + 0.3 * each.mean(1)).mean()
        got, best = objective.loss(self.model, self.image, self.context, self.boxes, self.masks, 256, torch.Generator().manual_seed(1))
        self.assertAlmostEqual(got.item(), want.item(), places=5)
        self.assertAlmostEqual(best.item(), each.min(1).values.mean().item(), places=5)

    def test_sampled_tokens_estimate_it(self):
        with torch.no_grad():
            one = lambda others, seed: objective.loss(self.model, self.image, self.context, self.boxes, self.masks, others,
                                                      torch.Generator().manual_seed(seed))[0].item()
            self.assertAlmostEqual(np.mean([one(8, s) for s in range(12)]), one(256, 0), delta=0.02)


class Trainer(unittest.TestCase):
    def test_adamw_is_pytorchs(self):
        rng = np.random.default_rng(1)
        start, gradients = rng.standard_normal(50).astype(np.float32), rng.standard_normal((4, 2, 50)).astype(np.float32)
        theirs = torch.nn.Parameter(torch.from_numpy(start.copy()))
        optimiser = torch.optim.AdamW([theirs], 0.01, (train.BETA1, train.BETA2), train.EPSILON, train.DECAY)
        p, average, m, v = start.copy(), start.copy(), np.zeros(50, np.float32), np.zeros(50, np.float32)
        for step, g in enumerate(gradients, 1):
            theirs.grad = torch.from_numpy(g.mean(0))
            optimiser.step()
            train.adamw(p, average, m, v, g, 0, 50, 0.01, 1.0, 1 / (1 - train.BETA1 ** step), 1 / (1 - train.BETA2 ** step), train.DECAY, 0.9)
            self.assertFalse(g.any())
        np.testing.assert_allclose(p, theirs.detach().numpy(), rtol=1e-4, atol=1e-6)

    def test_parameters_are_views_of_the_flat_vector(self):
        model = small_model()
        named, decayed = train.ordered_parameters(model)
        flat = torch.cat([p.detach().flatten() for _, p in named])
        train.adopt(model, flat)
        flat.zero_()
        self.assertFalse(any(p.any() for p in model.parameters()))
        self.assertTrue(0 < decayed < len(flat))


class Rules(unittest.TestCase):
    def test_the_mask_that_fills_the_box_agrees_with_it(self):
        logits = np.full((3, 64, 64), -9.0)
        logits[0, 10:20, 10:30] = 9
        logits[1, 10:20, 10:20] = 9
        logits[2, 5:40, 10:30] = 9
        scores = rules.measures(logits, (10, 10, 29, 19))
        np.testing.assert_allclose(scores["box agreement"], [1, 0.5, 10 / 35 * 10 / 35])
        self.assertEqual(int(np.argmax(scores["box x stability"])), 0)

    def test_an_empty_mask_never_wins(self):
        logits = np.full((3, 64, 64), -9.0)
        logits[2, 30:32, 30:32] = 0.5
        for name, score in rules.measures(logits, (5, 5, 60, 60)).items():
            self.assertEqual(score[:2].max(), 0, name)

    def test_ellipse_touches_its_box(self):
        self.assertEqual(rules.tight_box(validate.ellipse((10, 20, 50, 90))), (10, 20, 50, 90))


if __name__ == "__main__":
    unittest.main()
