"""RadixTree against a dict from every cached prefix to the page that ends it."""

from array import array
from dataclasses import dataclass
from random import Random

import pytest

from stemma.control.cache.evict import LeastRecentlyUsed
from stemma.control.cache.radix import Node, RadixTree
from stemma.core.base.errors import Bug
from tests.unit.control.cache.prefixes import Prefix, most_common

SALTS = ("", "", "a tenant")


def tree_of(page_size: int) -> tuple[RadixTree, LeastRecentlyUsed]:
    evictor = LeastRecentlyUsed()
    return RadixTree(page_size, evictor.offer), evictor


def content(tree: RadixTree) -> dict[Prefix, int]:
    """The tree, flattened: each page under the whole prefix that it ends."""
    found: dict[Prefix, int] = {}
    above: dict[Node, tuple[int, ...]] = {tree.root: ()}
    for node in tree.nodes():
        assert node.parent is not None
        prefix = above[node.parent]
        for place, page in enumerate(node.pages):
            prefix += tuple(node.tokens[place * tree.page_size : (place + 1) * tree.page_size])
            found[node.key[0], prefix] = page
        above[node] = prefix
    return found


@dataclass
class Held:
    """A lock, as a lease has it."""

    node: Node
    salt: str
    prefix: tuple[int, ...]
    tail: Node | None = None

    @property
    def end(self) -> Node:
        return self.tail or self.node


class Walk:
    """Random operations on a tree, each followed by a comparison with the dict."""

    def __init__(self, seed: int):
        self.random = Random(seed)
        self.size = self.random.choice([1, 2, 3, 4])
        self.tree, self.evictor = tree_of(self.size)
        self.model: dict[Prefix, int] = {}
        self.held: list[Held] = []
        self.pages = 0

    def some_tokens(self) -> "array[int]":
        return array("i", [self.random.randrange(2) for _ in range(self.random.randrange(8 * self.size))])

    def longest(self, tokens: "array[int]", salt: str, limit: int) -> int:
        full = 0
        while full + self.size <= min(limit, len(tokens)) and (salt, tuple(tokens[: full + self.size])) in self.model:
            full += self.size
        return full

    def insert(self) -> None:
        tokens, salt = self.some_tokens(), self.random.choice(SALTS)
        count = -(-len(tokens) // self.size)
        pages = self.new_pages(count)
        known = self.longest(tokens, salt, len(tokens)) // self.size
        rest = len(tokens) % self.size
        is_covered = 0 < rest == self.common(salt, tuple(tokens), len(tokens) - rest)
        spare = self.tree.insert(self.tree.root, salt, tokens, pages)
        assert spare == pages[:known] + (pages[-1:] if is_covered else array("i"))
        for place in range(known, count - is_covered):
            self.model[salt, tuple(tokens[: (place + 1) * self.size])] = pages[place]

    def match_and_lock(self) -> None:
        tokens, salt = self.some_tokens(), self.random.choice(SALTS)
        limit = self.random.randrange(len(tokens) + 1)
        before = content(self.tree)
        hit = self.tree.match(tokens, salt, limit)
        assert content(self.tree) == before
        assert hit.tokens == self.longest(tokens, salt, limit) == len(hit.pages) * self.size
        assert list(hit.pages) == [
            self.model[salt, tuple(tokens[: (place + 1) * self.size])] for place in range(len(hit.pages))
        ]
        if self.random.random() < 0.6:
            node = self.tree.end(hit)
            self.tree.lock(node)
            held = Held(node, salt, tuple(tokens[: hit.tokens]))
            self.held.append(held)
            self.look_near(held, tokens[hit.tokens : min(limit, hit.tokens + self.size)])

    def look_near(self, held: Held, tokens: "array[int]") -> None:
        """What begins as it goes on, and take that over where it is a free tail."""
        near, same = self.tree.nearest(held.node, (held.salt, tokens.tobytes()))
        asked = held.prefix + tuple(tokens)
        assert same == self.common(held.salt, asked, len(held.prefix))
        assert (near is None) == (same == 0)
        if near is None:
            return
        assert near.parent is held.node and near.tokens[:same] == tokens[:same]
        if near.is_evictable and len(near.tokens) == same:
            self.tree.adopt(near)
            held.tail = near

    def lend(self) -> None:
        held = self.any_held()
        if held is None or held.tail is not None:
            return
        tokens = array("i", [self.random.randrange(2) for _ in range(self.random.randrange(1, self.size + 1))])
        if len(tokens) == self.size:
            return
        pages = self.new_pages(1)
        prefix = held.prefix + tuple(tokens)
        is_covered = self.common(held.salt, prefix, len(held.prefix)) == len(tokens)
        held.tail = self.tree.lend(held.node, held.salt, tokens, pages[0])
        assert (held.tail is None) == is_covered
        if held.tail is not None:
            self.model[held.salt, prefix] = pages[0]

    def take_one_back(self) -> None:
        if self.held:
            self.take_back(self.random.choice(self.held))

    def take_back(self, held: Held) -> None:
        if held.tail is not None:
            del self.model[held.salt, held.prefix + tuple(held.tail.tokens)]
            self.tree.take_back(held.tail)
            held.tail = None

    def grow(self) -> None:
        held = self.any_held()
        if held is None:
            return
        self.take_back(held)
        count = self.random.randrange(1, 4)
        tokens = array("i", [self.random.randrange(2) for _ in range(count * self.size)])
        pages = self.new_pages(count)
        is_new = (held.salt, held.prefix + tuple(tokens[: self.size])) not in self.model
        end = self.tree.grow(held.node, held.salt, tokens, pages)
        assert (end is not None) == is_new
        if end is not None:
            for index, page in enumerate(pages):
                self.model[held.salt, held.prefix + tuple(tokens[: (index + 1) * self.size])] = page
            held.node, held.prefix = end, held.prefix + tuple(tokens)

    def unlock(self) -> None:
        held = self.any_held()
        if held is not None:
            self.take_back(held)
            self.held.remove(held)
            self.tree.unlock(held.node)

    def any_held(self) -> Held | None:
        return self.random.choice(self.held) if self.held else None

    def new_pages(self, count: int) -> "array[int]":
        self.pages += count
        return array("i", range(self.pages - count, self.pages))

    def common(self, salt: str, tokens: tuple[int, ...], start: int) -> int:
        return most_common(self.model, self.size, salt, start, tokens)

    def evict(self) -> None:
        leaf = self.evictor.next()
        evictable = self.tree.pages - self.tree.locked
        assert (leaf is not None) == (evictable > 0)
        if leaf is None:
            return
        for page in self.tree.trim(leaf, self.random.randrange(1, len(leaf.pages) + 1)):
            salt, prefix = next(key for key, value in self.model.items() if value == page)
            del self.model[salt, prefix]
            if len(prefix) % self.size == 0:
                assert not any(held.salt == salt and held.prefix[: len(prefix)] == prefix for held in self.held)

    def step(self) -> None:
        self.tree.step += self.random.randrange(2)
        turns = [self.insert, self.match_and_lock, self.match_and_lock, self.grow, self.unlock, self.evict, self.lend]
        self.random.choice([*turns, self.take_one_back])()
        assert content(self.tree) == self.model
        ends: dict[Node, int] = {}
        for held in self.held:
            ends[held.end] = ends.get(held.end, 0) + 1
        self.tree.check(ends)
        protected = {
            (held.salt, held.prefix[:length])
            for held in self.held
            for length in range(self.size, len(held.prefix) + 1, self.size)
        } | {(held.salt, held.prefix + tuple(held.tail.tokens)) for held in self.held if held.tail}
        assert self.tree.locked == len(protected)


@pytest.mark.parametrize("group", range(20))
def test_agrees_with_a_dict_of_prefixes(group: int) -> None:
    for seed in range(group * 100, (group + 1) * 100):
        walk = Walk(seed)
        for _ in range(40):
            walk.step()
        while walk.held:
            walk.unlock()
        while walk.tree.pages:
            walk.evict()
        assert not walk.model and not walk.tree.root.children


def test_an_edge_is_split_where_prefixes_part_and_where_a_lease_ends() -> None:
    tree, _ = tree_of(2)
    tree.insert(tree.root, "", array("i", [1, 1, 2, 2, 3, 3]), array("i", [10, 11, 12]))
    assert [len(node.pages) for node in tree.nodes()] == [3]
    assert list(tree.insert(tree.root, "", array("i", [1, 1, 2, 2, 4, 4]), array("i", [20, 21, 22]))) == [20, 21]
    assert sorted(list(node.pages) for node in tree.nodes()) == [[10, 11], [12], [22]]
    hit = tree.match(array("i", [1, 1, 9, 9]), "", 4)
    tree.lock(tree.end(hit))
    assert sorted(list(node.pages) for node in tree.nodes()) == [[10], [11], [12], [22]]
    assert tree.locked == 1


def test_a_long_answer_stays_one_node() -> None:
    tree, _ = tree_of(1)
    end: Node | None = tree.grow(tree.root, "", array("i", [7]), array("i", [0]))
    assert end is not None
    for page in range(1, 1000):
        assert tree.grow(end, "", array("i", [page]), array("i", [page])) is end
    assert len(list(tree.nodes())) == 1
    tree.check({end: 1})


def test_a_node_that_others_end_at_does_not_grow() -> None:
    tree, _ = tree_of(1)
    end = tree.grow(tree.root, "", array("i", [7]), array("i", [0]))
    assert end is not None
    tree.lock(end)
    below = tree.grow(end, "", array("i", [8]), array("i", [1]))
    assert below is not None and below is not end
    tree.check({end: 1, below: 1})


def test_unlocking_twice_and_cutting_what_is_locked_are_errors() -> None:
    tree, evictor = tree_of(1)
    tree.insert(tree.root, "", array("i", [1, 2]), array("i", [0, 1]))
    leaf = evictor.next()
    assert leaf is not None
    tree.lock(leaf)
    with pytest.raises(Bug):
        tree.trim(leaf, 1)
    tree.unlock(leaf)
    with pytest.raises(Bug):
        tree.unlock(leaf)


def test_check_sees_a_lock_without_a_lease() -> None:
    tree, evictor = tree_of(1)
    tree.insert(tree.root, "", array("i", [1, 2]), array("i", [0, 1]))
    leaf = evictor.next()
    assert leaf is not None
    tree.lock(leaf)
    with pytest.raises(Bug, match="no lease explains"):
        tree.check({})
