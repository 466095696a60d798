"""python3 -m unittest discover -s tools/train_demo"""
import argparse
import itertools
import json
import os
import sys
import tempfile
import unittest

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.dirname(HERE)]
import camera
import engine
import evaluate
import export
import initial
import loss as objective
import pictures
import rules
import shapes
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
        """On a coarse grid the last index of a box is up to a sample short of the target's end in the picture."""
        largest_sample = 256 / 80
        short = []
        for tight in (1.0, 0.0):
            _, masks, boxes, _, _ = pictures.Pictures(5, 6, tight).batch(range(16))
            for mask, box in zip(masks.reshape(-1, 256, 256), boxes.reshape(-1, 4)):
                want = np.array(rules.tight_box(mask > 0))
                before, after = want[:2] - box[:2], box[2:] - want[2:]
                self.assertGreaterEqual(before.min(), -0.5)
                self.assertGreaterEqual(after.min(), 0.5 - largest_sample)
                self.assertLessEqual(max(before.max(), after.max()), 0.5 if tight else 19.5)
                if tight: short.append(after.min() < 0)
        self.assertTrue(0 < np.mean(short) < 1)

    def test_a_coarse_grid_keeps_what_is_smooth_and_puts_labels_in_blocks(self):
        y, x = np.mgrid[:256, :256].astype(np.float32)
        for average in (True, False):
            canvas, label = (0.5 * x + 0.25 * y + 20)[None].copy(), (x > 100).astype(np.uint8)
            camera._coarse(canvas, label, 128, 64, average)
            np.testing.assert_allclose(canvas[0, 8:-8, 8:-8], (0.5 * x + 0.25 * y + 20)[8:-8, 8:-8], atol=0.5)
            blocks = label.reshape(128, 2, 64, 4)
            self.assertTrue((blocks == blocks[:, :1, :, :1]).all())

    def test_complexity_zero_is_an_ellipse(self):
        bank = shapes.texture_bank(1)
        canvas, label = np.zeros((1, 256, 256), np.float32), np.zeros((256, 256), np.uint8)
        shapes.draw(canvas, label, bank, 1, 120.0, 130.0, 30.0, 30.0, False, np.full(3, 90.0), 0.8, 0.0, shapes.PINK, 0.0, 0.0, 1.0, 0.0, 0)
        self.assertGreater(validate.dice(label > 0, validate.ellipse(rules.tight_box(label > 0))), 0.98)

    def test_a_tube_is_as_long_and_wide_as_asked(self):
        bank = shapes.texture_bank(1)
        canvas, label = np.zeros((1, 256, 256), np.float32), np.zeros((256, 256), np.uint8)
        painted = shapes.tube(canvas, label, bank, 3, 128.0, 128.0, 5.0, 80.0, 0.0, np.full(3, 90.0), 0.8, 0.0)
        self.assertEqual(painted, (label == 3).sum())
        self.assertAlmostEqual(painted, 80 * 10 + np.pi * 25, delta=0.35 * 800)      # the tube swells and narrows on its way

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
        for n, (x0, y0, x1, y1) in zip(near, torch.cat([boxes[:, :2].floor(), boxes[:, 2:].ceil()], 1).long().tolist()):
            n[0, max(y0 - 6, 0):y1 + 7, max(x0 - 6, 0):x1 + 7] = 1
        near_mean = (bce * near).sum((2, 3)) / near.sum((2, 3))
        p = logits.sigmoid()
        dice = 1 - (2 * (p * target).sum((2, 3)) + 1) / (p.sum((2, 3)) + target.sum((2, 3)) + 1)
        each = 2 * (near_mean + 0.25 * bce.mean((2, 3))) + dice
        want = (each.min(1).values + 0.3 * each.mean(1)).mean()
        got, best = objective.loss(self.model, self.image, self.context, self.boxes, self.masks, 256, 0.3, torch.Generator().manual_seed(1))
        self.assertAlmostEqual(got.item(), want.item(), places=5)
        self.assertAlmostEqual(best.item(), each.min(1).values.mean().item(), places=5)

    def test_sampled_tokens_estimate_it(self):
        with torch.no_grad():
            one = lambda others, seed: objective.loss(self.model, self.image, self.context, self.boxes, self.masks, others, 0.3,
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


    def test_a_run_that_starts_from_a_file_exports_it_unchanged_with_its_record(self):
        """The position matrix is no parameter: ranks and export must have the file's, not the seed's."""
        args = argparse.Namespace(seed=3, width=64, depth=2, prompt_width=64, history=[], ancestors=[], positions=None)
        old = {k: v.to(torch.float16) for k, v in train.make_model(args).state_dict().items()}
        with tempfile.TemporaryDirectory() as folder:
            path, out = os.path.join(folder, "old.safetensors"), os.path.join(folder, "new.safetensors")
            save_file(old, path, metadata={"seed": "3", "pictures": "12"})
            args.seed = 4
            model = train.make_model(args)
            args.ancestors, args.positions = train.start_from(model, path)
            flat = torch.cat([p.detach().flatten() for _, p in train.ordered_parameters(model)[0]])
            args.history = [{"from_step": 0, "generator": 1, "batch": 4, "prompts": 8}]
            args.prompts, args.start, args.dir = 8, path, folder
            train.save(os.path.join(folder, "checkpoint.pt"), dict.fromkeys(train.STATE, flat), dict(step=5, seconds=60.0, args=vars(args)))
            export.write(folder, out, "average")
            with train.safe_open(out, "pt") as file:
                for name, tensor in old.items():
                    self.assertTrue(torch.equal(file.get_tensor(name), tensor), name)
                note = file.metadata()
            self.assertEqual(note["pictures"], "20")
            [ancestor] = json.loads(note["ancestors"])
            self.assertEqual((ancestor["seed"], ancestor["pictures"], len(ancestor["sha256"])), ("3", "12", 64))


    def test_finer_positions_take_a_third_of_each_axis(self):
        old = initial.position_matrix(64, torch.Generator().manual_seed(1)).half().float()
        new = initial.finer(old, 6.0)
        changed = (new != old).any(0)
        self.assertEqual(changed.nonzero().flatten().tolist(), [0, 3, 6, 9, 12, 15, 18, 21])
        self.assertEqual(new.max().item(), 6.0)
        self.assertTrue((new[:, changed].max(0).values > 1.6).all() and (new[:, changed].min(0).values == 0).all())
        self.assertTrue(torch.equal(new, new.half().float()), "the exported file has the same numbers")


class Rules(unittest.TestCase):
    def test_the_mask_that_fills_the_box_agrees_with_it(self):
        logits = np.full((3, 64, 64), -9.0)
        logits[0, 10:20, 10:30] = 9
        logits[1, 10:20, 10:20] = 9
        logits[2, 5:40, 10:30] = 9
        scores = rules.measures(logits, (10, 10, 29, 19))
        np.testing.assert_allclose(scores["box agreement"], [1, 0.5, 10 / 35 * 10 / 35])
        self.assertEqual(int(np.argmax(scores["box x stability"])), 0)

    def test_continuity_is_the_best_of_all_choices(self):
        rng = np.random.default_rng(2)
        scores, masks = rng.random((4, 3)), rng.random((4, 3, 8, 8)) > 0.5
        def value(choice):
            total = sum(scores[s, c] for s, c in enumerate(choice))
            for s in range(1, 4):
                a, b = choice[s - 1], choice[s]
                total += 2.0 * validate.dice(masks[s - 1, a], masks[s, b]) * np.sqrt(scores[s - 1, a] * scores[s, b])
            return total
        want = max(itertools.product(range(3), repeat=4), key=value)
        self.assertEqual(rules.continuous(scores, masks, 2.0), list(want))
        self.assertEqual(rules.continuous(scores, masks, 0.0), scores.argmax(1).tolist())

    def test_an_empty_mask_never_wins(self):
        logits = np.full((3, 64, 64), -9.0)
        logits[2, 30:32, 30:32] = 0.5
        for name, score in rules.measures(logits, (5, 5, 60, 60)).items():
            self.assertEqual(score[:2].max(), 0, name)

    def test_ellipse_touches_its_box(self):
        self.assertEqual(rules.tight_box(validate.ellipse((10, 20, 50, 90))), (10, 20, 50, 90))


class BoxEnds(unittest.TestCase):
    def scaled(self, box, width, height, ends):
        return np.asarray(evaluate.scale_boxes([box], width, height, ends))[0].tolist()

    def test_boxes_end_as_the_engine_ends_them(self):
        """The corners of the engine's own tests."""
        self.assertEqual(self.scaled((10, 20, 100, 63), 128, 64, "engine"), [20, 80, 201, 255])
        self.assertEqual(self.scaled((10, 20, 99, 255), 256, 256, "engine"), [10, 20, 99, 255])
        self.assertEqual(self.scaled((10, 20, 13, 511), 1024, 512, "engine"), [2.5, 10, 3.25, 255.5])

    def test_moved_boxes_scaled_alike_end_where_the_rule_says(self):
        rng = np.random.default_rng(4)
        for ends, _ in itertools.product(("pixels", "outward"), range(50)):
            box = [int(v) for v in np.sort(rng.integers(0, 512, (2, 2)), 0).ravel()]
            given = [int(v) for v in engine.moved(ends)(box, (512, 512))]
            self.assertEqual(self.scaled(given, 512, 512, "indices"), self.scaled(box, 512, 512, ends), (box, ends))


if __name__ == "__main__":
    unittest.main()
