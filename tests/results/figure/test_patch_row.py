from pomelo_lab.results.figure.patch_row import runs


def test_only_places_that_touch_the_object_are_shaded():
    assert runs([False, True, True, False, True]) == [(1, 2), (4, 4)]
    assert runs([False, False]) == []  # a row above the object
    assert runs([True, True]) == [(0, 1)]
