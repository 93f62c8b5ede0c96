"""Pages out of web archives: WARC (ISO 28500), the text in WET files, and the older ARC."""

from data_prep.warc.http import Response, parse_http
from data_prep.warc.reader import ENDINGS, byte_ranges, read_heads, read_records, read_responses, records_of
from data_prep.warc.record import Record

__all__ = [
    "ENDINGS",
    "Record",
    "Response",
    "byte_ranges",
    "parse_http",
    "read_heads",
    "read_records",
    "read_responses",
    "records_of",
]
