"""Token datasets in the formats of other trainers: one file a format, `job` for what all of them share."""

from data_prep.export.job import FORMATS, export

__all__ = ["FORMATS", "export"]
