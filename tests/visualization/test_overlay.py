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


def test_a_box_is_outlined_and_its_mask_shaded():
    picture = grey()
    mask = np.zeros((200, 300), bool)
    mask[120:140, 60:90] = True
    painted = paint_objects(picture, np.array([[50, 100, 110, 160]]), ["x"], [RED], [mask])
    assert (picture == 128).all()  # the caller's stays
    assert has(painted, RED)[130, [50, 110]].all() and has(painted, RED)[160, 80]
    np.testing.assert_allclose(painted[130, 70], 0.55 * 128 + 0.45 * np.array(RED), atol=1)
    assert (painted[150, 80] == 128).all() and (painted[190, 200] == 128).all()


@pytest.mark.parametrize(("color", "text"), [(YELLOW, 0), (NAVY, 255), (RED, 255)])
@pytest.mark.parametrize("background", [0, 255])
def test_a_name_stands_out_from_its_plate_whatever_is_behind(color, text, background):
    painted = paint_objects(
        grey(value=background), np.array([[100, 100, 180, 180]]), ["owl 0.99"], [color]
    )
    plate = painted[84:99, 100:160]
    assert has(plate, color).mean() > 0.3  # the plate hides the picture
    letters = has(plate, [text] * 3)
    assert letters.sum() > 20 and np.ptp(letters.nonzero()[1]) > 35


@pytest.mark.parametrize(
    "box", [[-20, -20, 30, 30], [280, 190, 340, 260], [0, 195, 300, 200], [500, 500, 600, 600]]
)
def test_a_name_at_the_edge_stays_inside_the_picture(box):
    text, plates = "a long name 0.50", []
    for place in (box, [80, 100, 100, 120]):
        painted = paint_objects(grey(), np.array([place], float), [text], [YELLOW])
        plates.append((painted == 0).all(axis=2).sum())  # the letters' pixels
    assert plates[0] == plates[1] > 50


def test_names_of_boxes_close_together_do_not_hide_each_other():
    boxes = np.array([[100, 100, 160, 160], [102, 101, 162, 161], [104, 99, 164, 159]])
    alone = [paint_objects(grey(), boxes[:1], ["wwww"], [YELLOW])]
    together = paint_objects(grey(), boxes, ["wwww"] * 3, [YELLOW] * 3)
    letters = [int((picture == 0).all(axis=2).sum()) for picture in (alone[0], together)]
    assert letters[1] == 3 * letters[0] > 0


def test_without_objects_it_is_the_picture():
    assert np.array_equal(paint_objects(grey(), np.zeros((0, 4)), [], []), grey())


def test_classes_are_shaded_and_named_where_they_are_widest():
    classes = np.full((200, 300), -1)
    classes[20:80, 20:280] = 0
    classes[100:180, 100:200] = 1
    classes[199, 299] = 2  # too small for a name
    painted = paint_classes(grey(), classes, ["sky", "sea", "dot"], [YELLOW, NAVY, RED])
    np.testing.assert_allclose(painted[25, 25], 0.55 * 128 + 0.45 * np.array(YELLOW), atol=1)
    np.testing.assert_allclose(painted[105, 105], 0.55 * 128 + 0.45 * np.array(NAVY), atol=1)
    assert (painted[90, 50] == 128).all()
    plate = has(painted, NAVY).nonzero()
    assert abs(plate[0].mean() - 140) < 5 and abs(plate[1].mean() - 150) < 5
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
    for number in range(8):
        row, column = divmod(number, 3)
        y, x = 8 + row * (240 + 18 + 8) + 120, 8 + column * 248 + 120
        assert sheet[y, x].tolist() == [30 * number, 0, 0]
    with pytest.raises(ValueError, match="at least one"):
        contact_sheet([])
