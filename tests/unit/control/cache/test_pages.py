from random import Random

import pytest

from stemma.control.cache.pages import PagePool
from stemma.core.base.errors import Bug


def test_takes_all_or_nothing() -> None:
    pool = PagePool(5)
    assert pool.take(0) == []
    first = pool.take(3)
    with pytest.raises(Bug, match="3 pages are to be taken, and 2 are free"):
        pool.take(3)
    assert len(pool.free) == 2
    assert sorted([*first, *pool.take(2)]) == list(range(5))
    assert pool.take(0) == []


def test_giving_back_twice_is_an_error_at_once() -> None:
    pool = PagePool(3)
    pages = pool.take(2)
    pool.give_back(pages)
    with pytest.raises(Bug, match="given back twice"):
        pool.give_back(pages[:1])
    with pytest.raises(Bug, match="given back twice"):
        PagePool(3).give_back([0])


def test_check_sees_a_free_list_that_was_tampered_with() -> None:
    pool = PagePool(3)
    pool.free.append(1)
    with pytest.raises(Bug):
        pool.check()


@pytest.mark.parametrize("seed", range(50))
def test_every_page_is_free_or_lent(seed: int) -> None:
    random = Random(seed)
    pool = PagePool(random.randrange(1, 20))
    lent: list[int] = []
    for _ in range(200):
        if random.random() < 0.5:
            lent += pool.take(min(random.randrange(6), len(pool.free)))
        else:
            random.shuffle(lent)
            back = lent[: random.randrange(4)]
            del lent[: len(back)]
            pool.give_back(back)
        pool.check()
        assert sorted(pool.free + lent) == list(range(pool.pages))
