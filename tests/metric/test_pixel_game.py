import pytest
import torch

from pomelo_lab.batching import RandomStreams, index_pairs
from pomelo_lab.classifier.base import view
from pomelo_lab.metric.pixel_game import (
    area_over_steps,
    ask,
    changed_pixels,
    fill_steps,
    paste_steps,
    rank_in_orders,
    rank_pixels,
    sort_levels,
    step_grid,
)
from tests.tiny import ConstantFiller, TinyLinear, tiny_image


def test_steps_end_at_the_bound():
    assert step_grid(4096, 1, 0.5)[0][-1] == 2048 and len(step_grid(4096, 128, 0.5)[0]) == 17
    assert step_grid(10, 3, 0.5)[0].tolist() == [0, 3, 5]
    assert step_grid(100, 1, 0.3)[0][-1] == 30  # 0.3 * 100 is not 30 in floating point
    count, share = step_grid(25, 1, 0.5)
    assert count[-1] == 13 and share[-1] == 0.5
    for step_px in (3, 5, 10, 25, 40):
        count, share = step_grid(25, step_px)
        assert len(count) == 1 + -(-25 // step_px) and count[-1] == 25 and share[-1] == 1


def test_equal_pixels_are_ranked_by_the_rule():
    importance = torch.tensor([[[5.0, 1, 1], [1, 0, 7]]])
    assert rank_pixels(importance, ties="first")[0, 0].tolist() == [[1, 2, 3], [4, 5, 0]]
    assert rank_pixels(importance, ties="last")[0, 0].tolist() == [[1, 4, 3], [2, 5, 0]]
    rank, settled = rank_in_orders(importance, torch.arange(7), 50, lambda rows: draw_orders("a", n=50, n_px=6))
    assert (rank[0, :, 1, 2] == 0).all() and (rank[0, :, 0, 0] == 1).all() and (rank[0, :, 1, 1] == 5).all()
    assert rank[0, :, 0, 1].unique().tolist() == [2, 3, 4]
    assert settled[0].tolist() == [True, True, True, False, False, True, True]


def draw_orders(*names, n=5, n_px=36):
    return RandomStreams(0).permutation(names, "tie_order", n, n_px)


def test_orders_are_drawn_only_for_images_with_a_tie_at_a_step():
    importance = torch.stack([torch.arange(36.0), torch.arange(36) // 6, torch.arange(36) // 5]).view(3, 6, 6)
    count, drawn = torch.tensor([0, 6, 12]), []

    def draw(rows):
        drawn.append(rows)
        return draw_orders(*(f"image-{row}" for row in rows))

    rank, settled = rank_in_orders(importance, count, 5, draw)
    assert drawn == [[2]] and settled[:2].all() and settled[2].tolist() == [True, True, False]
    orders = draw_orders("image-2")[0]
    for order, ranks in zip(orders.tolist(), rank[2].flatten(1), strict=True):
        expected = sorted(range(36), key=lambda px: (-importance[2].flatten()[px].item(), order.index(px)))
        assert ranks.argsort().tolist() == expected
    # an image without such a tie changes the same pixels in every order
    every_order = rank_in_orders(importance, torch.arange(37), 5, lambda rows: draw_orders(*map(str, rows)))[0]
    assert torch.equal(every_order[1] < 12, rank[1] < 12) and not torch.equal(every_order[1], rank[1])


def test_levels_are_sorted_alike_in_16_and_in_64_bits():
    level = torch.randint(0, 40, (3, 2, 50), generator=torch.Generator().manual_seed(0))
    assert torch.equal(sort_levels(level), level.argsort(dim=2, stable=True))
    assert torch.equal(sort_levels(2**14 * level), sort_levels(level))


def test_rows_are_composed_alike_in_any_order():
    before, after, count = tiny_image(4), tiny_image(4, seed=1), torch.tensor([0, 7, 30, 64])
    images = paste_steps(before, after, changed_pixels(rank_pixels(before.mean(1)), count))
    row, step = index_pairs(4, len(count))
    shuffled = torch.randperm(len(row), generator=torch.Generator().manual_seed(0))
    assert torch.equal(images(row, step)[shuffled], images(row[shuffled], step[shuffled]))
    assert torch.equal(images(row, step)[step == 0], before) and torch.equal(images(row, step)[step == 3], after)


def test_steps_run_through_all_orders():
    rank = torch.stack([torch.arange(4).view(2, 2), 3 - torch.arange(4).view(2, 2)])[None]  # two orders of four pixels
    changed = changed_pixels(rank, torch.tensor([0, 1, 4]))
    row, step = index_pairs(1, 6)
    masks = changed(row, step)
    assert masks.flatten(1).sum(1).tolist() == [0, 1, 4, 0, 1, 4]
    assert masks[1, 0, 0] and masks[4, 1, 1]


def test_filling_with_a_constant_and_pasting_a_constant_image_are_one_game():
    image, (count, _) = tiny_image(3), step_grid(64, 10)
    changed = changed_pixels(rank_pixels(image.mean(1)), count)
    filling = ConstantFiller(value=0.25).filling(image, RandomStreams(0), ("a", "b", "c"))
    gray, (row, step) = torch.full_like(image, 0.25), index_pairs(3, len(count))
    assert torch.equal(fill_steps(filling, changed)(row, step), paste_steps(image, gray, changed)(row, step))
    assert torch.equal(fill_steps(filling, changed, True)(row, step), paste_steps(gray, image, changed)(row, step))


@pytest.mark.parametrize("batch_size", [1, 5, 64])
def test_answers_follow_their_steps(batch_size):
    image = tiny_image(2)
    box = view(TinyLinear.random(3, image.shape[1:], dtype=torch.float64), "black_box", batch_size)
    row, step = torch.tensor([1, 0, 1]), torch.tensor([0, 2, 1])
    answers = ask(box, lambda row, step: image[row] / (1 + step[:, None, None, None]), row, step)
    expected = box.probability(torch.stack([image[1], image[0] / 3, image[1] / 2])).double()
    torch.testing.assert_close(answers, expected)
    target = torch.tensor([2, 1])
    chosen = ask(box, lambda row, step: image[row] / (1 + step[:, None, None, None]), row, step, target)
    torch.testing.assert_close(chosen, expected[torch.arange(3), target[row]])


def test_area_over_steps():
    curve = torch.tensor([[1.0, 1.0, 1.0], [0.0, 0.5, 1.0], [1.0, 0.0, 0.0]], dtype=torch.float64)
    assert area_over_steps(curve).tolist() == [1.0, 0.5, 0.25]
