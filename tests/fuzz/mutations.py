"""Ways to damage files: every one is a function of random numbers and what it damages, so a seed repeats
it.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable

#: what stands where a number, an id or a title should
ODD = (
    *(
        "",
        " ",
        "\t",
        "nan",
        "NaN",
        "inf",
        "-inf",
        "Infinity",
        "null",
        "None",
        "true",
        "0x1F",
        "1_000",
        "1e5",
        "1e300",
        "1e999",
        "1e-400",
    ),
    *("-1", "+1", "-0", "00", "007", "1.0", "1.", ".5", "3.3", "5.5", "1,5", "0", "6", "-0.5"),
    *(
        "2147483648",
        "9007199254740993",
        "9223372036854775807",
        "9223372036854775808",
        "-9223372036854775809",
        "18446744073709551616",
    ),
    *("-62135596800", "631151999", "4102444800", "978300760000", "99999999999999999999", "9" * 5000),
    *(
        "\u0661\u0662",
        "\u00bd",
        "\u2028",
        "\x85",
        "\x1f",
        "\x0b",
        "\ufeff1",
        "\u00e9",
        "\U0001f600",
        "=1+1",
        "../../etc/passwd",
        "'; DROP TABLE",
    ),
    *('"', '""', '"a', 'a"b', '"a""b"', "\\", "\\N", "#", "::", "|", ";"),
)
MILLION = 1_000_000


def _lines(body: bytes) -> list[bytes]:
    return body.split(b"\n")


def _some(rng: random.Random, lines: list[bytes]) -> list[int]:
    """Up to five places of lines."""
    return [rng.randrange(len(lines)) for _ in range(rng.randint(1, 5))]


def _on_lines(
    change: Callable[[random.Random, bytes, bytes], bytes],
) -> Callable[[random.Random, bytes, bytes], bytes]:
    def mutate(rng: random.Random, body: bytes, separator: bytes) -> bytes:
        lines = _lines(body)
        for place in _some(rng, lines):
            lines[place] = change(rng, lines[place], separator)
        return b"\n".join(lines)

    return mutate


def _fields(
    change: Callable[[random.Random, list[bytes]], None],
) -> Callable[[random.Random, bytes, bytes], bytes]:
    def mutate(rng: random.Random, line: bytes, separator: bytes) -> bytes:
        fields = line.split(separator)
        change(rng, fields)
        return separator.join(fields)

    return _on_lines(mutate)


def _odd(rng, fields):
    fields[rng.randrange(len(fields))] = rng.choice(ODD).encode("utf-8")


def _long(rng, fields):
    fields[rng.randrange(len(fields))] = rng.choice((b"9", b"x", b" ", b"(", b"0", b"\xc3\xa9")) * MILLION


def _nul(rng, line, separator):
    place = rng.randint(0, len(line))
    return line[:place] + b"\0" + line[place:]


def _insert(*choices: bytes):
    def change(rng, line, separator):
        place = rng.randint(0, len(line))
        return line[:place] + rng.choice(choices) + line[place:]

    return change


def _overwrite(rng, body, separator):
    body = bytearray(body)
    for _ in range(rng.randint(1, 20)):
        if body:
            body[rng.randrange(len(body))] = rng.randrange(256)
    return bytes(body)


def _without_slice(rng, body, separator):
    start = rng.randint(0, len(body))
    return body[:start] + body[start + rng.randint(1, 200) :]


def _header(change: Callable[[random.Random, list[bytes]], None]):
    """The same for the first line only, whether it is a header or not."""

    def mutate(rng, body, separator):
        first, end, rest = body.partition(b"\n")
        fields = first.split(separator)
        change(rng, fields)
        return separator.join(fields) + end + rest

    return mutate


def _twice(rng, fields):
    fields[rng.randrange(len(fields))] = rng.choice(fields)


def _drop(rng, fields):
    del fields[rng.randrange(len(fields))]


def _shuffled_lines(rng, body, separator):
    lines = _lines(body)
    rng.shuffle(lines)
    return b"\n".join(lines)


def _repeated(rng, body, separator):
    lines = _lines(body)
    return b"\n".join([*lines, *(lines[place] for place in _some(rng, lines))])


def _recoded(rng, body, separator):
    return body.decode("latin-1").encode(
        rng.choice(("utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-7", "cp037"))
    )


#: damage to files of lines, by its name: (random numbers, content, separator) -> content
TEXT: dict[str, Callable[[random.Random, bytes, bytes], bytes]] = {
    "nothing": lambda rng, body, separator: body,
    "truncated": lambda rng, body, separator: body[: rng.randint(0, len(body))],
    "hole": _without_slice,
    "empty": lambda rng, body, separator: rng.choice(
        (b"", b"\n", b"\r\n", b"\n\n\n", b" ", b"\0", b"\xef\xbb\xbf")
    ),
    "first line only": lambda rng, body, separator: body.partition(b"\n")[0] + rng.choice((b"", b"\n")),
    "other separator": lambda rng, body, separator: body.replace(
        separator, rng.choice((b";", b"\t", b"|", b",", b" ", b"::", b"\x01", b""))
    ),
    "other separator on lines": _on_lines(
        lambda rng, line, separator: line.replace(separator, rng.choice((b";", b" ", b"\t")))
    ),
    "NUL": _on_lines(_nul),
    "bytes overwritten": _overwrite,
    "odd field": _fields(_odd),
    "million characters": _fields(_long),
    "field missing": _fields(_drop),
    "field too many": _fields(lambda rng, fields: fields.insert(rng.randint(0, len(fields)), b"1")),
    "fields reordered": _fields(lambda rng, fields: rng.shuffle(fields)),
    "quotes": _on_lines(_insert(b'"', b'""', b"'", b'","')),
    "line ends": _on_lines(
        _insert(b"\r", b"\n", b"\r\n", b"\n\n", b"\r\r\n", b"\x0b", b"\x0c", "\u2028".encode())
    ),
    "not UTF-8": _on_lines(
        _insert(b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xf5\x80\x80\x80", b"\xe9", b"\xc0\xaf")
    ),
    "CRLF": lambda rng, body, separator: re.sub(rb"\r?\n", b"\r\n", body),
    "CR": lambda rng, body, separator: re.sub(rb"\r?\n", b"\r", body),
    "BOM": lambda rng, body, separator: b"\xef\xbb\xbf" + body,
    "other encoding": _recoded,
    "rows repeated": _repeated,
    "rows shuffled": _shuffled_lines,
    "first line: field twice": _header(_twice),
    "first line: field missing": _header(_drop),
    "first line: reordered": _header(lambda rng, fields: rng.shuffle(fields)),
    "first line: odd field": _header(_odd),
    "first line missing": lambda rng, body, separator: body.partition(b"\n")[2],
    "noise": lambda rng, body, separator: body + b"\n" + rng.randbytes(rng.randint(1, 3000)),
}


def _flip(rng, body):
    return _overwrite(rng, body, b"")


#: damage to files of bytes: (random numbers, content) -> content
BINARY: dict[str, Callable[[random.Random, bytes], bytes]] = {
    "nothing": lambda rng, body: body,
    "truncated": lambda rng, body: body[: rng.randint(0, len(body))],
    "hole": lambda rng, body: _without_slice(rng, body, b""),
    "bytes overwritten": _flip,
    "tail overwritten": lambda rng, body: body[:-200] + _flip(rng, body[-200:]),
    "head overwritten": lambda rng, body: _flip(rng, body[:64]) + body[64:],
    "bytes inserted": lambda rng, body: (
        body[: (place := rng.randint(0, len(body)))] + rng.randbytes(rng.randint(1, 50)) + body[place:]
    ),
    "empty": lambda rng, body: b"",
    "text": lambda rng, body: b"user_id,item_id,rating\n1,2,3\n",
    "twice": lambda rng, body: body + body,
    "zeros": lambda rng, body: body[: len(body) // 2] + bytes(len(body) - len(body) // 2),
}
