"""TensorBoard's files, read without TensorBoard."""

from pathlib import Path

from tensorboardX.proto.event_pb2 import Event


def events(path: Path) -> list[Event]:
    """Of a file of records: length, its checksum, bytes, their checksum."""
    left, found = path.read_bytes(), []
    while left:
        size = int.from_bytes(left[:8], "little")
        found.append(Event.FromString(left[12 : 12 + size]))
        left = left[16 + size :]
    return found
