from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from mmconvnext.visualization.contact_sheet import contact_sheet
from mmconvnext.visualization.overlay import paint_classes, paint_objects

RED, YELLOW, NAVY = (200, 0, 0), (250, 220, 0), (0, 0, 90)


def grey(height=200, width=300, value=128) -> np.ndarray:
    return np.full((height, width, 3), value, np.uint8)


def has(picture: np.ndarray, color) -> np.ndarray:
    return (picture == np.asarray(color, np.uint8)).all(axis=2)


def near(picture: np.ndarray, color) -> np.ndarray:
    """Letters are thin: few of their pixels are wholly covered."""
    return np.abs(picture.astype(int) - np.asarray(color)).max(axis=2) < 70


def test_a_box_is_outlined_and_its_mask_shaded():
    picture = grey()
    mask = np.zeros((200, 300), bool)
    mask[120:140, 60:90] = True
    painted = paint_objects(picture, np.array([[50, 100, 110, 160]]), ["x"], [RED], [mask])
    assert (picture == 128).all()  # the caller's stays
    assert has(painted, RED)[130, [50, 110]].all() and has(painted, RED)[160, 80]
    np.testing.assert_allclose(painted[130, 70], 0.5 * 128 + 0.5 * np.array(RED), atol=1)
    assert (painted[150, 80] == 128).all() and (painted[190, 200] == 128).all()


@pytest.mark.parametrize("sizes", [(5, 5), (5, 9), (9, 5)])
def test_a_mask_has_its_classs_hue_whatever_is_below_and_small_ones_are_on_top(sizes):
    picture = np.zeros((200, 300, 3), np.uint8)
    picture[:, :150], picture[:, 150:] = (0, 200, 60), (0, 60, 250)
    below, above = np.zeros((200, 300), bool), np.zeros((200, 300), bool)
    below[50:150], above[90:110] = True, True
    objects = (
        [(NAVY, above), (RED, below)] if sizes[0] <= sizes[1] else [(RED, below), (NAVY, above)]
    )
    boxes = np.array([[0, 0, size, size] for size in sizes])
    painted = paint_objects(picture, boxes, ["", ""], *zip(*objects, strict=True))
    for row, color in ((60, RED), (100, NAVY)):
        extra = painted[row, [100, 200]].astype(float) - 0.5 * np.array(color)
        assert np.ptp(extra, axis=1).max() <= 1  # grey: the same in all three
    assert painted[60, 100, 0] > painted[60, 200, 0]  # brightness stays
    assert np.array_equal(painted[180], picture[180])


@pytest.mark.parametrize(("color", "text"), [(YELLOW, 0), (NAVY, 255), (RED, 255)])
@pytest.mark.parametrize("background", [0, 255])
def test_a_name_stands_out_from_its_plate_whatever_is_behind(color, text, background):
    painted = paint_objects(
        grey(600, 800, background), np.array([[100, 100, 180, 180]]), ["owl 0.99"], [color]
    )
    plate = painted[80:99, 102:170]
    assert has(plate, color).mean() > 0.3  # the plate hides the picture
    letters = near(plate, [text] * 3)
    assert letters.sum() > 60 and np.ptp(letters.nonzero()[1]) > 50


@pytest.mark.parametrize(
    "box", [[-20, -20, 30, 30], [280, 190, 340, 260], [0, 195, 300, 200], [500, 500, 600, 600]]
)
def test_a_name_at_the_edge_stays_inside_the_picture(box):
    text, letters = "a long name 0.50", []
    for place in (box, [80, 100, 100, 120]):
        painted = paint_objects(grey(), np.array([place], float), [text], [YELLOW])
        letters.append(int(near(painted, (0, 0, 0)).sum()))
    assert letters[0] == letters[1] > 50


def test_names_of_boxes_close_together_do_not_hide_each_other():
    boxes = np.array([[100, 100, 160, 160], [102, 101, 162, 161], [104, 99, 164, 159]])
    alone = paint_objects(grey(), boxes[:1], ["wwww"], [YELLOW])
    together = paint_objects(grey(), boxes, ["wwww"] * 3, [YELLOW] * 3)
    letters = [int(near(picture, (0, 0, 0)).sum()) for picture in (alone, together)]
    assert letters[1] == 3 * letters[0] > 0


def test_without_objects_it_is_the_picture():
    assert np.array_equal(paint_objects(grey(), np.zeros((0, 4)), [], []), grey())


def test_classes_are_shaded_and_named_where_they_are_widest():
    classes = np.full((200, 300), -1)
    classes[20:80, 20:280] = 0
    classes[100:180, 100:200] = 1
    classes[199, 299] = 2  # too small for a name
    painted = paint_classes(grey(), classes, ["sky", "sea", "dot"], [YELLOW, NAVY, RED])
    np.testing.assert_allclose(painted[25, 25], 0.5 * 128 + 0.5 * np.array(YELLOW), atol=1)
    np.testing.assert_allclose(painted[105, 105], 0.5 * 128 + 0.5 * np.array(NAVY), atol=1)
    assert (painted[90, 50] == 128).all()
    plate = has(painted, NAVY).nonzero()
    assert abs(plate[0].mean() - 140) < 5 and abs(plate[1].mean() - 150) < 15
    assert has(painted, YELLOW).any() and not has(painted, RED).any()


def test_labels_without_a_name_are_left_as_they_are():
    painted = paint_classes(grey(), np.full((200, 300), 255), ["one"], [RED])
    assert np.array_equal(painted, grey())


def test_a_sheet_has_every_picture_and_takes_them_one_by_one():
    taken = []

    def pictures():
        for number in range(8):
            taken.append(number)
            yield f"{number}.jpg", Image.new("RGB", (600, 300), (30 * number, 0, 0))

    sheet = np.asarray(contact_sheet(pictures(), columns=3))
    assert taken == list(range(8))
    assert sheet.shape == (3 * (120 + 18 + 8) + 8, 3 * 248 + 8, 3)
    for number in range(8):
        row, column = divmod(number, 3)
        y, x = 8 + row * (120 + 18 + 8) + 60, 8 + column * 248 + 120
        assert sheet[y, x].tolist() == [30 * number, 0, 0]
        assert (sheet[y + 60 : y + 78, x - 30 : x + 30] < 100).any()  # its name
    with pytest.raises(ValueError, match="at least one"):
        contact_sheet([])
