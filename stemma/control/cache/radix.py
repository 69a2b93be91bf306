"""The tree of prefixes: edges are runs of whole pages, nodes hold page numbers.

P stands for the page size in tokens. A node's children differ in their first page, so the tokens of
that page (with the salt, at every level alike) are the key under which a child is found. Tokens are
compared, never their hashes. Keys are also kept in order, where neighbours have most in common: so a
page is found that begins as a prefix goes on, to be copied from.

            root
             │ "You are a helpful assistant."     pages 4 9 2
             ●
     ┌───────┴───────┐
     │ "Hello"       │ "What is a stemma?"        pages 7 | 1 5
     ●               ●
                     │ " A"                       page 3, a tail: less than P tokens, never with children
                     ○
"""

from array import array
from bisect import bisect, bisect_left, insort
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from stemma.core.base.errors import Bug

_TOKEN_BYTES = array("i").itemsize

Key = tuple[str, bytes]  # salt, tokens of a first page


@dataclass(slots=True, eq=False)
class Node:
    """The end of an edge. Owned by the RadixTree.

    `locks` counts the leases that end here or below. A lease always ends at a node, never inside an edge.
    """

    tokens: "array[int]"  # of the edge that leads here: len(pages) * P; of a tail fewer, in one page
    pages: "array[int]"
    key: Key  # of its first page
    parent: "Node | None"
    arrival: int  # breaks ties
    used: int  # the step that used it last
    locks: int = 0
    children: "dict[Key, Node]" = field(default_factory=dict)
    order: "list[Key]" = field(default_factory=list)  # the keys of the children, sorted

    @property
    def is_evictable(self) -> bool:
        """Whether it is an unlocked leaf with pages: neither the root nor a node that was cut off."""
        return not self.locks and not self.children and bool(self.pages)


class Hit(NamedTuple):
    """How far a prefix was found: `inside` pages of `node`'s edge, all pages of the edges above. Valid at once only."""

    pages: "array[int]"
    tokens: int  # len(pages) * P
    node: Node
    inside: int


class RadixTree:
    """Which page holds which prefix. Owned by the PrefixCache.

    Always: a node is locked when any node below it is, so that all `pages - locked` pages can be
    evicted leaf by leaf. `on_leaf` hears of every node that becomes evictable.
    """

    def __init__(self, page_size: int, on_leaf: Callable[[Node], None]):
        self.page_size = page_size
        self.on_leaf = on_leaf
        self.step = 0  # the time of `Node.used`
        self.pages = 0
        self.locked = 0
        self._arrivals = 0
        self.root = self._node(array("i"), array("i"), ("", b""), None)

    def match(self, tokens: "array[int]", salt: str, limit: int) -> Hit:
        """The longest cached prefix of at most `limit` tokens. Changes nothing."""
        node, inside, at = self.root, 0, 0
        pages = array("i")
        while (child := self._child(node, salt, tokens, at, limit)) is not None:
            node, inside = child, self._common(child, tokens, at, limit)
            pages += child.pages[:inside]
            at += inside * self.page_size
            if inside < len(child.pages):
                break
        return Hit(pages, at, node, inside)

    def end(self, hit: Hit) -> Node:
        """The node at which the hit ends; an edge that it ends in is split."""
        return hit.node if hit.inside == len(hit.node.pages) else self._split(hit.node, hit.inside)

    def nearest(self, node: Node, key: Key) -> tuple[Node | None, int]:
        """The child that begins most like a key of less than a page, and how many tokens they have in common."""
        found, most = None, 0
        if node.children:
            at = bisect(node.order, key)
            for near in node.order[max(at - 1, 0) : at + 1]:
                if near[0] == key[0] and (same := _common_tokens(near[1], key[1])) > most:
                    found, most = node.children[near], same
        return found, most

    def lock(self, node: Node) -> None:
        for above in _path(node):
            if not above.locks:
                self.locked += len(above.pages)
            above.locks += 1
            above.used = self.step

    def unlock(self, node: Node) -> None:
        for above in _path(node):
            if not above.locks:
                raise Bug(f"a node of {len(above.pages)} pages was unlocked more often than locked")
            above.locks -= 1
            above.used = self.step
            if not above.locks:
                self.locked -= len(above.pages)
                if above.is_evictable:
                    self.on_leaf(above)

    def grow(self, node: Node, salt: str, tokens: "array[int]", pages: "array[int]") -> Node | None:
        """Hang pages below `node` in the name of one lock of it; the lock moves to the node returned.

        None, and nothing changes, when the first page is there already.
        """
        if self._child(node, salt, tokens, 0, len(tokens)) is not None:
            return None
        self.locked += len(pages)
        self.pages += len(pages)
        if node.locks == 1 and not node.children and node is not self.root:
            # Nobody else ends here, so the edge itself may grow: a long answer stays one node.
            node.tokens += tokens
            node.pages += pages
            return node
        child = self._attach(node, self._key(salt, tokens, 0), tokens, pages)
        child.locks = 1
        return child

    def lend(self, node: Node, salt: str, tokens: "array[int]", page: int) -> Node | None:
        """Hang the tail of a lease below `node`, its lock included. None when that much is there already."""
        key = salt, tokens.tobytes()
        if self.nearest(node, key)[1] == len(tokens):
            return None
        tail = self._attach(node, key, tokens, array("i", (page,)))
        self.pages += 1
        self.adopt(tail)
        return tail

    def adopt(self, tail: Node) -> None:
        """The one lock of a tail, of a lease that has locked what is above: it alone may write to the page."""
        tail.locks, tail.used = 1, self.step
        self.locked += 1

    def take_back(self, tail: Node) -> None:
        """Undo `lend` or `adopt`: the page is no longer the tree's."""
        self._detach(tail)
        del tail.pages[:]
        self.pages -= 1
        self.locked -= 1

    def insert(self, node: Node, salt: str, tokens: "array[int]", pages: "array[int]") -> "array[int]":
        """Hang pages below `node`, unlocked; the last may be a tail.

        Returns those not needed, since their tokens were there already.
        """
        at = 0
        while (child := self._child(node, salt, tokens, at, len(tokens))) is not None:
            same = self._common(child, tokens, at, len(tokens))
            node = child if same == len(child.pages) else self._split(child, same)
            at += same * self.page_size
        first, full = at // self.page_size, len(tokens) // self.page_size
        spare, end = pages[:first], full * self.page_size
        if first < full:
            node = self._attach(node, self._key(salt, tokens, at), tokens[at:end], pages[first:full])
        if full < len(pages):
            key = self._key(salt, tokens, end)
            if self.nearest(node, key)[1] == len(tokens) - end:
                spare.append(pages[full])
            else:
                node = self._attach(node, key, tokens[end:], pages[full:])
        self.pages += len(pages) - len(spare)
        if len(spare) < len(pages):
            self.on_leaf(node)
        return spare

    def trim(self, leaf: Node, count: int) -> "array[int]":
        """Cut the last `count` pages off an evictable leaf; without pages it goes."""
        if not leaf.is_evictable or leaf.parent is None or count > len(leaf.pages):
            raise Bug(f"{count} pages cannot be cut off a node with {len(leaf.pages)} pages and {leaf.locks} locks")
        kept = len(leaf.pages) - count
        cut = leaf.pages[kept:]
        self.pages -= count
        if kept == 0:
            self._detach(leaf)
            if leaf.parent.is_evictable:
                self.on_leaf(leaf.parent)
        del leaf.pages[kept:]
        del leaf.tokens[kept * self.page_size :]
        return cut

    def nodes(self) -> Iterator[Node]:
        """All nodes but the root, parents first."""
        waiting = [self.root]
        while waiting:
            node = waiting.pop()
            if node is not self.root:
                yield node
            waiting.extend(node.children.values())

    def check(self, ends: Mapping[Node, int]) -> None:
        """`ends`: how many leases end at which node."""
        expected: dict[Node, int] = {}
        for end, leases in ends.items():
            for node in _path(end):
                expected[node] = expected.get(node, 0) + leases
        pages = locked = 0
        for node in self.nodes():
            pages += len(node.pages)
            locked += len(node.pages) if node.locks else 0
            if node.locks != expected.pop(node, 0):
                raise Bug(f"a node has {node.locks} locks that no lease explains")
            lacking = len(node.pages) * self.page_size - len(node.tokens)
            is_tail = len(node.pages) == 1 and 0 < lacking < self.page_size and not node.children
            if not node.pages or (lacking and not is_tail):
                raise Bug(f"a node has {len(node.pages)} pages and {len(node.tokens)} tokens")
            if node.order != sorted(node.children):
                raise Bug("the children of a node are out of order")
            key = self._key(node.key[0], node.tokens, 0)
            if node.parent is None or node.key != key or node.parent.children.get(key) is not node:
                raise Bug("a node is not where its first page would be looked for")
        if expected:
            raise Bug(f"{len(expected)} locked nodes are not in the tree")
        if (pages, locked) != (self.pages, self.locked):
            raise Bug(f"the tree holds {pages} pages, {locked} locked; it counts {self.pages} and {self.locked}")

    def _node(self, tokens: "array[int]", pages: "array[int]", key: Key, parent: Node | None) -> Node:
        self._arrivals += 1
        return Node(tokens, pages, key, parent, self._arrivals, self.step)

    def _key(self, salt: str, tokens: "array[int]", at: int) -> Key:
        return salt, tokens[at : at + self.page_size].tobytes()

    def _child(self, node: Node, salt: str, tokens: "array[int]", at: int, limit: int) -> Node | None:
        if at + self.page_size > limit or not node.children:
            return None
        return node.children.get(self._key(salt, tokens, at))

    def _attach(self, node: Node, key: Key, tokens: "array[int]", pages: "array[int]") -> Node:
        insort(node.order, key)
        child = node.children[key] = self._node(tokens, pages, key, node)
        return child

    def _detach(self, leaf: Node) -> None:
        if leaf.parent is None:
            raise Bug("the root hangs nowhere")
        del leaf.parent.children[leaf.key]
        del leaf.parent.order[bisect_left(leaf.parent.order, leaf.key)]

    def _common(self, child: Node, tokens: "array[int]", at: int, limit: int) -> int:
        """How many pages of the child's edge stand at `tokens[at:limit]`; the first is known to."""
        size = self.page_size
        low, high = 1, min(len(child.pages), (limit - at) // size)
        middle = high  # mostly all of it
        while low < high:
            if child.tokens[low * size : middle * size] == tokens[at + low * size : at + middle * size]:
                low = middle
            else:
                high = middle - 1
            middle = (low + high + 1) // 2
        return low

    def _split(self, node: Node, inside: int) -> Node:
        """Cut an edge after `inside` pages. The lower part stays the same node, since leases end there."""
        size = self.page_size
        parent = node.parent
        if parent is None:
            raise Bug("the root has no edge to split")
        upper = self._node(node.tokens[: inside * size], node.pages[:inside], node.key, parent)
        upper.locks, upper.used = node.locks, node.used
        parent.children[node.key] = upper
        del node.tokens[: inside * size]
        del node.pages[:inside]
        node.parent, node.key = upper, self._key(node.key[0], node.tokens, 0)
        upper.children[node.key] = node
        upper.order.append(node.key)
        return upper


def _common_tokens(one: bytes, other: bytes) -> int:
    """How many tokens at their beginnings are the same."""
    size = min(len(one), len(other))
    differing = int.from_bytes(one[:size], "little") ^ int.from_bytes(other[:size], "little")
    bits = (differing & -differing).bit_length() - 1 if differing else 8 * size
    return bits // (8 * _TOKEN_BYTES)


def _path(node: Node) -> Iterator[Node]:
    """The node and all above it but the root."""
    above: Node | None = node
    while above is not None and above.parent is not None:
        yield above
        above = above.parent
