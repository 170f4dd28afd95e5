"""Files as others publish them, from lists of numbers: the tests' Python has neither NumPy nor pyarrow."""

import array
import json
import math
import struct
import zipfile


class Numbers:
    """A tensor: its shape and its entries, row by row, as floats or as integers of 64 bits."""

    def __init__(self, shape, values, integers=False):
        self.shape = list(shape)
        self.integers = integers
        self.bytes = array.array("q" if integers else "f", values).tobytes()
        self.values = values
        if len(values) != math.prod(shape):
            raise ValueError(f"{len(values)} values for {shape}")

    def turned(self):
        """The transpose of a matrix."""
        rows, columns = self.shape
        values = [self.values[row * columns + column] for column in range(columns) for row in range(rows)]
        return Numbers([columns, rows], values, self.integers)


def write_safetensors(path, tensors):
    """Tensors by name as a safetensors file."""
    header, end = {"__metadata__": {"format": "pt"}}, 0
    for name, tensor in tensors.items():
        start, end = end, end + len(tensor.bytes)
        kind = "I64" if tensor.integers else "F32"
        header[name] = {"dtype": kind, "shape": tensor.shape, "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    content = b"".join(tensor.bytes for tensor in tensors.values())
    path.write_bytes(struct.pack("<Q", len(text)) + text + content)


def write_npz(path, arrays):
    """Arrays by name as NumPy's archive."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, tensor in arrays.items():
            shape = "".join(f"{size}, " for size in tensor.shape)
            kind = "<i8" if tensor.integers else "<f4"
            header = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': ({shape}), }}"
            header += " " * (-(len(header) + 11) % 64) + "\n"
            start = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header))
            archive.writestr(f"{name}.npy", start + header.encode() + tensor.bytes)


# Parquet's numbers for types, repetitions and encodings, and Thrift's for its compact form.
INT64, DOUBLE, BYTE_ARRAY = 2, 5, 6
OPTIONAL, REPEATED = 1, 2
PLAIN, RLE = 0, 3
UTF8, LIST = 0, 3
I32, I64, BINARY, SEQUENCE, STRUCT = 5, 6, 8, 9, 12


def varint(number):
    found = bytearray()
    while number > 127:
        found.append(number & 127 | 128)
        number >>= 7
    return bytes(found) + bytes([number])


def text(value):
    return varint(len(value.encode())) + value.encode()


def thrift(kind, value):
    if kind in (I32, I64):
        return varint(value * 2 if value >= 0 else -value * 2 - 1)
    if kind == BINARY:
        return text(value)
    if kind == STRUCT:
        return record(value)
    inner, values = value
    size = bytes([len(values) << 4 | inner]) if len(values) < 15 else bytes([0xF0 | inner]) + varint(len(values))
    return size + b"".join(thrift(inner, own) for own in values)


def record(fields):
    """A Thrift structure from `{number: (kind, value)}`; fields without a value are left out."""
    found, last = b"", 0
    for number, (kind, value) in sorted(fields.items()):
        if value is not None:
            found += bytes([number - last << 4 | kind]) + thrift(kind, value)
            last = number
    return found + b"\0"


def levels(runs):
    """Runs of `(count, level)`, with their length before them."""
    found = b"".join(varint(count << 1) + bytes([level]) for count, level in runs if count)
    return struct.pack("<I", len(found)) + found


class Column:
    """A column of integers, numbers, texts, or lists of integers or numbers; none of them empty or missing."""

    def __init__(self, name, rows):
        self.name = name
        self.is_list = isinstance(rows[0], list)
        values = [value for row in rows for value in row] if self.is_list else rows
        self.count = len(values)
        first = values[0]
        if isinstance(first, str):
            self.kind = BYTE_ARRAY
            content = b"".join(struct.pack("<I", len(own.encode())) + own.encode() for own in values)
        else:
            self.kind = DOUBLE if isinstance(first, float) else INT64
            content = struct.pack(f"<{len(values)}{'d' if self.kind == DOUBLE else 'q'}", *values)
        # A value is there at the deepest level, and all but the first of a list repeat.
        starts = levels(run for row in rows for run in ((1, 0), (len(row) - 1, 1))) if self.is_list else b""
        self.page = starts + levels([(self.count, 3 if self.is_list else 1)]) + content

    def schema(self):
        words = UTF8 if self.kind == BYTE_ARRAY else None
        leaf = lambda name: {1: (I32, self.kind), 3: (I32, OPTIONAL), 4: (BINARY, name), 6: (I32, words)}
        if not self.is_list:
            return [leaf(self.name)]
        outer = {3: (I32, OPTIONAL), 4: (BINARY, self.name), 5: (I32, 1), 6: (I32, LIST)}
        inner = {3: (I32, REPEATED), 4: (BINARY, "list"), 5: (I32, 1)}
        return [outer, inner, leaf("element")]

    def path(self):
        return [self.name, "list", "element"] if self.is_list else [self.name]


def write_parquet(path, columns):
    """Columns by name, all as long, as a Parquet file of one group of rows."""
    rows = len(next(iter(columns.values())))
    content, chunks, schema = b"PAR1", [], []
    columns = [Column(name, values) for name, values in columns.items()]
    for column in columns:
        size, start = len(column.page), len(content)
        about = {1: (I32, column.count), 2: (I32, PLAIN), 3: (I32, RLE), 4: (I32, RLE)}
        header = record({1: (I32, 0), 2: (I32, size), 3: (I32, size), 5: (STRUCT, about)})
        content += header + column.page
        size += len(header)
        about = {
            1: (I32, column.kind), 2: (SEQUENCE, (I32, [PLAIN, RLE])), 3: (SEQUENCE, (BINARY, column.path())),
            4: (I32, 0), 5: (I64, column.count), 6: (I64, size), 7: (I64, size), 9: (I64, start),
        }
        chunks.append({2: (I64, start), 3: (STRUCT, about)})
        schema += column.schema()
    group = {1: (SEQUENCE, (STRUCT, chunks)), 2: (I64, len(content) - 4), 3: (I64, rows)}
    root = {4: (BINARY, "schema"), 5: (I32, len(columns))}
    footer = record({
        1: (I32, 1), 2: (SEQUENCE, (STRUCT, [root, *schema])), 3: (I64, rows), 4: (SEQUENCE, (STRUCT, [group])),
    })
    path.write_bytes(content + footer + struct.pack("<I", len(footer)) + b"PAR1")
