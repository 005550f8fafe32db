"""Pieces that take as long as they are to take."""

from datetime import timedelta

from quandary_server.storage.piece_sizes import LEAST, MOST, PieceSize

AIM = timedelta(milliseconds=30)


def test_the_next_piece_has_the_rows_that_the_aim_is_enough_for() -> None:
    size = PieceSize(1_000, AIM)
    size.took(1_000, 0.040)
    assert size.rows == 750
    size.took(750, 0.025)
    assert size.rows == 900
    size.took(450, 0.015)  # what is left at an end
    assert size.rows == 900


def test_sizes_shrink_by_a_third_at_most_and_grow_by_a_quarter_within_their_bounds() -> None:
    size = PieceSize(240, AIM)
    size.took(240, 1e-6)
    assert size.rows == 300
    size.took(300, 10.0)
    assert size.rows == 200
    for _ in range(9):
        size.took(size.rows, 10.0)
    assert size.rows == LEAST
    for _ in range(30):
        size.took(size.rows, 1e-6)
    assert size.rows == MOST


def test_without_an_aim_the_rows_stay_as_they_are() -> None:
    size = PieceSize(2, None)
    size.took(2, 1.0)
    assert size.rows == 2


def test_a_piece_of_nothing_tells_nothing() -> None:
    size = PieceSize(200, AIM)
    size.took(0, 1.0)
    size.took(200, 0.0)
    assert size.rows == 200
