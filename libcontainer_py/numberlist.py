"""Lists of CPUs and memory nodes as the kernel and config.json write them: ``0-3,7``."""

# Far above any kernel's (8192 CPUs, 1024 nodes), and low enough that a range can't fill the memory.
HIGHEST = 1 << 16


def parse(text: str) -> "list[int]":
    """Read a list: numbers and ranges between commas, spaces around them, empty items passed over.

    Returns:
        the numbers, each once, in their order; none for a text that holds none

    Raises:
        ValueError: it is no such list, in words
    """
    found: set[int] = set()
    for part in text.split(","):
        item = part.strip(" ")
        if not item:
            continue
        first, dash, last = item.partition("-")
        start = _number(first)
        end = _number(last) if dash else start
        if end < start:
            raise ValueError(f"the range {item} ends before it begins")
        found.update(range(start, end + 1))
    return sorted(found)


def _number(digits: str) -> int:
    if not (digits.isascii() and digits.isdecimal()):
        raise ValueError("is not a list of numbers and ranges such as 0-3,7")
    # By its length first: Python refuses to read thousands of digits, in words of its own.
    if len(digits.lstrip("0")) > 6 or int(digits) > HIGHEST:
        raise ValueError(f"{digits[:20]} is above {HIGHEST}")
    return int(digits)


def mask(numbers: "list[int]") -> bytes:
    """The bit mask that the kernel takes for them: whole words of 64 bits, the lowest first."""
    words = max(numbers, default=0) // 64 + 1
    return sum(1 << number for number in set(numbers)).to_bytes(8 * words, "little")
