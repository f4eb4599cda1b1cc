"""The rules about the fields of a scale in the ``info`` of a volume, ``PC110``-``PC133``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

import numpy as np

from precast.checks.info_rules import BLOCK_SIZE, MOST_CHUNKS, VolumeFile, edges, is_int, triple, whole
from precast.checks.rules import Fault, RuleTable
from precast.errors import FormatError
from precast.findings import Severity
from precast.geometry import Vec3
from precast.precomputed.info import DATA_TYPES, ENCODINGS
from precast.precomputed.paths import normal_path
from precast.precomputed.sharding import ShardingSpec, morton_bits

__all__ = ["FIELDS", "FOREIGN_ENCODINGS", "MOST_CHUNK_BYTES", "UNDISPLAYED_ENCODINGS", "chunk_bytes"]

FOREIGN_ENCODINGS = ("jxl", "compresso")
"""Encodings that viewers show and precast does not read."""
UNDISPLAYED_ENCODINGS = ("fpzip", "kempressed", "zfpc", "zfpc16", "crackle")
"""Encodings that only cloud-volume reads."""
SHARDING_KEYS = (
    "@type",
    "preshift_bits",
    "hash",
    "minishard_bits",
    "shard_bits",
    "minishard_index_encoding",
    "data_encoding",
)
EXACT_FLOAT32 = 2**24
MOST_CHUNK_BYTES = 2**31

FIELDS: RuleTable[VolumeFile] = RuleTable()


@FIELDS.add("PC110", "the key of a scale is a relative directory")
def scale_key(file: VolumeFile) -> Iterator[Fault]:
    for path, scale in file.scales:
        key = scale.get("key")
        if not isinstance(key, str) or not normal_path(key):
            yield file.at(f"{path}.key"), f"must be a non-empty relative directory, got {key!r:.60}"


@FIELDS.add(
    "PC134",
    "the directory of a scale lies inside the dataset",
    severity=Severity.INFO,
    hint="legal; its chunks are not looked into, and not copied with the dataset",
)
def scale_inside(file: VolumeFile) -> Iterator[Fault]:
    for path, scale in file.scales:
        if isinstance(scale.get("key"), str) and normal_path(scale["key"]).startswith(".."):
            yield file.at(f"{path}.key"), f"leads out of the dataset: {scale['key']!r:.80}"


@FIELDS.add(
    "PC135",
    "a chunk is not larger than 2 GiB",
    severity=Severity.WARNING,
    hint="viewers load whole chunks: some MiB are usual; the chunks are counted, but not looked into",
)
def scale_chunk_bytes(file: VolumeFile) -> Iterator[Fault]:
    for path, scale in file.scales:
        size = chunk_bytes(file, scale)
        if size > MOST_CHUNK_BYTES:
            yield file.at(f"{path}.chunk_sizes"), f"a chunk of all channels has {size} bytes"


def chunk_bytes(file: VolumeFile, scale: Mapping[str, Any]) -> int:
    """Return the size of a whole chunk of a scale, decoded; 0 if that cannot be told."""
    sizes, size = scale.get("chunk_sizes"), triple(scale.get("size"), 1)
    chunk = triple(sizes[0], 1) if isinstance(sizes, list) and sizes else None
    if chunk is None or size is None or file.data_type not in DATA_TYPES:
        return 0
    return chunk.map(min, size).volume * file.channels * int(np.dtype(file.data_type).itemsize)


@FIELDS.add("PC111", "the size of a scale is three whole numbers of at least 1")
def scale_size(file: VolumeFile) -> Iterator[Fault]:
    for path, scale in file.scales:
        if triple(scale.get("size"), 1) is None:
            yield file.at(f"{path}.size"), f"must be three integers of at least 1, got {scale.get('size')!r:.60}"


@FIELDS.add("PC112", "the voxel_offset of a scale is three whole numbers")
def scale_offset(file: VolumeFile) -> Iterator[Fault]:
    for path, scale in file.scales:
        value = scale.get("voxel_offset")
        if value is not None and triple(value) is None:
            yield file.at(f"{path}.voxel_offset"), f"must be three integers, got {value!r:.60}"


@FIELDS.add("PC113", "chunk_sizes is a list of at least one triple of whole numbers of at least 1")
def scale_chunk_sizes(file: VolumeFile) -> Iterator[Fault]:
    for path, scale in file.scales:
        value = scale.get("chunk_sizes")
        if not isinstance(value, list) or not value:
            yield file.at(f"{path}.chunk_sizes"), f"must be a list of at least one x,y,z, got {value!r:.60}"
            continue
        for i, entry in enumerate(value):
            if triple(entry, 1) is None:
                text = f"must be three integers of at least 1, got {entry!r:.60}"
                yield file.at(f"{path}.chunk_sizes[{i}]"), text


@FIELDS.add("PC114", "the resolution of a scale is three numbers of nanometres above 0")
def scale_resolution(file: VolumeFile) -> Iterator[Fault]:
    for path, scale in file.scales:
        if edges(scale.get("resolution")) is None:
            text = f"must be three finite numbers above 0, got {scale.get('resolution')!r:.60}"
            yield file.at(f"{path}.resolution"), text


@FIELDS.add("PC115", "the encoding of a scale is one that viewers know")
def scale_encoding(file: VolumeFile) -> Iterator[Fault]:
    for path, scale in file.scales:
        name = scale.get("encoding")
        if not isinstance(name, str) or name not in (*ENCODINGS, *FOREIGN_ENCODINGS, *UNDISPLAYED_ENCODINGS):
            text = f"must be one of {', '.join((*ENCODINGS, *FOREIGN_ENCODINGS))}; got {name!r:.60}"
            yield file.at(f"{path}.encoding"), text


@FIELDS.add("PC116", "the encoding of a scale is one that Neuroglancer draws", severity=Severity.WARNING)
def scale_encoding_drawn(file: VolumeFile) -> Iterator[Fault]:
    for path, scale in file.scales:
        if scale.get("encoding") in UNDISPLAYED_ENCODINGS:
            text = f"{scale['encoding']} is read by cloud-volume alone: Neuroglancer refuses the whole volume"
            yield file.at(f"{path}.encoding"), text


@FIELDS.add(
    "PC117",
    "the encoding of a scale is one that precast decodes",
    severity=Severity.INFO,
    hint="its chunks are counted, but not looked into",
)
def scale_encoding_read(file: VolumeFile) -> Iterator[Fault]:
    for path, scale in file.scales:
        if scale.get("encoding") in FOREIGN_ENCODINGS:
            yield file.at(f"{path}.encoding"), f"{scale['encoding']} is legal, but not one that precast decodes"


@FIELDS.add("PC118", "a scale in compressed_segmentation says its block size")
def scale_block_size(file: VolumeFile) -> Iterator[Fault]:
    for path, scale in file.scales:
        value = scale.get(BLOCK_SIZE)
        if scale.get("encoding") == "compressed_segmentation" and triple(value, 1) is None:
            yield file.at(f"{path}.{BLOCK_SIZE}"), f"must be three integers of at least 1, got {value!r:.60}"


@FIELDS.add(
    "PC119",
    "keys that belong to one encoding stand on no other, and have legal values",
    severity=Severity.WARNING,
    hint="TensorStore refuses such a volume",
)
def scale_encoding_keys(file: VolumeFile) -> Iterator[Fault]:
    owners = {BLOCK_SIZE: "compressed_segmentation", "jpeg_quality": "jpeg", "png_level": "png"}
    for path, scale in file.scales:
        for key, owner in owners.items():
            if scale.get(key) is not None and scale.get("encoding") != owner:
                yield file.at(f"{path}.{key}"), f"belongs to {owner}, but the encoding is {scale.get('encoding')!r:.40}"
        for key, top in (("jpeg_quality", 100), ("png_level", 9)):
            value = scale.get(key)
            if value is not None and scale.get("encoding") == owners[key] and not (is_int(value, 0) and value <= top):
                yield file.at(f"{path}.{key}"), f"must be an integer from 0 to {top}, got {value!r:.40}"


@FIELDS.add("PC120", "the encoding can hold the data_type and the channels")
def scale_encoding_fits(file: VolumeFile) -> Iterator[Fault]:
    held: dict[str, tuple[tuple[str, ...], range]] = {
        "compressed_segmentation": (("uint32", "uint64"), range(1, 2**31)),
        "jpeg": (("uint8",), range(1, 4, 2)),
        "png": (("uint8", "uint16"), range(1, 5)),
        "jxl": (("uint8",), range(1, 5)),
        "compresso": (("uint8", "uint16", "uint32", "uint64"), range(1, 2)),
    }
    for path, scale in file.scales:
        encoding = scale.get("encoding")
        if not isinstance(encoding, str) or encoding not in held or file.data_type not in DATA_TYPES:
            continue
        types, channels = held[encoding]
        if file.data_type not in types or file.channels not in channels:
            text = f"{encoding} cannot hold {file.data_type} with {file.channels} channels"
            yield file.at(f"{path}.encoding"), text


@FIELDS.add(
    "PC121",
    "chunks of several channels are stored in a way that viewers draw right",
    severity=Severity.WARNING,
    hint="use raw",
)
def scale_channels_drawn(file: VolumeFile) -> Iterator[Fault]:
    if file.channels < 2:
        return
    for path, scale in file.scales:
        encoding = scale.get("encoding")
        if encoding == "jxl" or (encoding == "png" and file.data_type == "uint16"):
            text = f"Neuroglancer scrambles {encoding} of {file.data_type} with {file.channels} channels"
            yield file.at(f"{path}.encoding"), text


@FIELDS.add("PC122", "a segmentation has one channel of integers, stored without loss", severity=Severity.WARNING)
def segmentation_labels(file: VolumeFile) -> Iterator[Fault]:
    if file.kind != "segmentation":
        return
    if file.channels > 1:
        yield file.at("num_channels"), f"a segmentation has one channel, not {file.channels}"
    if file.data_type == "float32":
        yield file.at("data_type"), "viewers do not draw a segmentation of float32"
    for path, scale in file.scales:
        if scale.get("encoding") in ("jpeg", "jxl"):
            yield file.at(f"{path}.encoding"), f"{scale['encoding']} changes labels"


@FIELDS.add("PC123", "sharding is an object whose values are legal")
def scale_sharding(file: VolumeFile) -> Iterator[Fault]:
    for path, scale in file.scales:
        value = scale.get("sharding")
        if value is None:
            continue
        if not isinstance(value, dict):
            yield file.at(f"{path}.sharding"), f"must be an object, got {value!r:.60}"
            continue
        try:
            ShardingSpec.from_json(value)
        except FormatError as error:
            yield file.at(f"{path}.sharding"), error.message.removeprefix("sharding: ")


@FIELDS.add("PC124", "a sharded scale has exactly one chunk size")
def scale_sharded_chunks(file: VolumeFile) -> Iterator[Fault]:
    for path, scale in file.scales:
        sizes = scale.get("chunk_sizes")
        if isinstance(scale.get("sharding"), dict) and isinstance(sizes, list) and len(sizes) > 1:
            yield file.at(f"{path}.chunk_sizes"), f"a sharded scale has exactly one chunk size, not {len(sizes)}"


@FIELDS.add("PC125", "the keys of a sharded scale's chunks fit 64 bits", hint="use larger chunks")
def scale_sharded_bits(file: VolumeFile) -> Iterator[Fault]:
    for path, scale in file.scales:
        size, sizes = triple(scale.get("size"), 1), scale.get("chunk_sizes")
        chunk = triple(sizes[0], 1) if isinstance(sizes, list) and sizes else None
        if isinstance(scale.get("sharding"), dict) and size is not None and chunk is not None:
            bits = morton_bits(size.ceildiv(chunk))
            if bits > 64:
                yield file.at(f"{path}.sharding"), f"the chunk grid {size.ceildiv(chunk)} needs {bits} bits"


@FIELDS.add(
    "PC126",
    "sharding has all its keys and no others",
    severity=Severity.WARNING,
    hint="TensorStore refuses unknown keys; absent encodings mean raw",
)
def scale_sharding_keys(file: VolumeFile) -> Iterator[Fault]:
    for path, scale in file.scales:
        value = scale.get("sharding")
        if isinstance(value, dict):
            for key in (key for key in value if key not in SHARDING_KEYS):
                yield file.at(f"{path}.sharding.{key}"[:120]), "is not a key of the format"
            for key in (key for key in ("minishard_index_encoding", "data_encoding") if key not in value):
                yield file.at(f"{path}.sharding.{key}"), "is missing"


@FIELDS.add(
    "PC127",
    "sizes and offsets are exact in float32",
    severity=Severity.WARNING,
    hint="Neuroglancer rounds them, and then asks for chunks by wrong names",
)
def scale_exact(file: VolumeFile) -> Iterator[Fault]:
    for path, scale in file.scales:
        for key in ("size", "voxel_offset"):
            for number in triple(scale.get(key)) or Vec3(0, 0, 0):
                if abs(number) > EXACT_FLOAT32 and int(np.float32(number)) != number:
                    yield file.at(f"{path}.{key}"), f"{number} is {int(np.float32(number))} in float32"


@FIELDS.add("PC128", "whole numbers are written without a point", severity=Severity.WARNING)
def scale_whole_numbers(file: VolumeFile) -> Iterator[Fault]:
    if isinstance(file.value.get("num_channels"), Decimal) and whole(file.value["num_channels"]) is not None:
        yield file.at("num_channels"), f"is written {file.value['num_channels']}"
    for path, scale in file.scales:
        sizes = scale.get("chunk_sizes")
        vectors = [(f"{path}.{key}", scale.get(key)) for key in ("size", "voxel_offset", BLOCK_SIZE)]
        vectors += [(f"{path}.chunk_sizes[{i}]", v) for i, v in enumerate(sizes if isinstance(sizes, list) else [])]
        for place, value in vectors:
            if isinstance(value, list) and triple(value) is not None and any(isinstance(n, Decimal) for n in value):
                yield file.at(place), f"is written {[str(item) for item in value]}"


@FIELDS.add("PC129", "voxel_offset is written out", severity=Severity.INFO)
def scale_offset_written(file: VolumeFile) -> Iterator[Fault]:
    missing = [path for path, scale in file.scales if "voxel_offset" not in scale]
    if missing:
        yield file.at(f"{missing[0]}.voxel_offset"), f"{len(missing)} scales have no voxel_offset; it means 0,0,0"


@FIELDS.add("PC130", "hidden is true or false")
def scale_hidden(file: VolumeFile) -> Iterator[Fault]:
    for path, scale in file.scales:
        if scale.get("hidden") is not None and not isinstance(scale["hidden"], bool):
            yield file.at(f"{path}.hidden"), f"must be true or false, got {scale['hidden']!r:.60}"


@FIELDS.add(
    "PC131",
    "every scale has the same number of chunk sizes, and the first one is enough to see all",
    severity=Severity.WARNING,
    hint="every chunk size needs a full copy of the data; only the copy of the first size is looked at here",
)
def scale_copies(file: VolumeFile) -> Iterator[Fault]:
    counts = []
    for path, scale in file.scales:
        sizes = scale.get("chunk_sizes")
        good = isinstance(sizes, list) and all(triple(size, 1) is not None for size in sizes)
        if good and sizes and scale.get("sharding") is None:
            counts.append((path, len(sizes)))
    for path, count in counts:
        if count > 1 or count != counts[0][1]:
            yield file.at(f"{path}.chunk_sizes"), f"has {count} chunk sizes"


@FIELDS.add(
    "PC133",
    "the chunks of a scale can be counted",
    severity=Severity.WARNING,
    hint="larger chunks; nothing but the info was checked",
)
def scale_countable(file: VolumeFile) -> Iterator[Fault]:
    for path, scale in file.scales:
        size, sizes = triple(scale.get("size"), 1), scale.get("chunk_sizes")
        chunk = triple(sizes[0], 1) if isinstance(sizes, list) and sizes else None
        if size is None or chunk is None or morton_bits(size.ceildiv(chunk)) > 64:
            continue
        if size.ceildiv(chunk).volume > MOST_CHUNKS:
            text = f"{size.ceildiv(chunk).volume} chunks are more than the {MOST_CHUNKS} that can be kept track of"
            yield file.at(f"{path}.chunk_sizes"), text
