"""The pages of the KV cache that nobody uses."""

from collections.abc import Iterable

from stemma.core.base.errors import Bug


class PagePool:
    """Free pages, by number. Owned by the PrefixCache.

    Always: every page is either in `free`, once, or out on loan.
    """

    def __init__(self, pages: int):
        self.pages = pages
        self.free = list(range(pages - 1, -1, -1))
        self._is_free = bytearray(b"\1") * pages

    def take(self, count: int) -> list[int]:
        """So many of the free pages. Newest first: a page that was just freed may still be in the CPU's cache."""
        kept = len(self.free) - count
        if kept < 0:
            raise Bug(f"{count} pages are to be taken, and {len(self.free)} are free")
        taken = self.free[kept:][::-1]
        del self.free[kept:]
        for page in taken:
            self._is_free[page] = 0
        return taken

    def give_back(self, pages: Iterable[int]) -> None:
        for page in pages:
            if self._is_free[page]:
                raise Bug(f"page {page} was given back twice")
            self._is_free[page] = 1
            self.free.append(page)

    def check(self) -> None:
        if sorted(self.free) != [page for page in range(self.pages) if self._is_free[page]]:
            raise Bug("the free list and the marks of free pages disagree")
