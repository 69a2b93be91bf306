"""The tree of prefixes: edges are runs of whole pages, nodes hold page numbers.

P stands for the page size in tokens. A node's children differ in their first page, so the tokens of
that page (with the salt, at every level alike) are the key under which a child is found. Tokens are
compared, never their hashes.

            root
             │ "You are a helpful assistant."     pages 4 9 2
             ●
     ┌───────┴───────┐
     │ "Hello"       │ "What is a stemma?"        pages 7 | 1 5
     ●               ●
"""

from array import array
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from stemma.core.base.errors import Bug


@dataclass(slots=True, eq=False)
class Node:
    """The end of an edge. Owned by the RadixTree.

    `locks` counts the leases that end here or below. A lease always ends at a node, never inside an edge.
    """

    tokens: "array[int]"  # of the edge that leads here: len(pages) * P
    pages: "array[int]"
    salt: str
    parent: "Node | None"
    arrival: int  # breaks ties
    used: int  # the step that used it last
    locks: int = 0
    children: "dict[tuple[str, bytes], Node]" = field(default_factory=dict)

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
        self.root = self._node(array("i"), array("i"), "", None)

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
        child = self._attach(node, salt, tokens, pages)
        child.locks = 1
        return child

    def insert(self, node: Node, salt: str, tokens: "array[int]", pages: "array[int]") -> "array[int]":
        """Hang pages below `node`, unlocked. Returns those not needed, since their tokens were there already."""
        at = 0
        while (child := self._child(node, salt, tokens, at, len(tokens))) is not None:
            same = self._common(child, tokens, at, len(tokens))
            node = child if same == len(child.pages) else self._split(child, same)
            at += same * self.page_size
        spare = pages[: at // self.page_size]
        if len(spare) < len(pages):
            leaf = self._attach(node, salt, tokens[at:], pages[len(spare) :])
            self.pages += len(leaf.pages)
            self.on_leaf(leaf)
        return spare

    def trim(self, leaf: Node, count: int) -> "array[int]":
        """Cut the last `count` pages off an evictable leaf; without pages it goes."""
        if not leaf.is_evictable or leaf.parent is None or count > len(leaf.pages):
            raise Bug(f"{count} pages cannot be cut off a node with {len(leaf.pages)} pages and {leaf.locks} locks")
        kept = len(leaf.pages) - count
        cut = leaf.pages[kept:]
        self.pages -= count
        if kept == 0:
            del leaf.parent.children[self._key(leaf.salt, leaf.tokens, 0)]
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
            if not node.pages or len(node.tokens) != len(node.pages) * self.page_size:
                raise Bug(f"a node has {len(node.pages)} pages and {len(node.tokens)} tokens")
            if node.parent is None or node.parent.children.get(self._key(node.salt, node.tokens, 0)) is not node:
                raise Bug("a node is not where its first page would be looked for")
        if expected:
            raise Bug(f"{len(expected)} locked nodes are not in the tree")
        if (pages, locked) != (self.pages, self.locked):
            raise Bug(f"the tree holds {pages} pages, {locked} locked; it counts {self.pages} and {self.locked}")

    def _node(self, tokens: "array[int]", pages: "array[int]", salt: str, parent: Node | None) -> Node:
        self._arrivals += 1
        return Node(tokens, pages, salt, parent, self._arrivals, self.step)

    def _key(self, salt: str, tokens: "array[int]", at: int) -> tuple[str, bytes]:
        return salt, tokens[at : at + self.page_size].tobytes()

    def _child(self, node: Node, salt: str, tokens: "array[int]", at: int, limit: int) -> Node | None:
        if at + self.page_size > limit or not node.children:
            return None
        return node.children.get(self._key(salt, tokens, at))

    def _attach(self, node: Node, salt: str, tokens: "array[int]", pages: "array[int]") -> Node:
        child = node.children[self._key(salt, tokens, 0)] = self._node(tokens, pages, salt, node)
        return child

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
        upper = self._attach(parent, node.salt, node.tokens[: inside * size], node.pages[:inside])
        upper.locks, upper.used = node.locks, node.used
        del node.tokens[: inside * size]
        del node.pages[:inside]
        node.parent = upper
        upper.children[self._key(node.salt, node.tokens, 0)] = node
        return upper


def _path(node: Node) -> Iterator[Node]:
    """The node and all above it but the root."""
    above: Node | None = node
    while above is not None and above.parent is not None:
        yield above
        above = above.parent
