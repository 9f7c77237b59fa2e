"""Readers: files of others to record batches of DOCUMENT_SCHEMA, and a Rejection for every record that cannot be read."""

from dolma_py.formats.dispatch import READERS, detect_format, find_reader, read_any
from dolma_py.formats.fields import FieldMap
from dolma_py.formats.limits import Limits, Rejection, Skipped

__all__ = ["READERS", "FieldMap", "Limits", "Rejection", "Skipped", "detect_format", "find_reader", "read_any"]
